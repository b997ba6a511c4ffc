"""What the organisation API answers about use and money. Money is whole micro-dollars."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.accounts import Account
from headrace.admission import Refusal, Standing
from headrace.api.organisation_objects import Object
from headrace.metering import Balance, Price, Statement
from headrace.store import LedgerRecord, UsageSum

_CURRENCY = "usd"


def usage_result(key: tuple[str | None, ...], uses: Sequence[UsageSum]) -> Object:
    """A line of a bucket; `key` is project, API key and model, None where it is not grouped by."""
    project_id, key_id, model = key
    return {
        "object": "organization.usage.completions.result",
        **_counts(uses),
        "project_id": project_id,
        "user_id": None,
        "api_key_id": key_id,
        "model": model,
        "batch": None,
    }


def cost_result(key: tuple[str | None, ...], uses: Sequence[UsageSum]) -> Object:
    """A line of a bucket of costs; `key` as above."""
    project_id, key_id, model = key
    micros = sum(use.micros for use in uses)
    return {
        "object": "organization.costs.result",
        "amount": {"value": micros / 1e6, "currency": _CURRENCY},
        "amount_micros": micros,
        "project_id": project_id,
        "api_key_id": key_id,
        "line_item": model,
    }


def statement_object(month: str, statement: Statement) -> Object:
    """The account of a month; the sum of its lines is `usage_micros`."""
    return {
        "object": "organization.statement",
        "id": month,
        "organization_id": statement.organisation_id,
        "start_time": statement.since_unix,
        "end_time": statement.until_unix,
        "currency": _CURRENCY,
        "opening_micros": statement.opening_micros,
        "paid_micros": statement.paid_micros,
        "usage_micros": statement.micros,
        "closing_micros": statement.closing_micros,
        "lines": [
            {
                "project_id": each.project_id,
                "api_key_id": each.key_id,
                "model": each.model,
                "price_version": each.price_version,
                **_counts([each]),
                "micros": each.micros,
            }
            for each in statement.sums
        ],
    }


def balance_object(balance: Balance) -> Object:
    """What an organisation has."""
    return {
        "object": "organization.credit",
        "organization_id": balance.organisation_id,
        "currency": _CURRENCY,
        "balance_micros": balance.balance_micros,
        "leased_micros": balance.leased_micros,
    }


def entry_object(entry: LedgerRecord) -> Object:
    """A top-up, a grant or a correction."""
    return {
        "object": "organization.credit.entry",
        "id": entry.id,
        "created_at": entry.at_unix,
        "kind": entry.kind,
        "amount_micros": entry.micros,
        "currency": _CURRENCY,
        "reference": entry.reference,
        "note": entry.note,
    }


def price_object(named: tuple[str, Price]) -> Object:
    """A price of a model, for a million tokens, from a day on."""
    model, price = named
    return {
        "object": "organization.price",
        "id": price.version,
        "model": model,
        "currency": _CURRENCY,
        "input_micros": price.input_micros,
        "cached_input_micros": price.cached_micros,
        "output_micros": price.output_micros,
        "valid_from": price.since_unix,
    }


def limits_object(
    account: Account, by_model: Mapping[str, Sequence[Standing]], refusals: Sequence[Refusal]
) -> Object:
    """How a key's limits stand for each model, its organisation's among them; what they refused."""
    return {
        "object": "organization.project.api_key.limits",
        "id": account.key_id,
        "tier": account.tier.value,
        "budget_micros": account.limits.budget_micros,
        "models": [
            {"model": model, "limits": [_standing(each) for each in standings]}
            for model, standings in by_model.items()
        ],
        "refusals": [
            {"refused_at": each.at_unix, "model": each.model, **each.facts} for each in refusals
        ],
    }


def _standing(standing: Standing) -> Object:
    return {
        "name": standing.name,
        "whose": standing.whose,
        "limit": standing.limit,
        "used": standing.used,
        "remaining": standing.remaining,
        "reset_s": round(standing.reset_s, 3),
    }


def _counts(uses: Sequence[UsageSum]) -> dict[str, Any]:
    return {
        "input_tokens": sum(use.prompt_tokens for use in uses),
        "output_tokens": sum(use.completion_tokens for use in uses),
        "input_cached_tokens": sum(use.cached_tokens for use in uses),
        "reasoning_tokens": sum(use.reasoning_tokens for use in uses),
        "num_model_requests": sum(use.requests for use in uses),
        "num_interrupted_requests": sum(use.interrupted for use in uses),
    }
