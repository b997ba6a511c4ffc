"""State in one SQLite file: readers never wait for a writer, a commit is on the disk.

Each thread has its own connection, so a look-up on the event loop's thread is not held up by a
commit on another one (write-ahead log). The statements are in the files beside this one, a table
or two each; every value is a bound parameter.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path
from typing import TypeAlias

from headrace.clock import Clock
from headrace.errors import ConfigError, StoreError
from headrace.store.changes import Changes, announce
from headrace.store.migrations import migrate

# What statements run on: all of a change go with one, and are committed together.
Transaction: TypeAlias = sqlite3.Connection

_BUSY_TIMEOUT_MS = 5_000
_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


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
            _create(path)
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

    @contextlib.contextmanager
    def reading(self) -> Generator[Transaction, None, None]:
        """For look-ups: what is committed, each statement for itself."""
        try:
            yield self._connection()
        except sqlite3.Error as exc:
            raise _no_answer() from exc

    @contextlib.contextmanager
    def snapshot(self) -> Generator[Transaction, None, None]:
        """For look-ups that must agree with each other: all see one moment. Blocks nobody."""
        try:
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise _no_answer() from exc

    @contextlib.contextmanager
    def changing(self, *, of_accounts: bool = True) -> Generator[Transaction, None, None]:
        """For changes: all of them are on the disk when the block ends, none if it raises.

        `of_accounts` False: nothing that anybody remembers who `watching` told to look again.
        """
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # some errors have rolled back already
                    connection.execute("ROLLBACK")
                raise
            finally:  # of a commit that failed nobody knows how far it came
                if of_accounts:
                    announce(self._path)
        except sqlite3.Error as exc:
            raise _no_answer() from exc

    def watching(self) -> Changes:
        """Tells when accounts may have changed, whoever changed them. The caller closes it."""
        try:
            return Changes(self._path)
        except OSError as exc:
            raise _no_answer() from exc

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            with self._lock:
                self._connections.append(connection)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            self._local.connection = connection
        return connection


def _create(path: Path) -> None:
    """The file with our mode, which -wal and -shm take over, unless it is there.

    One that is there is not opened: closing it again would end the locks that other connections of
    this process hold on it (fcntl's rule), and the next process to leave would take the log away.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _no_answer() -> StoreError:
    return StoreError("The database does not answer. Try again shortly.")
