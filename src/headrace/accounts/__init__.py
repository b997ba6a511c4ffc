"""Who is calling: API keys and the accounts behind them."""

from headrace.accounts.keys import digest_of, generate_key, is_well_formed
from headrace.accounts.pepper import load_pepper
from headrace.accounts.service import Account, AccountService, Anyone, ApiKey, NewKey
from headrace.accounts.tiers import ENTITLEMENTS, Entitlement, Tier

__all__ = [
    "ENTITLEMENTS",
    "Account",
    "AccountService",
    "Anyone",
    "ApiKey",
    "Entitlement",
    "NewKey",
    "Tier",
    "digest_of",
    "generate_key",
    "is_well_formed",
    "load_pepper",
]
