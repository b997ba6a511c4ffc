"""Keys that were recognised a moment ago: no read of the database on the way of each request.

What is remembered is as good as a look-up. Whoever changes accounts, in any process, announces it
before the change is confirmed, and nothing remembered from before counts after that. A process that
is killed between its commit and its announcement is why it does not count after a second either.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from headrace.accounts.account import Account, Scopes, read_limits, read_scopes
from headrace.accounts.keys import is_well_formed
from headrace.accounts.registry import Registry
from headrace.accounts.tiers import Tier
from headrace.errors import StoreError
from headrace.store import KeyRecord, api_keys
from headrace.store.changes import Changes

_FRESH_S = 0.5  # then it is looked up again, beside the requests
_KEPT_S = 1.0  # then it counts no more
_MOST = 10_000  # keys; beyond, the one remembered first is forgotten


@dataclass(slots=True, kw_only=True, eq=False)
class KnownKey:
    """A key's row, and what follows from it."""

    record: KeyRecord
    scopes: Scopes
    account: Account | None  # None: it manages an organisation
    change: int  # the latest one when it was read
    read_s: float  # on the monotonic clock
    is_read_again: bool = False


class KnownKeys:
    """The keys of one database. `find` is for one thread, the event loop's."""

    def __init__(self, registry: Registry, later: Callable[[Callable[[], None]], object]) -> None:
        """`later` runs something on another thread."""
        self._registry = registry
        self._later = later
        self._changes: Changes | None = None
        self._known: OrderedDict[bytes, KnownKey] = OrderedDict()

    def close(self) -> None:
        """After the thread of `later` has ended."""
        if self._changes is not None:
            self._changes.close()

    def find(self, secret: str) -> KnownKey | None:
        """The key of a secret, revoked or expired or not. Raises StoreError."""
        if self._changes is None:
            self._changes = self._registry.store.watching()
        change = self._changes.latest()
        now_s = self._registry.clock.now_s()
        name = sha256(secret.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(name)
        if known is not None and known.change == change and now_s - known.read_s < _KEPT_S:
            if now_s - known.read_s >= _FRESH_S and not known.is_read_again:
                known.is_read_again = True
                self._later(lambda: self._read_again(name, secret))
            return known
        return self._read(name, secret, change, now_s)

    def _read(self, name: bytes, secret: str, change: int, now_s: float) -> KnownKey | None:
        """`change` and `now_s` are of before: what is committed meanwhile makes it look old."""
        record = self._record(secret)
        if record is None:
            self._known.pop(name, None)
            return None
        scopes = read_scopes(record.scopes)
        known = self._known[name] = KnownKey(
            record=record,
            scopes=scopes,
            account=_account(record, scopes),
            change=change,
            read_s=now_s,
        )
        if len(self._known) > _MOST:
            with suppress(KeyError):
                self._known.popitem(last=False)
        return known

    def _read_again(self, name: bytes, secret: str) -> None:
        assert self._changes is not None
        with suppress(StoreError):  # whoever asks next looks for himself
            self._read(name, secret, self._changes.latest(), self._registry.clock.now_s())

    def _record(self, secret: str) -> KeyRecord | None:
        if not is_well_formed(secret):
            return None
        digest = self._registry.digest(secret)
        with self._registry.store.reading() as tx:
            record = api_keys.by_digest(tx, digest)
        if record is None or not compare_digest(record.digest, digest):
            return None
        return record


def _account(record: KeyRecord, scopes: Scopes) -> Account | None:
    if record.project_id is None:
        return None
    return Account(
        key_id=record.id,
        name=record.name,
        tier=Tier(record.tier_in_force),
        organisation_id=record.organisation_id,
        project_id=record.project_id,
        scopes=scopes,
        limits=read_limits(record.limits),
    )
