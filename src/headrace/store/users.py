"""The rows of `users`, `passwords` and `sessions`. A user's record never has a password's hash."""

from dataclasses import dataclass

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """One row of `users`."""

    id: str
    organisation_id: str
    email: str
    name: str
    role: str
    created_unix: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One row of `sessions`; the session's id is nowhere."""

    digest: bytes  # 32 bytes
    user_id: str
    created_unix: int
    last_seen_unix: int  # to the minute
    expires_unix: int


MAX_SESSIONS = 50  # of a user; chosen: more browsers than anybody has

_USERS = "SELECT users.id, organisation_id, email, name, role, users.created_unix FROM users"
_USER = _USERS + " WHERE organisation_id = ? AND id = ?"
_USER_BY_EMAIL = _USERS + " WHERE email = ?"
_USERS_OF = _USERS + " WHERE organisation_id = ? ORDER BY created_unix, id"
_EVERYBODY = _USERS + " ORDER BY created_unix, id"
_SESSION = (
    "SELECT users.id, organisation_id, email, name, role, users.created_unix, digest,"
    " sessions.created_unix, last_seen_unix, expires_unix"
    " FROM sessions JOIN users ON users.id = user_id WHERE digest = ?"
)


def add(tx: Transaction, record: UserRecord) -> bool:
    """Insert a user; False when somebody has this e-mail address."""
    done = tx.execute(
        "INSERT INTO users (id, organisation_id, email, name, role, created_unix)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (email) DO NOTHING",
        (
            record.id,
            record.organisation_id,
            record.email,
            record.name,
            record.role,
            record.created_unix,
        ),
    )
    return done.rowcount == 1


def one(tx: Transaction, organisation_id: str, user_id: str) -> UserRecord | None:
    """The user of this id, if he is the organisation's."""
    row = tx.execute(_USER, (organisation_id, user_id)).fetchone()
    return None if row is None else _user(row)


def by_email(tx: Transaction, email: str) -> UserRecord | None:
    """The user of this e-mail address, in any letters."""
    row = tx.execute(_USER_BY_EMAIL, (email,)).fetchone()
    return None if row is None else _user(row)


def of_organisation(tx: Transaction, organisation_id: str) -> tuple[UserRecord, ...]:
    """The users of an organisation, oldest first."""
    return tuple(_user(row) for row in tx.execute(_USERS_OF, (organisation_id,)).fetchall())


def everything(tx: Transaction) -> tuple[UserRecord, ...]:
    """All users of all organisations, oldest first."""
    return tuple(_user(row) for row in tx.execute(_EVERYBODY).fetchall())


def count_role(tx: Transaction, organisation_id: str, role: str) -> int:
    """How many users of an organisation have a role."""
    (count,) = tx.execute(
        "SELECT count(*) FROM users WHERE organisation_id = ? AND role = ?",
        (organisation_id, role),
    ).fetchone()
    return count


def set_role(tx: Transaction, user_id: str, role: str) -> None:
    """Change a user's role, in force from the next request of his sessions on."""
    tx.execute("UPDATE users SET role = ? WHERE id = ?", (role, user_id))


def remove(tx: Transaction, user_id: str) -> None:
    """Delete a user, his password and his sessions."""
    tx.execute("DELETE FROM users WHERE id = ?", (user_id,))


def set_password(tx: Transaction, user_id: str, password_hash: str, set_unix: int) -> None:
    """Write a password's hash."""
    tx.execute(
        "INSERT INTO passwords (user_id, hash, set_unix) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, set_unix = excluded.set_unix",
        (user_id, password_hash, set_unix),
    )


def password_hash(tx: Transaction, user_id: str) -> str | None:
    """The hash of a user's password, for the one who verifies it; None: he has none."""
    row = tx.execute("SELECT hash FROM passwords WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else row[0]


def add_session(tx: Transaction, record: SessionRecord) -> None:
    """Insert a session; delete those that have ended, and of the user's others the oldest."""
    tx.execute("DELETE FROM sessions WHERE expires_unix <= ?", (record.created_unix,))
    tx.execute(
        "DELETE FROM sessions WHERE user_id = ? AND digest NOT IN (SELECT digest FROM sessions"
        " WHERE user_id = ? ORDER BY created_unix DESC, rowid DESC LIMIT ?)",
        (record.user_id, record.user_id, MAX_SESSIONS - 1),
    )
    tx.execute(
        "INSERT INTO sessions (digest, user_id, created_unix, last_seen_unix, expires_unix)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            record.digest,
            record.user_id,
            record.created_unix,
            record.last_seen_unix,
            record.expires_unix,
        ),
    )


def session(tx: Transaction, digest: bytes) -> tuple[SessionRecord, UserRecord] | None:
    """The session of this digest, ended or not, and whose it is."""
    row = tx.execute(_SESSION, (digest,)).fetchone()
    if row is None:
        return None
    user = _user(row[:6])
    return (
        SessionRecord(
            digest=row[6],
            user_id=user.id,
            created_unix=row[7],
            last_seen_unix=row[8],
            expires_unix=row[9],
        ),
        user,
    )


def touch_session(tx: Transaction, digest: bytes, last_seen_unix: int) -> None:
    """Note when a session was last used."""
    tx.execute("UPDATE sessions SET last_seen_unix = ? WHERE digest = ?", (last_seen_unix, digest))


def end_session(tx: Transaction, digest: bytes) -> None:
    """Delete a session."""
    tx.execute("DELETE FROM sessions WHERE digest = ?", (digest,))


def end_sessions(tx: Transaction, user_id: str) -> None:
    """Delete all sessions of a user."""
    tx.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,))


def _user(row: tuple[str, str, str, str, str, int]) -> UserRecord:
    return UserRecord(
        id=row[0],
        organisation_id=row[1],
        email=row[2],
        name=row[3],
        role=row[4],
        created_unix=row[5],
    )
