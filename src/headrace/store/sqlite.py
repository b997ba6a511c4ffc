"""State in one SQLite file: readers never wait for a writer, a commit is on the disk.

Each thread has its own connection, so a look-up on the event loop's thread is not held up by a
commit on another one (write-ahead log). Every value is a bound parameter.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.clock import Clock
from headrace.errors import ConfigError, StoreError
from headrace.store.migrations import migrate

_BUSY_TIMEOUT_MS = 5_000
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One row of `api_keys`. The key itself is nowhere."""

    id: str
    name: str
    tier: str
    prefix: str
    last4: str
    digest: bytes  # 32 bytes
    created_unix: int
    revoked_unix: int | None = None
    last_used_unix: int | None = None  # to the minute


_KEY_COLUMNS = (
    "SELECT id, name, tier, prefix, last4, digest, created_unix, revoked_unix, last_used_unix"
    " FROM api_keys"
)
_KEY_BY_DIGEST = _KEY_COLUMNS + " WHERE digest = ?"
_KEYS = _KEY_COLUMNS + " ORDER BY created_unix, id"


class SqliteStore:
    """The database of one `$HEADRACE_HOME`. Safe to use from several threads and processes.

    Raises ConfigError from the constructor when the file cannot be opened, StoreError from any
    other method when the database does not answer.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # -wal and -shm take its mode
            migrate(self._connection(), now_unix=int(clock.unix_s()))
        except (OSError, sqlite3.Error) as exc:
            self.close()
            raise ConfigError(f"database {path} cannot be opened: {exc}") from exc
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections of all threads; may be called twice."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    def add_key(self, record: KeyRecord) -> bool:
        """Insert a key; False when an active key has its name."""
        with self._transaction() as connection:
            return _insert_key(connection, record)

    def replace_key(self, key_id: str, record: KeyRecord) -> bool:
        """Revoke one active key and insert another in its place, both or neither."""
        with self._transaction() as connection:
            return _revoke(connection, key_id, record.created_unix) and _insert_key(
                connection, record
            )

    def revoke_key(self, key_id: str, revoked_unix: int) -> bool:
        """Mark an active key as revoked; False when there is none of this id."""
        with self._transaction() as connection:
            return _revoke(connection, key_id, revoked_unix)

    def touch_key(self, key_id: str, last_used_unix: int) -> None:
        """Note when a key was last used."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE api_keys SET last_used_unix = ? WHERE id = ?", (last_used_unix, key_id)
            )

    def key_by_digest(self, digest: bytes) -> KeyRecord | None:
        """The key of this digest, revoked or not; one indexed look-up of some 20 µs."""
        with _translated():
            row = self._connection().execute(_KEY_BY_DIGEST, (digest,)).fetchone()
        return None if row is None else _record(row)

    def all_keys(self) -> tuple[KeyRecord, ...]:
        """All keys, oldest first, revoked ones included."""
        with _translated():
            rows = self._connection().execute(_KEYS).fetchall()
        return tuple(_record(row) for row in rows)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=32
            )
            with self._lock:
                self._connections.append(connection)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            self._local.connection = connection
        return connection

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        with _translated():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _insert_key(connection: sqlite3.Connection, record: KeyRecord) -> bool:
    done = connection.execute(
        "INSERT INTO api_keys (id, name, tier, prefix, last4, digest, created_unix)"
        " SELECT ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
        " (SELECT 1 FROM api_keys WHERE name = ? AND revoked_unix IS NULL)",
        (
            record.id,
            record.name,
            record.tier,
            record.prefix,
            record.last4,
            record.digest,
            record.created_unix,
            record.name,
        ),
    )
    return done.rowcount == 1


def _revoke(connection: sqlite3.Connection, key_id: str, revoked_unix: int) -> bool:
    done = connection.execute(
        "UPDATE api_keys SET revoked_unix = ? WHERE id = ? AND revoked_unix IS NULL",
        (revoked_unix, key_id),
    )
    return done.rowcount == 1


def _record(row: tuple[Any, ...]) -> KeyRecord:
    key_id, name, tier, prefix, last4, digest, created, revoked, last_used = row
    return KeyRecord(
        id=key_id,
        name=name,
        tier=tier,
        prefix=prefix,
        last4=last4,
        digest=digest,
        created_unix=created,
        revoked_unix=revoked,
        last_used_unix=last_used,
    )


@contextlib.contextmanager
def _translated() -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError("The database does not answer. Try again shortly.") from exc
