"""What the organisation API answers with, in the forms of OpenAI's where that has them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.accounts import ApiKey, NewKey
from headrace.errors import InvalidRequest, UnknownObject
from headrace.store import (
    AuditRecord,
    InviteRecord,
    ProjectRecord,
    ServiceAccountRecord,
    UserRecord,
)

MAX_PAGE = 100

Object = dict[str, Any]
R = TypeVar("R")


def page(
    items: Sequence[R],
    form: Callable[[R], Object],
    *,
    after: str | None,
    limit: int,
) -> Object:
    """A part of a list: `limit` objects from the one that follows the id `after`.

    Raises UnknownObject when nothing in the list has that id.
    """
    objects = [form(item) for item in items]
    start = 0
    if after is not None:
        places = [place for place, each in enumerate(objects) if each["id"] == after]
        if not places:
            raise UnknownObject("object to go on after")
        start = places[0] + 1
    return list_object(objects[start : start + limit], has_more=start + limit < len(objects))


def list_object(objects: Sequence[Object], *, has_more: bool) -> Object:
    """A list, as OpenAI's has it."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }


def checked_limit(word: str | None) -> int:
    """`limit` of a query, 20 when there is none. Raises InvalidRequest."""
    if word is None:
        return 20
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 4 else 0
    if not 1 <= number <= MAX_PAGE:
        raise InvalidRequest(f"limit: must be between 1 and {MAX_PAGE}", param="limit")
    return number


def deleted_object(kind: str, object_id: str) -> Object:
    """That something is no more."""
    return {"object": f"{kind}.deleted", "id": object_id, "deleted": True}


def user_object(user: UserRecord) -> Object:
    """A user."""
    return {
        "object": "organization.user",
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role,
        "added_at": user.created_unix,
    }


def invite_object(invite: InviteRecord, now_unix: float) -> Object:
    """An invitation, without what opens it."""
    status = "pending" if now_unix < invite.expires_unix else "expired"
    return {
        "object": "organization.invite",
        "id": invite.id,
        "email": invite.email,
        "role": invite.role,
        "status": status if invite.accepted_unix is None else "accepted",
        "invited_at": invite.created_unix,
        "expires_at": invite.expires_unix,
        "accepted_at": invite.accepted_unix,
    }


def project_object(project: ProjectRecord) -> Object:
    """A project."""
    return {
        "object": "organization.project",
        "id": project.id,
        "name": project.name,
        "created_at": project.created_unix,
        "archived_at": project.archived_unix,
        "status": "active" if project.archived_unix is None else "archived",
    }


def service_account_object(account: ServiceAccountRecord) -> Object:
    """A service account."""
    return {
        "object": "organization.project.service_account",
        "id": account.id,
        "name": account.name,
        "role": "member",
        "created_at": account.created_unix,
    }


def key_object(key: ApiKey) -> Object:
    """A key of a project, or one for management; of its secret the last four characters."""
    common = {
        "id": key.id,
        "name": key.name,
        "redacted_value": f"hr-...{key.last4}",
        "created_at": key.created_unix,
        "expires_at": key.expires_unix,
        "last_used_at": key.last_used_unix,
    }
    if key.role is not None:
        return {"object": "organization.admin_api_key", **common, "role": key.role.value}
    return {
        "object": "organization.project.api_key",
        **common,
        "owner": _owner(key.owner_id),
        "scopes": msgspec.to_builtins(key.scopes),
        "limits": msgspec.to_builtins(key.limits),
        "tier": key.tier.value,
    }


def new_key_object(new: NewKey) -> Object:
    """A key just made, with its secret: the one time."""
    return {**key_object(new.key), "value": new.secret}


def audit_object(record: AuditRecord) -> Object:
    """A row of the audit log; what is special about it lies under its type's name."""
    return {
        "object": "organization.audit_log",
        "id": record.id,
        "type": record.action,
        "organization_id": record.organisation_id,
        "effective_at": record.at_unix,
        "actor": {
            "type": record.actor_kind,
            "id": record.actor_id,
            "name": record.actor_name,
            "ip_address": record.address,
        },
        record.action: {"id": record.target_id, **msgspec.json.decode(record.details)},
    }


def audit_page(records: Sequence[AuditRecord], *, limit: int) -> Object:
    """The first `limit` rows of an audit log; there are more if one more was read."""
    objects = [audit_object(record) for record in records]
    return list_object(objects[:limit], has_more=len(objects) > limit)


def _owner(owner_id: str | None) -> Object:
    if owner_id is None:
        return {"type": "operator", "id": None}
    kind = "service_account" if owner_id.startswith("svc_") else "user"
    return {"type": kind, "id": owner_id}
