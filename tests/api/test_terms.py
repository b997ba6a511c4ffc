"""Service tiers, weights and limits of time: what a caller asks, and what the engine is told."""

import pytest

from headrace.accounts import AccountService, KeyDraft, Tier
from headrace.accounts.organisations import operator_in
from headrace.api.terms import Wishes, terms_of
from headrace.config import TIERS
from headrace.errors import DeadlineExceeded, QueueFull, QueueSlow
from headrace.store import OrganisationRecord, organisations
from headrace.types import Terms
from tests.api.exchange import app_of, ask, call, chat
from tests.scripted import ScriptedProvider

ENTITLED = TIERS["enterprise"]
NOTHING = Wishes()


@pytest.mark.parametrize(
    ("word", "priority"),
    [
        ("flex", -1),
        ("auto", 0),
        ("default", 0),
        ("on_demand", 0),
        ("priority", 1),
        ("performance", 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tier_sets_the_priority_and_is_echoed_in_the_callers_word(
    word: str, priority: int, stream: bool
) -> None:
    provider = ScriptedProvider("x", "y")
    got = chat(app_of(provider), service_tier=word, stream=stream)
    assert got.status == 200
    assert provider.requests[0].terms.priority == priority
    for answer in got.events if stream else [got.json]:
        assert answer["service_tier"] == word
        assert answer.get("service_tier_used") == ("default" if word == "auto" else None)


def test_without_a_tier_the_answer_names_none() -> None:
    provider = ScriptedProvider("x")
    assert "service_tier" not in chat(app_of(provider), service_tier=None).json
    assert provider.requests[0].terms.priority == 0


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.DEVELOPER])
def test_going_first_is_for_those_entitled_to_it(accounts: AccountService, tier: Tier) -> None:
    provider = ScriptedProvider("x")
    app = app_of(provider, accounts)
    for owner, status in ((tier, 403), (Tier.ENTERPRISE, 200)):
        key = f"Bearer {accounts.create(name=owner, tier=owner).secret}"
        body = ask(service_tier="priority")
        got = call(app, "POST", "/v1/chat/completions", body, authorization=key)
        assert got.status == status
        if status == 403:
            error = got.json["error"]
            assert (error["code"], error["param"]) == ("permission_denied", "service_tier")
            assert provider.requests == []


def test_the_weight_is_that_of_the_accounts_tier(accounts: AccountService) -> None:
    provider = ScriptedProvider("x")
    app = app_of(provider, accounts)
    for tier in Tier:
        key = f"Bearer {accounts.create(name=tier, tier=tier).secret}"
        call(app, "POST", "/v1/chat/completions", ask(), authorization=key)
    assert [request.terms.weight for request in provider.requests] == [1, 2, 4]
    assert len({request.tenant for request in provider.requests}) == 3


@pytest.mark.parametrize(
    ("prefer", "server_s", "timeout_s"),
    [
        ("", 600, 600),
        ("", 0, None),
        ("wait=5", 600, 5),
        ("wait=5", 0, 5),
        ("wait=9000", 600, 600),
        ('respond-async, Wait = "7"', 600, 7),
        ("wait=0", 600, 600),
        ("wait=soon", 600, 600),
        ("wait=-1", 600, 600),
        ("await=5", 600, 600),
        ("wait=99999999999999999999", 600, 600),
    ],
)
def test_the_sooner_limit_counts(prefer: str, server_s: float, timeout_s: float | None) -> None:
    assert terms_of(ENTITLED, None, Wishes(prefer=prefer), server_s).timeout_s == timeout_s


def test_the_header_and_the_setting_reach_the_engine() -> None:
    provider = ScriptedProvider("x")
    app = app_of(provider, request_timeout_s=30.0)
    call(app, "POST", "/v1/chat/completions", ask(), prefer="wait=2")
    call(app, "POST", "/v1/chat/completions", ask())
    call(app_of(provider), "POST", "/v1/chat/completions", ask())
    assert [request.terms.timeout_s for request in provider.requests] == [2, 30, 600]


def test_a_queue_threshold_is_for_flex_and_auto() -> None:
    wishes = Wishes(queue_threshold="250")
    assert terms_of(ENTITLED, "flex", wishes, 0).max_queue_s == 0.25
    assert terms_of(ENTITLED, "auto", wishes, 0).max_queue_s == 0.25
    plain = Terms(weight=4.0, reserved=0.25)
    assert terms_of(ENTITLED, "default", wishes, 0) == plain
    assert terms_of(ENTITLED, None, Wishes(queue_threshold="rubbish"), 0) == plain


@pytest.mark.parametrize("threshold", ["49", "20001", "-1", "1.5", "soon", "9" * 400, "٣٠٠"])
def test_a_threshold_out_of_range_is_refused(threshold: str) -> None:
    provider = ScriptedProvider("x")
    body = ask(service_tier="flex")
    headers = {"queue_threshold": threshold}
    if not threshold.isascii():
        headers = {"queue_threshold": "\xb2\xb3\xb9"}
    got = call(app_of(provider), "POST", "/v1/chat/completions", body, **headers)
    assert (got.status, got.json["param"]) == (400, "queue_threshold")
    assert provider.requests == []


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry_after"),
    [
        (QueueFull("full", retry_after_s=17), 503, "service_unavailable_error", "17"),
        (QueueSlow("slow", retry_after_s=3), 429, "too_many_requests_error", "3"),
        (DeadlineExceeded("over"), 408, "timeout_error", None),
    ],
)
def test_refusals_say_when_to_come_back(
    error: Exception, status: int, kind: str, retry_after: str | None
) -> None:
    got = chat(app_of(ScriptedProvider(error)))
    assert (got.status, got.json["error"]["type"]) == (status, kind)
    assert got.headers.get("retry-after") == retry_after


def test_a_stream_past_its_deadline_ends_with_an_error_event() -> None:
    got = chat(app_of(ScriptedProvider("a", DeadlineExceeded("over"))), stream=True)
    assert got.status == 200
    last = got.events[-1]
    assert (last["status_code"], last["error"]["code"]) == (408, "request_timeout")
    assert last["usage"]["completion_tokens"] == 1


def test_keys_of_one_organisation_are_one_tenant_and_the_operators_each_one(
    accounts: AccountService,
) -> None:
    """Who makes more keys gets no more of the service; and an organisation shares its prefixes."""
    with accounts.store.changing() as tx:
        for name in ("org_a", "org_b"):
            organisations.add(
                tx, OrganisationRecord(id=name, name=name, tier="free", created_unix=0)
            )
    keys = [accounts.create(name=f"k{i}", tier=Tier.FREE).secret for i in range(2)]
    for name in ("org_a", "org_a", "org_b"):
        actor = operator_in(name)
        project = accounts.projects.create(actor, f"p{len(keys)}")
        keys.append(accounts.keys.create(actor, project.id, KeyDraft(name="k")).secret)
    provider = ScriptedProvider("x")
    app = app_of(provider, accounts)
    for key in keys:
        call(app, "POST", "/v1/chat/completions", ask(), authorization=f"Bearer {key}")
    first, second, third, fourth, fifth = (request.tenant for request in provider.requests)
    assert third == fourth == "org_a"
    assert len({first, second, third, fifth}) == 4
