"""The database's history: numbered steps, each applied once, none ever changed.

To add a table or a column, append a step. A file of any earlier version is brought forward when
it is opened; a file from a newer Headrace is refused.
"""

import sqlite3

from headrace.errors import ConfigError

MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "api_keys",
        (
            """
            CREATE TABLE api_keys (
                id             TEXT PRIMARY KEY,
                name           TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier           TEXT NOT NULL CHECK (tier IN ('free', 'developer', 'enterprise')),
                prefix         TEXT NOT NULL,
                last4          TEXT NOT NULL,
                digest         BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                created_unix   INTEGER NOT NULL,
                revoked_unix   INTEGER,
                last_used_unix INTEGER
            ) STRICT
            """,
            # A revoked key gives its name free.
            """
            CREATE UNIQUE INDEX api_keys_active_name ON api_keys (name) WHERE revoked_unix IS NULL
            """,
        ),
    ),
)


def migrate(connection: sqlite3.Connection, *, now_unix: int) -> None:
    """Bring the database to the newest version; all steps or none, safe for several processes.

    `connection` is in autocommit mode and outside a transaction.
    Raises ConfigError when the file is of a newer version.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply_missing(connection, now_unix)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _apply_missing(connection: sqlite3.Connection, now_unix: int) -> None:
    connection.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_versions (
            number       INTEGER PRIMARY KEY,
            name         TEXT NOT NULL,
            applied_unix INTEGER NOT NULL
        ) STRICT
        """
    )
    (version,) = connection.execute(
        "SELECT coalesce(max(number), 0) FROM schema_versions"
    ).fetchone()
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the database is of version {version}, this Headrace knows {len(MIGRATIONS)}: "
            "run the newer Headrace, or use another HEADRACE_HOME"
        )
    for number, (name, statements) in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO schema_versions (number, name, applied_unix) VALUES (?, ?, ?)",
            (number, name, now_unix),
        )
