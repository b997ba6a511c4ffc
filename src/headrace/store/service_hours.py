"""What each hour of service was like: rows that are added to, and forgotten after a month."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHourRecord:
    """One hour of one model; model "": of the server."""

    hour_unix: int
    model: str
    since_unix: int  # the first moment in it that was watched
    counts: str  # JSON


def since(tx: Transaction, first_unix: int) -> Sequence[ServiceHourRecord]:
    """The hours that began at `first_unix` or later, oldest first."""
    rows = tx.execute(
        "SELECT hour_unix, model, since_unix, counts FROM service_hours"
        " WHERE hour_unix >= ? ORDER BY hour_unix, model",
        (first_unix,),
    ).fetchall()
    return [_record(row) for row in rows]


def find(tx: Transaction, hour_unix: int, model: str) -> ServiceHourRecord | None:
    """One of them, if it is there."""
    row = tx.execute(
        "SELECT hour_unix, model, since_unix, counts FROM service_hours"
        " WHERE hour_unix = ? AND model = ?",
        (hour_unix, model),
    ).fetchone()
    return None if row is None else _record(row)


def put(tx: Transaction, record: ServiceHourRecord) -> None:
    """Write an hour, over what was there."""
    tx.execute(
        "INSERT INTO service_hours (hour_unix, model, since_unix, counts) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (hour_unix, model) DO UPDATE SET since_unix = excluded.since_unix,"
        " counts = excluded.counts",
        (record.hour_unix, record.model, record.since_unix, record.counts),
    )


def forget_before(tx: Transaction, hour_unix: int) -> None:
    """Drop the hours that began earlier."""
    tx.execute("DELETE FROM service_hours WHERE hour_unix < ?", (hour_unix,))


def _record(row: tuple[int, str, int, str]) -> ServiceHourRecord:
    hour_unix, model, since_unix, counts = row
    return ServiceHourRecord(hour_unix=hour_unix, model=model, since_unix=since_unix, counts=counts)
