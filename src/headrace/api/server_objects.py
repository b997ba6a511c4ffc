"""What the calls of those who run the server answer."""

import msgspec

from headrace.api.organisation_objects import Object
from headrace.config import TierConfig
from headrace.metering import Balance
from headrace.store import OrganisationRecord

_LIMITS = (
    "requests_per_minute",
    "requests_per_hour",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_hour",
    "tokens_per_day",
    "uncached_tokens_per_minute",
    "concurrent_requests",
    "queued_requests",
    "context_tokens",
)


def organisation_object(record: OrganisationRecord, balance: Balance) -> Object:
    """An organisation, and what it has, in micro-dollars."""
    return {
        "object": "organization",
        "id": record.id,
        "name": record.name,
        "tier": record.tier,
        "created_at": record.created_unix,
        "balance_micros": balance.balance_micros,
        "leased_micros": balance.leased_micros,
    }


def tier_object(named: tuple[str, TierConfig]) -> Object:
    """A tier: its limits, null where it has none, and who pays."""
    name, tier = named
    numbers = msgspec.to_builtins(tier)
    return {
        "object": "organization.tier",
        "id": name,
        "billing": tier.billing.value,
        "cached_percent": tier.cached_percent,
        "weight": tier.weight,
        "reserved_percent": tier.reserved_percent,
        "may_go_first": tier.may_go_first,
        "limits": {limit: numbers[limit] or None for limit in _LIMITS},
    }
