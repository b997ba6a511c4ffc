"""Who is calling? Creates, lists and revokes keys, and turns a key into an account."""

import contextlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from headrace.accounts.keys import base62, digest_of, generate_key, is_well_formed
from headrace.accounts.pepper import load_pepper
from headrace.accounts.tiers import Tier
from headrace.clock import Clock, SystemClock
from headrace.config import Config
from headrace.errors import InvalidRequest, MissingKey, StoreError, Unauthenticated
from headrace.store import KeyRecord, SqliteStore

MAX_NAME_CHARS = 64
_MINUTE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The caller, as the rest of the service knows it."""

    key_id: str
    name: str
    tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What may be shown of a key after its creation."""

    id: str
    name: str
    tier: Tier
    prefix: str
    last4: str
    created_unix: int
    revoked_unix: int | None
    last_used_unix: int | None  # to the minute

    @property
    def is_active(self) -> bool:
        """Whether it is accepted."""
        return self.revoked_unix is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made: the one time its secret is shown."""

    key: ApiKey
    secret: str


class Anyone:
    """The doorkeeper of a server without keys: everybody is the same caller."""

    def authenticate(self, secret: str | None) -> Account:
        """The one account there is."""
        return Account(key_id="", name="anyone", tier=Tier.ENTERPRISE)


class AccountService:
    """The keys of one database.

    There is no cache of identities: a look-up is one indexed read, so a key revoked by any process
    is refused from the next request on.
    """

    def __init__(
        self,
        store: SqliteStore,
        pepper: bytes,
        clock: Clock,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._token_bytes = token_bytes
        self._last_minute: dict[str, int] = {}  # key id -> minute noted in the database
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="accounts")

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
        return cls(store, pepper, clock)

    def close(self) -> None:
        """Write what is outstanding and close the database."""
        self._writer.shutdown(wait=True)
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def authenticate(self, secret: str | None) -> Account:
        """The account of a key. Takes some 30 µs and never waits for a writer.

        Raises MissingKey without a key, Unauthenticated for an unknown, malformed or revoked one.
        """
        if not secret:
            raise MissingKey
        if not is_well_formed(secret):
            raise Unauthenticated
        digest = digest_of(secret, self._pepper)
        record = self._store.key_by_digest(digest)
        if record is None or not hmac.compare_digest(record.digest, digest):
            raise Unauthenticated
        if record.revoked_unix is not None:
            raise Unauthenticated
        self._note_use(record.id)
        return Account(key_id=record.id, name=record.name, tier=Tier(record.tier))

    def create(self, *, name: str, tier: Tier) -> NewKey:
        """Make a key. Raises InvalidRequest for a name that is taken or has odd characters."""
        record, secret = self._draft(_checked_name(name), tier)
        if not self._store.add_key(record):
            raise InvalidRequest(
                f"an active key named '{record.name}' exists already: "
                "choose another name, or rotate or revoke that key",
                param="name",
            )
        return NewKey(key=_shown(record), secret=secret)

    def rotate(self, id_or_name: str) -> NewKey:
        """Replace an active key by a new one of the same name and tier; the old one ends at once.

        Raises InvalidRequest when no active key has this id or name.
        """
        old = self._active(id_or_name)
        record, secret = self._draft(old.name, Tier(old.tier))
        if not self._store.replace_key(old.id, record):
            raise _no_such_key(id_or_name)
        return NewKey(key=_shown(record), secret=secret)

    def revoke(self, id_or_name: str) -> ApiKey:
        """End an active key, for every server on this database, from the next request on.

        Raises InvalidRequest when no active key has this id or name.
        """
        record = self._active(id_or_name)
        if not self._store.revoke_key(record.id, int(self._clock.unix_s())):
            raise _no_such_key(id_or_name)
        return next(key for key in self.list() if key.id == record.id)

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first, revoked ones included."""
        return tuple(_shown(record) for record in self._store.all_keys())

    def _active(self, id_or_name: str) -> KeyRecord:
        active = [record for record in self._store.all_keys() if record.revoked_unix is None]
        for record in active:
            if record.id == id_or_name:
                return record
        for record in active:
            if record.name == id_or_name:
                return record
        raise _no_such_key(id_or_name)

    def _draft(self, name: str, tier: Tier) -> tuple[KeyRecord, str]:
        secret = generate_key(self._token_bytes)
        record = KeyRecord(
            id="key_" + base62(int.from_bytes(self._token_bytes(12), "big"), 17),
            name=name,
            tier=tier.value,
            prefix=secret[:7],
            last4=secret[-4:],
            digest=digest_of(secret, self._pepper),
            created_unix=int(self._clock.unix_s()),
        )
        return record, secret

    def _note_use(self, key_id: str) -> None:
        """One write a minute and key at most, on its own thread: a commit takes milliseconds."""
        minute = int(self._clock.unix_s()) // _MINUTE_S
        if self._last_minute.get(key_id) != minute:
            self._last_minute[key_id] = minute
            self._writer.submit(self._touch, key_id, minute * _MINUTE_S)

    def _touch(self, key_id: str, last_used_unix: int) -> None:
        with contextlib.suppress(StoreError):  # a date for people to read: not worth a failed call
            self._store.touch_key(key_id, last_used_unix)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(
            f"a key's name has 1 to {MAX_NAME_CHARS} characters, not {len(name)}", param="name"
        )
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in name):
        raise InvalidRequest("a key's name must not hold control characters", param="name")
    return name


def _shown(record: KeyRecord) -> ApiKey:
    return ApiKey(
        id=record.id,
        name=record.name,
        tier=Tier(record.tier),
        prefix=record.prefix,
        last4=record.last4,
        created_unix=record.created_unix,
        revoked_unix=record.revoked_unix,
        last_used_unix=record.last_used_unix,
    )


def _no_such_key(id_or_name: str) -> InvalidRequest:
    return InvalidRequest(
        f"no active key has the id or name '{id_or_name}': see `headrace keys list`", param="key"
    )
