"""Bodies of the organisation API and of the console's sessions."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from headrace.accounts import KeyLimits, Scopes
from headrace.api.fields import Check, screen_level
from headrace.api.schemas import read_wire
from headrace.api.wire import Integer, Wire

_NOTHING: Mapping[str, Check] = {}

RoleName = Literal["owner", "admin", "member", "billing", "viewer"]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Email = Annotated[str, Field(min_length=3, max_length=254)]
Secret = Annotated[str, Field(min_length=1, max_length=256)]
Entries = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=64)]
Amount = Annotated[Integer, Field(ge=0, le=1 << 53)]
Time = Annotated[Integer, Field(ge=0, le=1 << 40)]  # Unix seconds

B = TypeVar("B", bound=Wire)


class Nothing(Wire):
    """No fields."""


class TierBody(Wire):
    """An organisation's new tier."""

    tier: Literal["free", "developer", "enterprise"]


class RoleBody(Wire):
    """A user's new role."""

    role: RoleName


class InviteBody(Wire):
    """Whom to invite, as what."""

    email: Email
    role: RoleName


class NameBody(Wire):
    """The name of a project or a service account."""

    name: Name


class ScopesBody(Wire):
    """What a key may be used for; a list that is absent restricts nothing."""

    models: Entries | None = None
    routes: Entries | None = None
    addresses: Entries | None = None

    def value(self) -> Scopes:
        """As the accounts have it."""
        return Scopes(
            models=None if self.models is None else tuple(self.models),
            routes=None if self.routes is None else tuple(self.routes),
            addresses=None if self.addresses is None else tuple(self.addresses),
        )


class LimitsBody(Wire):
    """A key's own limits."""

    requests_per_minute: Amount | None = None
    requests_per_day: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    concurrent_requests: Amount | None = None
    budget_micros: Amount | None = None

    def value(self) -> KeyLimits:
        """As the accounts have it."""
        return KeyLimits(**self.model_dump())


class KeyBody(Wire):
    """A key to make."""

    name: Name
    scopes: ScopesBody | None = None
    limits: LimitsBody | None = None
    expires_at: Time | None = None


class KeyChangeBody(Wire):
    """What to change of a key; absent fields stay."""

    scopes: ScopesBody | None = None
    limits: LimitsBody | None = None
    expires_at: Time | None = None


class RotationBody(Wire):
    """How long the old key goes on."""

    overlap_seconds: Annotated[Integer, Field(ge=0, le=30 * 86_400)] = 0


class ManagementKeyBody(Wire):
    """A management key to make."""

    name: Name
    role: RoleName = "admin"
    expires_at: Time | None = None


class CreditBody(Wire):
    """What to add to whose credit: micro-dollars; of a correction, perhaps fewer than none."""

    amount_micros: Annotated[Integer, Field(ge=-(1 << 53), le=1 << 53)]
    kind: Literal["top_up", "grant", "correction"] = "top_up"
    organization_id: Annotated[str, Field(max_length=64)] = ""  # "": one's own
    reference: Annotated[str, Field(max_length=200)] = ""  # of a payment: counts once
    note: Annotated[str, Field(max_length=500)] = ""


class LoginBody(Wire):
    """Who logs in."""

    email: Email
    password: Secret


class SignUpBody(Wire):
    """Who wants to be a user: by an invitation's secret, or with an address of his own."""

    name: Name
    password: Secret
    email: Email | None = None
    invite: Secret | None = None


class PasswordBody(Wire):
    """A password and the one in its place."""

    old_password: Secret
    new_password: Secret


def read_body(kind: type[B], document: dict[str, Any]) -> B:
    """Check a body. Raises InvalidRequest with one line for each offence."""
    return read_wire(kind, screen_level(document, _NOTHING, _NOTHING), ())
