"""The rows of `audit_log`: added with what they tell of, never changed (triggers see to it)."""

from dataclasses import dataclass

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One row: who did what to which, when, and from where."""

    id: str
    organisation_id: str
    at_unix: int
    action: str
    actor_kind: str  # user, api_key, operator
    actor_id: str
    actor_name: str
    address: str
    target_id: str
    details: str  # JSON


_ROWS = (
    "SELECT id, organisation_id, at_unix, action, actor_kind, actor_id, actor_name, address,"
    " target_id, details FROM audit_log WHERE organisation_id = ?"
    " AND number < coalesce((SELECT number FROM audit_log WHERE organisation_id = ? AND id = ?),"
    " 9223372036854775807) ORDER BY number DESC LIMIT ?"
)
_ROWS_OF_ALL = (
    "SELECT id, organisation_id, at_unix, action, actor_kind, actor_id, actor_name, address,"
    " target_id, details FROM audit_log"
    " WHERE number < coalesce((SELECT number FROM audit_log WHERE id = ?), 9223372036854775807)"
    " ORDER BY number DESC LIMIT ?"
)


def append(tx: Transaction, record: AuditRecord) -> None:
    """Add a row, in the transaction of what it tells of."""
    tx.execute(
        "INSERT INTO audit_log (id, organisation_id, at_unix, action, actor_kind, actor_id,"
        " actor_name, address, target_id, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.id,
            record.organisation_id,
            record.at_unix,
            record.action,
            record.actor_kind,
            record.actor_id,
            record.actor_name,
            record.address,
            record.target_id,
            record.details,
        ),
    )


def newest(
    tx: Transaction, organisation_id: str, *, after: str | None, limit: int
) -> tuple[AuditRecord, ...]:
    """Rows of an organisation, newest first, from the one older than `after` on."""
    rows = tx.execute(_ROWS, (organisation_id, organisation_id, after, limit)).fetchall()
    return tuple(_record(row) for row in rows)


def newest_of_all(tx: Transaction, *, after: str | None, limit: int) -> tuple[AuditRecord, ...]:
    """Rows of every organisation, as `newest`."""
    rows = tx.execute(_ROWS_OF_ALL, (after, limit)).fetchall()
    return tuple(_record(row) for row in rows)


def _record(row: tuple[str, str, int, str, str, str, str, str, str, str]) -> AuditRecord:
    return AuditRecord(
        id=row[0],
        organisation_id=row[1],
        at_unix=row[2],
        action=row[3],
        actor_kind=row[4],
        actor_id=row[5],
        actor_name=row[6],
        address=row[7],
        target_id=row[8],
        details=row[9],
    )
