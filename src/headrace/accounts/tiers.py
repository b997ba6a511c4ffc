"""The tiers of accounts, and what each is entitled to."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """A named bundle of limits."""

    FREE = "free"
    DEVELOPER = "developer"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """What the accounts of a tier get of a server that others use too."""

    weight: float  # part of the service, relative to the other tiers'
    may_go_first: bool  # whether service_tier "priority" is theirs to ask for


ENTITLEMENTS: Mapping[Tier, Entitlement] = {
    Tier.FREE: Entitlement(weight=1.0, may_go_first=False),
    Tier.DEVELOPER: Entitlement(weight=2.0, may_go_first=False),
    Tier.ENTERPRISE: Entitlement(weight=4.0, may_go_first=True),
}
