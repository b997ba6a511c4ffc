"""The tiers of accounts; what each may use is data, `[tiers.NAME]` in the settings."""

from enum import StrEnum


class Tier(StrEnum):
    """A named bundle of limits."""

    FREE = "free"
    DEVELOPER = "developer"
    ENTERPRISE = "enterprise"
