"""A whole database: copied while others write to it, looked over after it was carried about."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from headrace.errors import ConfigError


def copy_database(source: Path, target: Path) -> int:
    """Copy a database as it stands at one moment into one new file; the version of its schema.

    SQLite does it: whoever writes meanwhile neither waits nor is seen. The source is not brought
    forward to our version. Raises ConfigError when one of the two cannot be opened or copied.
    """
    try:
        with closing(_opened(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # no other files beside it
            (version,) = copy.execute("SELECT max(number) FROM schema_versions").fetchone()
    except sqlite3.Error as exc:
        raise ConfigError(f"database {source} cannot be copied: {exc}") from exc
    return int(version or 0)


def faults(path: Path) -> Sequence[str]:
    """What is broken in a database: pages, indexes, references, ten of each kind at most."""
    try:
        with closing(_opened(path)) as database:
            found = [row[0] for row in database.execute("PRAGMA integrity_check(10)")]
            lost = database.execute("PRAGMA foreign_key_check").fetchmany(10)
    except sqlite3.Error as exc:
        return (str(exc),)
    broken = [] if found == ["ok"] else found
    return (
        *broken,
        *(f"a row of {table} refers to no row of {parent}" for table, _, parent, _ in lost),
    )


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to a file that is there; none is made."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
