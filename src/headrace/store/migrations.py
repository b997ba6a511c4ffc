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
    (
        "organisations",
        (
            """
            CREATE TABLE organisations (
                id           TEXT PRIMARY KEY,
                name         TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier         TEXT NOT NULL CHECK (tier IN ('free', 'developer', 'enterprise')),
                created_unix INTEGER NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE projects (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                created_unix    INTEGER NOT NULL,
                archived_unix   INTEGER,
                UNIQUE (organisation_id, id)
            ) STRICT
            """,
            # Whoever installed the server owns the machine: the first organisation is theirs.
            """
            INSERT INTO organisations (id, name, tier, created_unix)
            VALUES ('org_default', 'Default', 'enterprise',
                    CAST(strftime('%s', 'now') AS INTEGER))
            """,
            """
            INSERT INTO projects (id, organisation_id, name, created_unix)
            SELECT 'proj_default', id, 'Default', created_unix FROM organisations
            """,
            # SQLite changes no constraint of a table: a new one takes the rows over.
            """
            CREATE TABLE api_keys_of_projects (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                project_id      TEXT,          -- NULL: for management, of the organisation
                role            TEXT CHECK (role IN ('owner', 'admin', 'member', 'billing',
                                                     'viewer')),
                owner_id        TEXT,          -- a user or service account; NULL: the operator
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                tier            TEXT           -- NULL: its organisation's
                                CHECK (tier IN ('free', 'developer', 'enterprise')),
                prefix          TEXT NOT NULL,
                last4           TEXT NOT NULL,
                digest          BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                scopes          TEXT NOT NULL CHECK (json_valid(scopes)),
                limits          TEXT NOT NULL CHECK (json_valid(limits)),
                created_unix    INTEGER NOT NULL,
                expires_unix    INTEGER,
                revoked_unix    INTEGER,
                replaced_unix   INTEGER,       -- rotated: the new one has its name
                last_used_unix  INTEGER,
                CHECK ((role IS NULL) = (project_id IS NOT NULL)),
                FOREIGN KEY (organisation_id, project_id)
                    REFERENCES projects (organisation_id, id)
            ) STRICT
            """,
            """
            INSERT INTO api_keys_of_projects
                (id, organisation_id, project_id, name, tier, prefix, last4, digest, scopes,
                 limits, created_unix, revoked_unix, last_used_unix)
            SELECT id, 'org_default', 'proj_default', name, tier, prefix, last4, digest, '{}',
                   '{}', created_unix, revoked_unix, last_used_unix
            FROM api_keys
            """,
            "DROP TABLE api_keys",
            "ALTER TABLE api_keys_of_projects RENAME TO api_keys",
            """
            CREATE UNIQUE INDEX api_keys_active_name
            ON api_keys (organisation_id, coalesce(project_id, ''), name)
            WHERE revoked_unix IS NULL AND replaced_unix IS NULL
            """,
            "CREATE INDEX api_keys_of_owner ON api_keys (owner_id)",
        ),
    ),
    (
        "users",
        (
            """
            CREATE TABLE users (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                email           TEXT NOT NULL UNIQUE COLLATE NOCASE,
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                role            TEXT NOT NULL
                                CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
                created_unix    INTEGER NOT NULL
            ) STRICT
            """,
            # Apart from users, so that no list of them can hold a hash.
            """
            CREATE TABLE passwords (
                user_id  TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
                hash     TEXT NOT NULL,
                set_unix INTEGER NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE sessions (
                digest         BLOB PRIMARY KEY CHECK (length(digest) = 32),
                user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
                created_unix   INTEGER NOT NULL,
                last_seen_unix INTEGER NOT NULL,
                expires_unix   INTEGER NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE invites (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                email           TEXT NOT NULL COLLATE NOCASE,
                role            TEXT NOT NULL
                                CHECK (role IN ('owner', 'admin', 'member', 'billing', 'viewer')),
                digest          BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
                created_unix    INTEGER NOT NULL,
                expires_unix    INTEGER NOT NULL,
                accepted_unix   INTEGER,
                UNIQUE (organisation_id, email)
            ) STRICT
            """,
            """
            CREATE TABLE service_accounts (
                id              TEXT PRIMARY KEY,
                organisation_id TEXT NOT NULL,
                project_id      TEXT NOT NULL,
                name            TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
                created_unix    INTEGER NOT NULL,
                FOREIGN KEY (organisation_id, project_id)
                    REFERENCES projects (organisation_id, id)
            ) STRICT
            """,
        ),
    ),
    (
        "audit_log",
        (
            """
            CREATE TABLE audit_log (
                number          INTEGER PRIMARY KEY,
                id              TEXT NOT NULL UNIQUE,
                organisation_id TEXT NOT NULL REFERENCES organisations (id),
                at_unix         INTEGER NOT NULL,
                action          TEXT NOT NULL,
                actor_kind      TEXT NOT NULL
                                CHECK (actor_kind IN ('user', 'api_key', 'operator')),
                actor_id        TEXT NOT NULL,
                actor_name      TEXT NOT NULL,
                address         TEXT NOT NULL,
                target_id       TEXT NOT NULL,
                details         TEXT NOT NULL CHECK (json_valid(details))
            ) STRICT
            """,
            "CREATE INDEX audit_log_of_organisation ON audit_log (organisation_id, number)",
            """
            CREATE TRIGGER audit_log_is_never_changed BEFORE UPDATE ON audit_log
            BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END
            """,
            """
            CREATE TRIGGER audit_log_is_never_deleted BEFORE DELETE ON audit_log
            BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END
            """,
        ),
    ),
    (
        "ledger",
        (
            """
            CREATE TABLE ledger (
                number          INTEGER PRIMARY KEY,
                id              TEXT NOT NULL UNIQUE,
                organisation_id TEXT NOT NULL,
                at_unix         INTEGER NOT NULL,
                kind            TEXT NOT NULL
                                CHECK (kind IN ('top_up', 'grant', 'correction', 'usage')),
                micros          INTEGER NOT NULL,
                reference       TEXT NOT NULL,
                note            TEXT NOT NULL,
                UNIQUE (kind, reference)
            ) STRICT
            """,
            "CREATE INDEX ledger_of_organisation ON ledger (organisation_id, number)",
            """
            CREATE TABLE usage_records (
                number            INTEGER PRIMARY KEY,
                request_id        TEXT NOT NULL UNIQUE,
                organisation_id   TEXT NOT NULL,
                project_id        TEXT NOT NULL,
                key_id            TEXT NOT NULL,
                tier              TEXT NOT NULL,
                model             TEXT NOT NULL,
                received_unix     REAL NOT NULL,
                ended_unix        REAL NOT NULL,
                prompt_tokens     INTEGER NOT NULL CHECK (prompt_tokens >= 0),
                cached_tokens     INTEGER NOT NULL
                                  CHECK (cached_tokens BETWEEN 0 AND prompt_tokens),
                completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
                reasoning_tokens  INTEGER NOT NULL,
                status            TEXT NOT NULL CHECK (status IN ('completed', 'interrupted')),
                price_version     TEXT NOT NULL,
                micros            INTEGER NOT NULL CHECK (micros >= 0)
            ) STRICT
            """,
            "CREATE INDEX usage_of_organisation ON usage_records (organisation_id, ended_unix)",
            "CREATE INDEX usage_of_key ON usage_records (key_id, ended_unix)",
            """
            CREATE TABLE leases (
                id              INTEGER PRIMARY KEY,
                organisation_id TEXT NOT NULL,
                front           TEXT NOT NULL,
                micros          INTEGER NOT NULL CHECK (micros > 0),
                spent_micros    INTEGER NOT NULL CHECK (spent_micros BETWEEN 0 AND micros),
                opened_unix     INTEGER NOT NULL,
                is_open         INTEGER NOT NULL CHECK (is_open IN (0, 1))
            ) STRICT
            """,
            "CREATE INDEX leases_open ON leases (organisation_id) WHERE is_open",
            """
            CREATE TRIGGER ledger_is_never_updated BEFORE UPDATE ON ledger
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END
            """,
            """
            CREATE TRIGGER ledger_is_never_deleted BEFORE DELETE ON ledger
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END
            """,
            """
            CREATE TRIGGER usage_records_is_never_updated BEFORE UPDATE ON usage_records
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END
            """,
            """
            CREATE TRIGGER usage_records_is_never_deleted BEFORE DELETE ON usage_records
            BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END
            """,
        ),
    ),
    (
        "service_hours",
        (
            # What an hour of service was like, of each model; model '': of the server.
            """
            CREATE TABLE service_hours (
                hour_unix   INTEGER NOT NULL,
                model       TEXT NOT NULL,
                since_unix  INTEGER NOT NULL,  -- the first moment in it that was watched
                counts      TEXT NOT NULL CHECK (json_valid(counts)),
                PRIMARY KEY (hour_unix, model)
            ) STRICT, WITHOUT ROWID
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
