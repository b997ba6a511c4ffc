"""What manages accounts answers as the document says, rightly asked and wrongly."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet

from headrace.accounts import AccountService
from headrace.api.openapi import document
from headrace.api.organisation_openapi import ORGANISATION_OPERATIONS
from tests.api.managed import World
from tests.api.test_openapi import cases, check_answer, encoded, validate, with_query

OPERATIONS = [
    (path, method) for path, methods in ORGANISATION_OPERATIONS.items() for method in methods
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_answer_is_the_one_described(path: str, method: str, accounts: AccountService) -> None:
    world = World(accounts)
    got = world.send(path, method, world.good_body(path) if method == "post" else None)
    assert got.status == 200, got.json
    assert got.headers.get("cache-control") == "no-store" or path.endswith("/logout")
    told = document()["paths"][path][method]["responses"]["200"]["content"]["application/json"]
    validate(got.json, told["schema"])


def test_generated_requests_get_documented_answers(accounts: AccountService) -> None:
    world = World(accounts)
    statuses: set[int] = set()

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=cases(ORGANISATION_OPERATIONS), is_known=st.booleans())
    def each(case: Any, is_known: bool) -> None:
        body = None if isinstance(case.body, NotSet) else encoded(case.body, case.media_type or "")
        path = with_query(case.path if is_known else case.formatted_path, case)
        kind = {"content_type": case.media_type} if case.media_type else {}
        opening = world.credentials(case.path, case.method)
        got = world.send(path, case.method, body, as_=opening, **kind)
        check_answer(case, got)
        statuses.add(got.status)

    each()
    assert statuses >= {200, 400}
