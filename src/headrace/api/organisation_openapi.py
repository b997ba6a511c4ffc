"""The organisation API and the console's sessions, as the OpenAPI document has them."""

import re
from collections.abc import Mapping
from typing import Any

from headrace.api.money_calls import MONEY_CALLS
from headrace.api.money_schemas import MONEY_SCHEMAS
from headrace.api.openapi_schemas import COUNT, TEXT, Schema, array_of, object_of, or_null, ref
from headrace.api.operation import ANY, KEYED, Operation, query
from headrace.api.organisation import Call
from headrace.api.organisation_calls import CALLS
from headrace.api.organisation_objects import MAX_PAGE
from headrace.api.organisation_schemas import LoginBody, PasswordBody, SignUpBody
from headrace.api.server_calls import SERVER_CALLS

_WITH_BODY = (408, 415)  # its time, its type
_PAGES = (
    query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "how many; 20"),
    query("after", {"type": "string", "minLength": 1}, "the id after which to go on"),
)
_TIME_OR_NULL = or_null(COUNT)
_ROLE: Schema = {"enum": ["owner", "admin", "member", "billing", "viewer"]}


def _managing(call: Call[Any]) -> Operation:
    ids = re.findall(r"{(\w+)}", call.path)
    return Operation(
        summary=call.summary,
        answer=call.answer,
        body=call.body if call.takes_body else None,
        statuses=(
            *ANY,
            *KEYED,
            *(_WITH_BODY if call.takes_body else ()),
            *((404,) if ids or call.is_list else ()),
        ),
        parameters=(
            *(_id(name) for name in ids),
            *(_PAGES if call.is_list else ()),
            *call.parameters,
        ),
        has_session=True,
    )


def _id(name: str) -> Mapping[str, Any]:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _session(
    summary: str, answer: str, body: type[Any] | None = None, *, is_known: bool = True
) -> Operation:
    return Operation(
        summary=summary,
        answer=answer,
        body=body,
        statuses=(*ANY, *KEYED, *(() if body is None else _WITH_BODY)),
        has_key=False,
        has_session=is_known,
    )


def _list(name: str) -> Schema:
    return object_of(
        {
            "object": {"const": "list"},
            "data": array_of(ref(name)),
            "first_id": or_null(TEXT),
            "last_id": or_null(TEXT),
            "has_more": {"type": "boolean"},
        }
    )


_ALL = (*CALLS, *MONEY_CALLS, *SERVER_CALLS)

ORGANISATION_OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    **{
        path: {call.method.lower(): _managing(call) for call in _ALL if call.path == path}
        for path in dict.fromkeys(call.path for call in _ALL)
    },
    "/console/api/state": {
        "get": _session("How one enters, and whose session it is", "State", is_known=False)
    },
    "/console/api/login": {
        "post": _session("Begin a session", "Session", LoginBody, is_known=False)
    },
    "/console/api/logout": {"post": _session("End it", "Status")},
    "/console/api/me": {"get": _session("Whose session it is", "Session")},
    "/console/api/signup": {
        "post": _session("Become a user", "Session", SignUpBody, is_known=False)
    },
    "/console/api/password": {"post": _session("Another password", "Session", PasswordBody)},
}

_KEY = {
    "object": TEXT,
    "id": TEXT,
    "name": TEXT,
    "redacted_value": TEXT,
    "created_at": COUNT,
    "expires_at": _TIME_OR_NULL,
    "last_used_at": _TIME_OR_NULL,
}
_API_KEY = {
    **_KEY,
    "owner": object_of({"type": TEXT, "id": or_null(TEXT)}),
    "scopes": {"type": "object"},
    "limits": {"type": "object"},
    "tier": TEXT,
}
_MANAGEMENT_KEY = {**_KEY, "role": _ROLE}
_INVITE = {
    "object": TEXT,
    "id": TEXT,
    "email": TEXT,
    "role": _ROLE,
    "status": {"enum": ["pending", "accepted", "expired"]},
    "invited_at": COUNT,
    "expires_at": COUNT,
    "accepted_at": _TIME_OR_NULL,
}
_SERVICE_ACCOUNT = {
    "object": TEXT,
    "id": TEXT,
    "name": TEXT,
    "role": TEXT,
    "created_at": COUNT,
}

ORGANISATION_SCHEMAS: Mapping[str, Schema] = {
    "User": object_of(
        {
            "object": TEXT,
            "id": TEXT,
            "name": TEXT,
            "email": TEXT,
            "role": _ROLE,
            "added_at": COUNT,
        }
    ),
    "Invite": object_of(_INVITE),
    "NewInvite": object_of({**_INVITE, "secret": TEXT}),
    "Project": object_of(
        {
            "object": TEXT,
            "id": TEXT,
            "name": TEXT,
            "created_at": COUNT,
            "archived_at": _TIME_OR_NULL,
            "status": {"enum": ["active", "archived"]},
        }
    ),
    "ServiceAccount": object_of(_SERVICE_ACCOUNT),
    "NewServiceAccount": object_of({**_SERVICE_ACCOUNT, "api_key": ref("NewApiKey")}),
    "ApiKey": object_of(_API_KEY),
    "NewApiKey": object_of({**_API_KEY, "value": TEXT}),
    "ManagementKey": object_of(_MANAGEMENT_KEY),
    "NewManagementKey": object_of({**_MANAGEMENT_KEY, "value": TEXT}),
    "AuditLog": object_of(
        {
            "object": TEXT,
            "id": TEXT,
            "type": TEXT,
            "organization_id": TEXT,
            "effective_at": COUNT,
            "actor": object_of({"type": TEXT, "id": TEXT, "name": TEXT, "ip_address": TEXT}),
        }
    ),
    "Deleted": object_of({"object": TEXT, "id": TEXT, "deleted": {"const": True}}),
    "Session": object_of(
        {
            "object": {"const": "session"},
            "user": ref("User"),
            "organization": object_of({"id": TEXT, "name": TEXT, "tier": TEXT}),
            "permissions": array_of(TEXT),
            "runs_server": {"type": "boolean"},
            "csrf_token": TEXT,
        }
    ),
    "State": object_of(
        {
            "object": {"const": "console.state"},
            "accounts": {"type": "boolean"},
            "sign_up": or_null({"enum": ["open", "invitation", "closed"]}),
            "identity_provider": {"type": "boolean"},
            "session": or_null(ref("Session")),
        }
    ),
    "Organization": object_of(
        {
            "object": {"const": "organization"},
            "id": TEXT,
            "name": TEXT,
            "tier": TEXT,
            "created_at": COUNT,
            "balance_micros": {"type": "integer"},
            "leased_micros": COUNT,
        }
    ),
    "Tier": object_of(
        {
            "object": {"const": "organization.tier"},
            "id": TEXT,
            "billing": TEXT,
            "cached_percent": COUNT,
            "weight": {"type": "number"},
            "reserved_percent": COUNT,
            "may_go_first": {"type": "boolean"},
            "limits": {"type": "object", "additionalProperties": or_null(COUNT)},
        }
    ),
    **MONEY_SCHEMAS,
    "CreditEntries": _list("CreditEntry"),
    "Prices": _list("Price"),
    "Organizations": _list("Organization"),
    "Tiers": _list("Tier"),
    "Users": _list("User"),
    "Invites": _list("Invite"),
    "Projects": _list("Project"),
    "ServiceAccounts": _list("ServiceAccount"),
    "ApiKeys": _list("ApiKey"),
    "ManagementKeys": _list("ManagementKey"),
    "AuditLogs": _list("AuditLog"),
}
