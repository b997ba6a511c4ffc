"""Who is calling, and who may manage what: organisations, users, API keys."""

from headrace.accounts.account import Account, Anyone, KeyLimits, Scopes
from headrace.accounts.api_keys import ApiKey, ApiKeys, KeyDraft, NewKey
from headrace.accounts.identity import Flow, Identities, Identity
from headrace.accounts.keys import digest_of, generate_key, is_well_formed
from headrace.accounts.organisations import Organisations
from headrace.accounts.passwords import check_password, hash_password
from headrace.accounts.pepper import load_pepper
from headrace.accounts.projects import Projects
from headrace.accounts.roles import (
    DEFAULT_ORGANISATION,
    OPERATOR,
    PERMISSIONS,
    Actor,
    ActorKind,
    Permission,
    Role,
)
from headrace.accounts.service import AccountService
from headrace.accounts.sessions import LoggedIn, NewSession, Sessions
from headrace.accounts.sign_up import SignUps
from headrace.accounts.tiers import Tier
from headrace.accounts.users import NewInvite, Users

__all__ = [
    "DEFAULT_ORGANISATION",
    "OPERATOR",
    "PERMISSIONS",
    "Account",
    "AccountService",
    "Actor",
    "ActorKind",
    "Anyone",
    "ApiKey",
    "ApiKeys",
    "Flow",
    "Identities",
    "Identity",
    "KeyDraft",
    "KeyLimits",
    "LoggedIn",
    "NewInvite",
    "NewKey",
    "NewSession",
    "Organisations",
    "Permission",
    "Projects",
    "Role",
    "Scopes",
    "Sessions",
    "SignUps",
    "Tier",
    "Users",
    "check_password",
    "digest_of",
    "generate_key",
    "hash_password",
    "is_well_formed",
    "load_pepper",
]
