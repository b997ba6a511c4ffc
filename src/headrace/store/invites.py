"""The rows of `invites`. What opens one is nowhere: a row has its digest."""

from dataclasses import dataclass

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRecord:
    """One row."""

    id: str
    organisation_id: str
    email: str
    role: str
    digest: bytes  # 32 bytes
    created_unix: int
    expires_unix: int
    accepted_unix: int | None = None


_INVITES = (
    "SELECT id, organisation_id, email, role, digest, created_unix, expires_unix, accepted_unix"
    " FROM invites"
)
_BY_DIGEST = _INVITES + " WHERE digest = ?"
_OF_EMAIL = _INVITES + " WHERE organisation_id = ? AND email = ?"
_ONE = _INVITES + " WHERE organisation_id = ? AND id = ?"
_OF_ORGANISATION = _INVITES + " WHERE organisation_id = ? ORDER BY created_unix, id"


def put(tx: Transaction, record: InviteRecord) -> None:
    """Insert an invitation in place of an earlier one of the same address."""
    tx.execute(
        "DELETE FROM invites WHERE organisation_id = ? AND email = ?",
        (record.organisation_id, record.email),
    )
    tx.execute(
        "INSERT INTO invites (id, organisation_id, email, role, digest, created_unix,"
        " expires_unix) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.organisation_id,
            record.email,
            record.role,
            record.digest,
            record.created_unix,
            record.expires_unix,
        ),
    )


def by_digest(tx: Transaction, digest: bytes) -> InviteRecord | None:
    """The invitation of this digest, in whatever state."""
    row = tx.execute(_BY_DIGEST, (digest,)).fetchone()
    return None if row is None else _record(row)


def of_email(tx: Transaction, organisation_id: str, email: str) -> InviteRecord | None:
    """An organisation's invitation of an e-mail address, in whatever state."""
    row = tx.execute(_OF_EMAIL, (organisation_id, email)).fetchone()
    return None if row is None else _record(row)


def one(tx: Transaction, organisation_id: str, invite_id: str) -> InviteRecord | None:
    """The invitation of this id, if it is the organisation's."""
    row = tx.execute(_ONE, (organisation_id, invite_id)).fetchone()
    return None if row is None else _record(row)


def of_organisation(tx: Transaction, organisation_id: str) -> tuple[InviteRecord, ...]:
    """The invitations of an organisation, oldest first."""
    rows = tx.execute(_OF_ORGANISATION, (organisation_id,)).fetchall()
    return tuple(_record(row) for row in rows)


def accept(tx: Transaction, invite_id: str, accepted_unix: int) -> bool:
    """Mark an invitation as accepted; False when it is already."""
    done = tx.execute(
        "UPDATE invites SET accepted_unix = ? WHERE id = ? AND accepted_unix IS NULL",
        (accepted_unix, invite_id),
    )
    return done.rowcount == 1


def remove(tx: Transaction, invite_id: str) -> None:
    """Delete an invitation."""
    tx.execute("DELETE FROM invites WHERE id = ?", (invite_id,))


def _record(row: tuple[str, str, str, str, bytes, int, int, int | None]) -> InviteRecord:
    return InviteRecord(
        id=row[0],
        organisation_id=row[1],
        email=row[2],
        role=row[3],
        digest=row[4],
        created_unix=row[5],
        expires_unix=row[6],
        accepted_unix=row[7],
    )
