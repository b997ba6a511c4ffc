"""What every part of the accounts works with: the database, the pepper, time and chance."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from headrace.accounts.keys import base62, digest_of
from headrace.accounts.roles import Actor
from headrace.clock import Clock
from headrace.errors import InvalidRequest
from headrace.store import AuditRecord, SqliteStore, Transaction, audit

MAX_NAME_CHARS = 64
_ID_BYTES, _ID_CHARS = 12, 17  # 62^17 > 2^96
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of characters that steer or hide


@dataclass(frozen=True, slots=True)
class Registry:
    """The database, and what goes into its rows."""

    store: SqliteStore
    pepper: bytes
    clock: Clock
    token_bytes: Callable[[int], bytes]

    def now_unix(self) -> int:
        """The time, in whole seconds."""
        return int(self.clock.unix_s())

    def new_id(self, prefix: str) -> str:
        """An id that nobody guesses or has: `prefix` and 96 random bits."""
        return prefix + base62(int.from_bytes(self.token_bytes(_ID_BYTES), "big"), _ID_CHARS)

    def digest(self, secret: str) -> bytes:
        """What the database keeps of a secret, 32 bytes."""
        return digest_of(secret, self.pepper)

    def note(
        self, tx: Transaction, actor: Actor, action: str, target_id: str, **details: object
    ) -> None:
        """Write into the audit log, in the transaction of the change, who made it."""
        record = AuditRecord(
            id=self.new_id("audit_log-"),
            organisation_id=actor.organisation_id,
            at_unix=self.now_unix(),
            action=action,
            actor_kind=actor.kind.value,
            actor_id=actor.id,
            actor_name=actor.name,
            address=actor.address,
            target_id=target_id,
            details=msgspec.json.encode(details).decode(),
        )
        audit.append(tx, record)


def checked_name(name: str, what: str) -> str:
    """A name to show: trimmed, 1 to 64 characters, none of which steers a terminal or a page.

    `what` begins the sentence of InvalidRequest: "a key's name".
    """
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(
            f"{what} has 1 to {MAX_NAME_CHARS} characters, not {len(name)}", param="name"
        )
    if any(unicodedata.category(char) in _HIDDEN for char in name):
        raise InvalidRequest(f"{what} must not hold control characters", param="name")
    return name
