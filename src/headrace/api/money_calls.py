"""The addresses of the organisation API for use and money.

Who may is a matter of roles (`accounts/roles.py`); a member sees the use of his own keys.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from headrace.accounts import Account, Permission
from headrace.api.money_objects import (
    balance_object,
    cost_result,
    entry_object,
    limits_object,
    price_object,
    statement_object,
    usage_result,
)
from headrace.api.organisation import Asked, Call, get, post
from headrace.api.organisation_objects import Object, list_object
from headrace.api.organisation_schemas import CreditBody
from headrace.api.usage_query import Buckets, bucket_parameters, read_buckets
from headrace.errors import UnknownObject
from headrace.store import UsageSum

_USAGE = {"project_id": "project_id", "api_key_id": "key_id", "model": "model"}
_COSTS = {"project_id": "project_id", "api_key_id": "key_id", "line_item": "model"}
_WIDTHS, _DAYS = ("1m", "1h", "1d"), ("1d",)
_KEY = "/projects/{project_id}/api_keys/{key_id}"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


def _usage(asked: Asked) -> Object:
    buckets = read_buckets(asked.query, asked.now_unix, fields=tuple(_USAGE), widths=_WIDTHS)
    return _page(buckets, asked, _USAGE, usage_result)


def _costs(asked: Asked) -> Object:
    buckets = read_buckets(asked.query, asked.now_unix, fields=tuple(_COSTS), widths=_DAYS)
    return _page(buckets, asked, _COSTS, cost_result)


def _page(buckets: Buckets, asked: Asked, names: dict[str, str], form: Any) -> Object:
    sums = _seen(asked, buckets.start, buckets.end, buckets.width_s)
    return {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": start,
                "end_time": end,
                "results": [form(key, uses) for key, uses in groups.items()],
            }
            for start, end, groups in buckets.grouped(sums, names)
        ],
        "has_more": buckets.next_page is not None,
        "next_page": buckets.next_page,
    }


def _seen(asked: Asked, start: int, end: int, width_s: int) -> Sequence[UsageSum]:
    """The use that the actor may see."""
    keys = asked.accounts.keys.whose_use_is_seen_by(asked.actor)
    sums = asked.money.books.use(asked.actor.organisation_id, start, end, width_s)
    return sums if keys is None else [use for use in sums if use.key_id in keys]


def _statement(asked: Asked) -> Object:
    asked.actor.require(Permission.CREDIT_READ)
    month = asked.ids["month"]
    found = _MONTH.fullmatch(month)
    if found is None or not 1970 <= int(found[1]) < 9_999:
        raise UnknownObject("month, such as 2026-11")
    year, number = int(found[1]), int(found[2])
    start = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    statement = asked.money.books.statement(
        asked.actor.organisation_id, int(start.timestamp()), int(end.timestamp())
    )
    return statement_object(month, statement)


def _credit(asked: Asked) -> Object:
    asked.actor.require(Permission.CREDIT_READ)
    return balance_object(asked.money.books.balance(asked.actor.organisation_id))


def _payments(asked: Asked) -> Object:
    asked.actor.require(Permission.CREDIT_READ)
    entries = asked.money.books.paid(
        asked.actor.organisation_id, after=asked.after, limit=asked.limit + 1
    )
    objects = [entry_object(entry) for entry in entries]
    return list_object(objects[: asked.limit], has_more=len(objects) > asked.limit)


def _pay(asked: Asked, body: CreditBody) -> Object:
    asked.actor.require_of_server(Permission.CREDIT_WRITE)
    organisation_id = body.organization_id or asked.actor.organisation_id
    balance = asked.money.books.add(
        organisation_id,
        body.amount_micros,
        kind=body.kind,
        reference=body.reference,
        note=body.note,
        also=asked.accounts.noting(
            asked.actor,
            "credit.added",
            organisation_id,
            kind=body.kind,
            micros=body.amount_micros,
            reference=body.reference,
        ),
    )
    return balance_object(balance)


def _prices(asked: Asked) -> Object:
    asked.actor.require(Permission.USAGE_READ)
    return asked.listed(asked.money.prices.versions, price_object)


def _limits(asked: Asked) -> Object:
    project_id = asked.ids["project_id"]
    key = asked.accounts.keys.one(asked.actor, project_id, asked.ids["key_id"])
    account = Account(
        key_id=key.id,
        name=key.name,
        tier=key.tier,
        organisation_id=key.organisation_id,
        project_id=project_id,
        scopes=key.scopes,
        limits=key.limits,
    )
    money = asked.money
    by_model = {model: money.desk.standings(account, model) for model in money.models(account)}
    return limits_object(account, by_model, money.desk.refusals(key.id))


MONEY_CALLS: Sequence[Call[Any]] = (
    get(
        "/usage/completions",
        "Tokens and requests, by time, project, key and model",
        "UsagePage",
        _usage,
        parameters=bucket_parameters(_USAGE, _WIDTHS),
    ),
    get(
        "/costs",
        "What they cost, by day, project, key and model",
        "CostsPage",
        _costs,
        parameters=bucket_parameters(_COSTS, _DAYS),
    ),
    get("/statements/{month}", "The account of a month (UTC)", "Statement", _statement),
    get("/credit", "The balance", "Credit", _credit),
    get(
        "/credit/entries",
        "What was paid, newest first",
        "CreditEntries",
        _payments,
        is_list=True,
    ),
    post("/credit/entries", "Add credit to an organisation", "Credit", CreditBody, _pay),
    get("/prices", "The prices", "Prices", _prices, is_list=True),
    get(_KEY + "/limits", "A key's limits, as they stand", "KeyLimitsStanding", _limits),
)
