"""The addresses of the organisation API, and what each asks of the accounts, which know who may.

Names and forms are those of OpenAI's administration API where that has the same thing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from headrace.accounts import KeyDraft, KeyLimits, Role, Scopes
from headrace.api.organisation import Asked, Call, bare, get, post
from headrace.api.organisation_objects import (
    Object,
    audit_page,
    deleted_object,
    key_object,
    new_key_object,
    project_object,
    service_account_object,
    user_object,
)
from headrace.api.organisation_schemas import (
    InviteBody,
    KeyBody,
    KeyChangeBody,
    ManagementKeyBody,
    NameBody,
    Nothing,
    RoleBody,
    RotationBody,
)


def _delete(kind: str, path: str, id_name: str, work: Callable[[Asked], object]) -> Call[Nothing]:
    def gone(asked: Asked) -> Object:
        work(asked)
        return deleted_object(kind, asked.ids[id_name])

    return bare("DELETE", path, "Delete it", "Deleted", gone)


def _set_role(asked: Asked, body: RoleBody) -> Object:
    users = asked.accounts.users
    return user_object(users.set_role(asked.actor, asked.ids["user_id"], Role(body.role)))


def _invite(asked: Asked, body: InviteBody) -> Object:
    new = asked.accounts.users.invite(asked.actor, body.email, Role(body.role))
    return {**asked.invite(new.invite), "secret": new.secret}


def _create_service_account(asked: Asked, body: NameBody) -> Object:
    account, key = asked.accounts.projects.create_service_account(
        asked.actor, asked.ids["project_id"], body.name
    )
    return {**service_account_object(account), "api_key": new_key_object(key)}


def _create_key(asked: Asked, body: KeyBody) -> Object:
    draft = KeyDraft(
        name=body.name,
        scopes=Scopes() if body.scopes is None else body.scopes.value(),
        limits=KeyLimits() if body.limits is None else body.limits.value(),
        expires_unix=body.expires_at,
    )
    return new_key_object(asked.accounts.keys.create(asked.actor, asked.ids["project_id"], draft))


def _restrict_key(asked: Asked, body: KeyChangeBody) -> Object:
    key = asked.accounts.keys.restrict(
        asked.actor,
        asked.ids["project_id"],
        asked.ids["key_id"],
        scopes=None if body.scopes is None else body.scopes.value(),
        limits=None if body.limits is None else body.limits.value(),
        expires_unix=body.expires_at,
    )
    return key_object(key)


def _rotate_key(asked: Asked, body: RotationBody) -> Object:
    new = asked.accounts.keys.rotate(
        asked.actor,
        asked.ids["project_id"],
        asked.ids["key_id"],
        overlap_s=body.overlap_seconds,
    )
    return new_key_object(new)


def _create_management_key(asked: Asked, body: ManagementKeyBody) -> Object:
    draft = KeyDraft(name=body.name, role=Role(body.role), expires_unix=body.expires_at)
    return new_key_object(asked.accounts.keys.create_for_management(asked.actor, draft))


def _audit_log(asked: Asked) -> Object:
    rows = asked.accounts.audit_log(asked.actor, after=asked.after, limit=asked.limit + 1)
    return audit_page(rows, limit=asked.limit)


_USER, _INVITE, _PROJECT = "/users/{user_id}", "/invites/{invite_id}", "/projects/{project_id}"
_SERVICE_ACCOUNTS, _KEYS = _PROJECT + "/service_accounts", _PROJECT + "/api_keys"
_SERVICE_ACCOUNT, _KEY = _SERVICE_ACCOUNTS + "/{account_id}", _KEYS + "/{key_id}"
_MANAGEMENT_KEYS = "/admin_api_keys"
_MANAGEMENT_KEY = _MANAGEMENT_KEYS + "/{key_id}"


CALLS: Sequence[Call[Any]] = (
    get(
        "/users",
        "The users",
        "Users",
        lambda a: a.listed(a.accounts.users.all(a.actor), user_object),
        is_list=True,
    ),
    get(
        _USER,
        "One of them",
        "User",
        lambda a: user_object(a.accounts.users.one(a.actor, a.ids["user_id"])),
    ),
    post(_USER, "Change a user's role", "User", RoleBody, _set_role),
    _delete(
        "organization.user",
        _USER,
        "user_id",
        lambda a: a.accounts.users.remove(a.actor, a.ids["user_id"]),
    ),
    get(
        "/invites",
        "The invitations",
        "Invites",
        lambda a: a.listed(a.accounts.users.invites(a.actor), a.invite),
        is_list=True,
    ),
    post("/invites", "Invite somebody", "NewInvite", InviteBody, _invite),
    get(
        _INVITE,
        "One of them",
        "Invite",
        lambda a: a.invite(a.accounts.users.invite_of(a.actor, a.ids["invite_id"])),
    ),
    _delete(
        "organization.invite",
        _INVITE,
        "invite_id",
        lambda a: a.accounts.users.withdraw(a.actor, a.ids["invite_id"]),
    ),
    get(
        "/projects",
        "The projects",
        "Projects",
        lambda a: a.listed(a.accounts.projects.all(a.actor), project_object),
        is_list=True,
    ),
    post(
        "/projects",
        "Make a project",
        "Project",
        NameBody,
        lambda a, body: project_object(a.accounts.projects.create(a.actor, body.name)),
    ),
    get(
        _PROJECT,
        "One of them",
        "Project",
        lambda a: project_object(a.accounts.projects.one(a.actor, a.ids["project_id"])),
    ),
    post(
        _PROJECT,
        "Rename a project",
        "Project",
        NameBody,
        lambda a, body: project_object(
            a.accounts.projects.rename(a.actor, a.ids["project_id"], body.name)
        ),
    ),
    bare(
        "POST",
        _PROJECT + "/archive",
        "End a project and its keys",
        "Project",
        lambda a: project_object(a.accounts.projects.archive(a.actor, a.ids["project_id"])),
    ),
    get(
        _SERVICE_ACCOUNTS,
        "The service accounts of a project",
        "ServiceAccounts",
        lambda a: a.listed(
            a.accounts.projects.service_accounts(a.actor, a.ids["project_id"]),
            service_account_object,
        ),
        is_list=True,
    ),
    post(
        _SERVICE_ACCOUNTS,
        "Make one, with a key",
        "NewServiceAccount",
        NameBody,
        _create_service_account,
    ),
    get(
        _SERVICE_ACCOUNT,
        "One of them",
        "ServiceAccount",
        lambda a: service_account_object(
            a.accounts.projects.service_account(a.actor, a.ids["project_id"], a.ids["account_id"])
        ),
    ),
    _delete(
        "organization.project.service_account",
        _SERVICE_ACCOUNT,
        "account_id",
        lambda a: a.accounts.projects.remove_service_account(
            a.actor, a.ids["project_id"], a.ids["account_id"]
        ),
    ),
    get(
        _KEYS,
        "The API keys of a project",
        "ApiKeys",
        lambda a: a.listed(a.accounts.keys.of_project(a.actor, a.ids["project_id"]), key_object),
        is_list=True,
    ),
    post(_KEYS, "Make an API key", "NewApiKey", KeyBody, _create_key),
    get(
        _KEY,
        "One of them",
        "ApiKey",
        lambda a: key_object(a.accounts.keys.one(a.actor, a.ids["project_id"], a.ids["key_id"])),
    ),
    post(_KEY, "Change what a key may do", "ApiKey", KeyChangeBody, _restrict_key),
    post(_KEY + "/rotate", "Replace a key", "NewApiKey", RotationBody, _rotate_key),
    _delete(
        "organization.project.api_key",
        _KEY,
        "key_id",
        lambda a: a.accounts.keys.revoke(a.actor, a.ids["project_id"], a.ids["key_id"]),
    ),
    get(
        _MANAGEMENT_KEYS,
        "The management keys",
        "ManagementKeys",
        lambda a: a.listed(a.accounts.keys.for_management(a.actor), key_object),
        is_list=True,
    ),
    post(
        _MANAGEMENT_KEYS, "Make one", "NewManagementKey", ManagementKeyBody, _create_management_key
    ),
    get(
        _MANAGEMENT_KEY,
        "One of them",
        "ManagementKey",
        lambda a: key_object(a.accounts.keys.one(a.actor, None, a.ids["key_id"])),
    ),
    _delete(
        "organization.admin_api_key",
        _MANAGEMENT_KEY,
        "key_id",
        lambda a: a.accounts.keys.revoke(a.actor, None, a.ids["key_id"]),
    ),
    get("/audit_logs", "Who changed what, newest first", "AuditLogs", _audit_log, is_list=True),
)
