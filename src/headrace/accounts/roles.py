"""Who may do what in an organisation: roles, permissions, and the one table that joins them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

from headrace.errors import Forbidden


class Role(StrEnum):
    """What a user, or a key for management, is in its organisation."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    BILLING = "billing"
    VIEWER = "viewer"


class Permission(StrEnum):
    """One kind of thing to do."""

    USERS_READ = auto()
    USERS_WRITE = auto()
    INVITES_READ = auto()
    INVITES_WRITE = auto()
    PROJECTS_READ = auto()
    PROJECTS_WRITE = auto()
    KEYS_READ = auto()  # one's own, as is the next
    KEYS_WRITE = auto()
    KEYS_OF_OTHERS = auto()  # makes the two above hold for everybody's
    KEYS_RESTRICT = auto()  # change what an existing key may do
    SERVICE_ACCOUNTS_READ = auto()
    SERVICE_ACCOUNTS_WRITE = auto()
    MANAGEMENT_KEYS = auto()
    AUDIT_READ = auto()
    USAGE_READ = auto()  # of one's own keys
    USAGE_OF_OTHERS = auto()  # makes the one above hold for everybody's
    CREDIT_READ = auto()  # balance, payments, statements
    CREDIT_WRITE = auto()  # in the first organisation, whose members run the server
    SERVER_READ = auto()  # likewise
    SERVER_WRITE = auto()  # likewise: which tier an organisation has


PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(Permission) - {Permission.MANAGEMENT_KEYS},
    Role.MEMBER: frozenset(
        {
            Permission.PROJECTS_READ,
            Permission.KEYS_READ,
            Permission.KEYS_WRITE,
            Permission.USAGE_READ,
        }
    ),
    Role.BILLING: frozenset(
        {
            Permission.PROJECTS_READ,
            Permission.USAGE_READ,
            Permission.USAGE_OF_OTHERS,
            Permission.CREDIT_READ,
        }
    ),
    Role.VIEWER: frozenset(
        {
            Permission.USERS_READ,
            Permission.PROJECTS_READ,
            Permission.KEYS_READ,
            Permission.KEYS_OF_OTHERS,
            Permission.SERVICE_ACCOUNTS_READ,
            Permission.USAGE_READ,
            Permission.USAGE_OF_OTHERS,
            Permission.CREDIT_READ,
            Permission.SERVER_READ,
        }
    ),
}


class ActorKind(StrEnum):
    """By what an actor is known."""

    USER = "user"  # a session
    API_KEY = "api_key"  # a key for management
    OPERATOR = "operator"  # the command line of the server itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who reads or changes accounts, in one organisation."""

    kind: ActorKind
    id: str
    name: str
    organisation_id: str
    role: Role
    address: str

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in PERMISSIONS[self.role]

    def require(self, permission: Permission) -> None:
        """Raises Forbidden when the role does not allow it."""
        if not self.may(permission):
            raise Forbidden(
                f"The role '{self.role}' does not include this. Ask an owner or administrator of "
                "your organisation.",
                param="role",
            )

    @property
    def is_of_server(self) -> bool:
        """Whether it is of the first organisation, whose members run the server."""
        return self.organisation_id == DEFAULT_ORGANISATION

    def require_of_server(self, permission: Permission) -> None:
        """As `require`, for what is the whole server's."""
        if not self.is_of_server:
            raise Forbidden("This is for those who run the server.", param="role")
        self.require(permission)

    def require_over(self, role: Role) -> None:
        """Raises Forbidden when this actor may not give, take or change `role`: only owners may
        with their own."""
        if role is Role.OWNER and self.role is not Role.OWNER:
            raise Forbidden("Only an owner may make or change owners.", param="role")


DEFAULT_ORGANISATION = "org_default"
DEFAULT_PROJECT = "proj_default"

OPERATOR = Actor(
    kind=ActorKind.OPERATOR,
    id="operator",
    name="operator",
    organisation_id=DEFAULT_ORGANISATION,
    role=Role.OWNER,
    address="",
)
