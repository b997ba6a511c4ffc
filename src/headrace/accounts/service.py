"""Who is calling? Turns a key into an account, or into somebody who manages accounts."""

import contextlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from headrace.accounts.account import Account
from headrace.accounts.api_keys import ApiKey, ApiKeys, KeyDraft, NewKey
from headrace.accounts.identity import Identities
from headrace.accounts.known_keys import KnownKey, KnownKeys
from headrace.accounts.organisations import Organisations, operator_in
from headrace.accounts.passwords import Passwords
from headrace.accounts.pepper import load_pepper
from headrace.accounts.projects import Projects
from headrace.accounts.registry import Registry
from headrace.accounts.roles import (
    DEFAULT_ORGANISATION,
    DEFAULT_PROJECT,
    OPERATOR,
    Actor,
    ActorKind,
    Permission,
    Role,
)
from headrace.accounts.sessions import Sessions
from headrace.accounts.sign_up import SignUps
from headrace.accounts.throttle import Throttle
from headrace.accounts.tiers import Tier
from headrace.accounts.users import Users
from headrace.clock import Clock, SystemClock
from headrace.config import AccountsConfig, Config
from headrace.errors import Forbidden, InvalidRequest, MissingKey, StoreError, Unauthenticated
from headrace.store import (
    AuditRecord,
    KeyRecord,
    SqliteStore,
    Transaction,
    api_keys,
    audit,
    users,
)

_MINUTE_S = 60


class AccountService:
    """The accounts of one database.

    A key revoked by any process is refused from the next request on.
    """

    def __init__(
        self,
        store: SqliteStore,
        pepper: bytes,
        clock: Clock,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        *,
        config: AccountsConfig | None = None,
    ) -> None:
        config = config or AccountsConfig()
        self._store = store
        self._clock = clock
        self._registry = registry = Registry(store, pepper, clock, token_bytes)
        self.throttle = throttle = Throttle(clock)
        self._passwords = Passwords()
        self._last_minute: dict[str, int] = {}  # key id -> minute noted in the database
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accounts")
        self._known_keys = KnownKeys(registry, self._writer.submit)
        self.keys = ApiKeys(registry)
        self.organisations = Organisations(registry)
        self.projects = Projects(registry, self.keys)
        self.users = Users(registry, invite_s=config.invite_s)
        self.sign_ups = SignUps(registry, self.users, self._passwords, throttle, config.sign_up)
        self.identities = Identities(registry, self.sign_ups)
        self.sessions = Sessions(
            registry,
            self._passwords,
            throttle,
            later=self._writer.submit,
            idle_s=config.session_idle_s,
            max_s=config.session_max_s,
        )

    @classmethod
    def open(cls, config: Config, clock: Clock | None = None) -> Self:
        """The service over the database in `config.home`, both created if need be."""
        clock = clock or SystemClock()
        store = SqliteStore(config.home / "headrace.db", clock)
        try:
            pepper = load_pepper(config.home / "key-pepper", secrets.token_bytes)
        except BaseException:
            store.close()
            raise
        return cls(store, pepper, clock, config=config.accounts)

    def close(self) -> None:
        """Write what is outstanding and close the database."""
        self._passwords.close()
        self._writer.shutdown(wait=True)
        self._known_keys.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def authenticate(self, secret: str | None, *, address: str = "", route: str = "") -> Account:
        """The account of a key. Takes some 2 µs, and 50 for a key that has not come for a second.

        `address` is the caller's, `route` the path that was matched; a key that is held to some is
        refused without them. Raises MissingKey without a key, Unauthenticated for an unknown,
        malformed, revoked or expired one (TooManyAttempts once too many came from `address`),
        Forbidden for one that is not for this.
        """
        known = self._recognised(secret, address)
        known.scopes.check(route=route, address=address)
        account = known.account
        if account is None:
            raise Forbidden("This key manages an organisation; make an API key of a project.")
        self._note_use(account.key_id)
        return account

    def manager(self, secret: str | None, *, address: str = "", route: str = "") -> Actor:
        """Who manages accounts with a key; the arguments and errors are those of `authenticate`."""
        known = self._recognised(secret, address)
        record = known.record
        known.scopes.check(route=route, address=address)
        if record.role is None:
            raise Forbidden(
                "This API key is for inference: use a management key, or log in.", param="role"
            )
        self._note_use(record.id)
        return Actor(
            kind=ActorKind.API_KEY,
            id=record.id,
            name=record.name,
            organisation_id=record.organisation_id,
            role=Role(record.role),
            address=address,
        )

    def is_active(self, account: Account) -> bool:
        """Whether the key of an account would still be recognised."""
        with self._store.reading() as tx:
            record = api_keys.one(tx, account.organisation_id, account.key_id)
        return record is not None and self._is_in_force(record)

    @property
    def store(self) -> SqliteStore:
        """The database, which the books are in as well."""
        return self._store

    def noting(
        self, actor: Actor, action: str, target_id: str, **details: object
    ) -> Callable[[Transaction], None]:
        """What writes into the audit log, in the transaction of a change, who made it."""
        return lambda tx: self._registry.note(tx, actor, action, target_id, **details)

    def audit_log(self, actor: Actor, *, after: str | None, limit: int) -> tuple[AuditRecord, ...]:
        """Who changed what in the actor's organisation, newest first, older than `after`."""
        actor.require(Permission.AUDIT_READ)
        with self._store.reading() as tx:
            return audit.newest(tx, actor.organisation_id, after=after, limit=limit)

    def audit_log_of_all(
        self, actor: Actor, *, after: str | None, limit: int
    ) -> tuple[AuditRecord, ...]:
        """As `audit_log`, of all organisations, for an actor of the server's own."""
        actor.require_of_server(Permission.AUDIT_READ)
        with self._store.reading() as tx:
            return audit.newest_of_all(tx, after=after, limit=limit)

    def has_owner(self) -> bool:
        """Whether somebody administers this server: owns its first organisation."""
        with self._store.reading() as tx:
            return users.count_role(tx, DEFAULT_ORGANISATION, Role.OWNER.value) > 0

    # What the operator does on the command line, in the server's first organisation.

    def create(self, *, name: str, tier: Tier) -> NewKey:
        """Make a key. Raises InvalidRequest for a name that is taken or has odd characters."""
        return self.keys.create(OPERATOR, DEFAULT_PROJECT, KeyDraft(name=name, tier=tier))

    def rotate(self, id_or_name: str, *, overlap_s: int = 0) -> NewKey:
        """Replace an active key by a new one of the same name and tier.

        The old one ends at once, or after `overlap_s` seconds. Raises InvalidRequest when no
        active key has this id or name.
        """
        key = self._active(id_or_name)
        return self.keys.rotate(
            operator_in(key.organisation_id), key.project_id, key.id, overlap_s=overlap_s
        )

    def revoke(self, id_or_name: str) -> ApiKey:
        """End an active key, for every server on this database, from the next request on.

        Raises InvalidRequest when no active key has this id or name.
        """
        key = self._active(id_or_name)
        return self.keys.revoke(operator_in(key.organisation_id), key.project_id, key.id)

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first, revoked ones included."""
        return self.keys.everybodys()

    def _recognised(self, secret: str | None, address: str) -> KnownKey:
        if not secret:
            raise MissingKey
        known = self._known_keys.find(secret)
        if known is None or not self._is_in_force(known.record):
            # Only who fails is slowed down: guests of one address do not lock each other out.
            self.throttle.take(f"keys {address}")
            raise Unauthenticated
        return known

    def _is_in_force(self, record: KeyRecord) -> bool:
        if record.revoked_unix is not None:
            return False
        return record.expires_unix is None or self._clock.unix_s() < record.expires_unix

    def _active(self, id_or_name: str) -> ApiKey:
        active = [key for key in self.list() if key.is_active]
        named = [key for key in active if key.name == id_or_name]
        # A name may be an older key's too, which was rotated and still ends; or of other projects.
        named.sort(key=lambda key: (key.project_id == DEFAULT_PROJECT, key.created_unix))
        for key in [key for key in active if key.id == id_or_name] + named[::-1]:
            return key
        raise InvalidRequest(
            f"no active key has the id or name '{id_or_name}': see `headrace keys list`",
            param="key",
        )

    def _note_use(self, key_id: str) -> None:
        """One write a minute and key at most, on its own thread: a commit takes milliseconds."""
        minute = int(self._clock.unix_s()) // _MINUTE_S
        if self._last_minute.get(key_id) != minute:
            self._last_minute[key_id] = minute
            self._writer.submit(self._touch, key_id, minute * _MINUTE_S)

    def _touch(self, key_id: str, last_used_unix: int) -> None:
        # A date for people to read: not worth a failed call.
        with contextlib.suppress(StoreError), self._store.changing(of_accounts=False) as tx:
            api_keys.touch(tx, key_id, last_used_unix)
