"""A server whose accounts hold one of everything, and ways to come to it as anybody."""

from typing import Any

from headrace.accounts import (
    DEFAULT_ORGANISATION,
    OPERATOR,
    AccountService,
    Actor,
    ActorKind,
    KeyDraft,
    Role,
    Tier,
    hash_password,
)
from headrace.api import App
from headrace.api.openapi import document
from headrace.store import UserRecord
from tests.api.exchange import Exchange, app_of, call
from tests.scripted import CARD, ScriptedProvider

PATHS: dict[str, dict[str, Any]] = document()["paths"]
PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)
MAX_BODY = 50_000


class World:
    """Accounts with a user of each role, and of every other thing one."""

    def __init__(self, accounts: AccountService, **api: Any) -> None:
        self.accounts = accounts
        self.provider = ScriptedProvider("x")
        self.app: App = app_of(self.provider, accounts, max_body_bytes=MAX_BODY, **api)
        self.users: dict[Role, UserRecord] = {role: self.user(role) for role in Role}
        project = accounts.projects.create(OPERATOR, "walked")
        account, _ = accounts.projects.create_service_account(OPERATOR, project.id, "robot")
        key = accounts.keys.create(OPERATOR, project.id, KeyDraft(name="walked"))
        draft = KeyDraft(name="manager", role=Role.OWNER)
        management = accounts.keys.create_for_management(OPERATOR, draft)
        invite = accounts.users.invite(OPERATOR, "guest@example.com", Role.MEMBER)
        target = self.user(Role.MEMBER, "target@example.com")
        self.invite_secret = invite.secret
        self.key = accounts.create(name="k", tier=Tier.FREE).secret
        self.management_key = management.secret
        self.ids = {
            "model_id": CARD.id,
            "user_id": target.id,
            "invite_id": invite.invite.id,
            "project_id": project.id,
            "account_id": account.id,
            "key_id": key.key.id,
            "month": "2026-11",
            "organization_id": DEFAULT_ORGANISATION,
        }
        self.management_key_id = management.key.id

    def user(self, role: Role, email: str | None = None, actor: Actor = OPERATOR) -> UserRecord:
        return self.accounts.users.create(
            actor,
            email=email or f"{role}@example.com",
            name=role.value,
            role=role,
            password_hash=HASH,
        )

    def actor(self, role: Role) -> Actor:
        user = self.users[role]
        return Actor(
            kind=ActorKind.USER,
            id=user.id,
            name=user.email,
            organisation_id=user.organisation_id,
            role=role,
            address="",
        )

    def address(self, path: str) -> str:
        """A template's address, where what it names is there."""
        for name, value in self.ids.items():
            if "admin_api_keys" in path and name == "key_id":
                value = self.management_key_id
            path = path.replace(f"{{{name}}}", value)
        return path

    def good_body(self, path: str) -> Any:
        """A body that a POST to this address takes; None: it takes none."""
        return {
            "/v1/chat/completions": {
                "model": CARD.id,
                "messages": [{"role": "user", "content": "hi"}],
            },
            "/v1/completions": {"model": CARD.id, "prompt": "hi"},
            "/v1/tokenize": {"model": CARD.id, "prompt": "hi"},
            "/v1/detokenize": {"model": CARD.id, "tokens": [104, 105]},
            "/v1/organization/users/{user_id}": {"role": "viewer"},
            "/v1/organization/organizations/{organization_id}": {"tier": "developer"},
            "/v1/organization/invites": {"email": "new@example.com", "role": "member"},
            "/v1/organization/projects": {"name": "another"},
            "/v1/organization/projects/{project_id}": {"name": "renamed"},
            "/v1/organization/projects/{project_id}/service_accounts": {"name": "droid"},
            "/v1/organization/projects/{project_id}/api_keys": {"name": "new"},
            "/v1/organization/projects/{project_id}/api_keys/{key_id}": {
                "limits": {"requests_per_minute": 3}
            },
            "/v1/organization/projects/{project_id}/api_keys/{key_id}/rotate": {
                "overlap_seconds": 60
            },
            "/v1/organization/admin_api_keys": {"name": "another"},
            "/v1/organization/credit/entries": {"amount_micros": 5_000_000},
            "/console/api/login": {"email": "owner@example.com", "password": PASSWORD},
            "/console/api/signup": {
                "invite": self.invite_secret,
                "name": "Guest",
                "password": PASSWORD,
            },
            "/console/api/password": {
                "old_password": PASSWORD,
                "new_password": PASSWORD + "!",
            },
        }.get(path)

    def session(self, role: Role = Role.OWNER) -> dict[str, str]:
        """The headers of a browser in which a user of this role has logged in."""
        begun = self.accounts.sessions.begin(self.users[role], address="127.0.0.1")
        return {"cookie": f"headrace_session={begun.id}", "x_csrf_token": begun.csrf_token}

    def credentials(self, path: str, method: str) -> dict[str, str]:
        """Headers that open an address: as much as its row in the document says."""
        operation = PATHS.get(path.partition("?")[0], {}).get(method.lower(), {})
        ways = {way for each in operation.get("security", [{"key": []}]) for way in each}
        if ways == {"key"}:
            return {"authorization": f"Bearer {self.key}"}
        if ways == {"key", "session"}:
            return {"authorization": f"Bearer {self.management_key}"}
        return self.session() if ways else {}

    def send(
        self,
        path: str,
        method: str = "post",
        body: Any = None,
        *,
        as_: dict[str, str] | None = None,
        **headers: str,
    ) -> Exchange:
        """One exchange; `as_` None: with what opens the address."""
        opening = self.credentials(path, method) if as_ is None else as_
        return call(self.app, method.upper(), self.address(path), body, **opening, **headers)
