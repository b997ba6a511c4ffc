"""The rows of money: a ledger and usage records, never changed; leases of credit.

An organisation's balance is the sum of its ledger. What may be leased is that less what open leases
still hold. All of it is whole micro-dollars.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec

from headrace.store.sqlite import Transaction


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One entry: positive is the organisation's, negative it owes."""

    id: str
    organisation_id: str
    at_unix: int
    kind: str  # top_up, grant, correction, usage
    micros: int
    reference: str  # of a usage entry: the request; else whatever its writer calls it
    note: str = ""


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One request, whole or interrupted."""

    request_id: str
    organisation_id: str
    project_id: str
    key_id: str
    tier: str
    model: str
    received_unix: float
    ended_unix: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    status: str  # completed, interrupted
    price_version: str
    micros: int  # what it cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What requests of one key and model used in one minute."""

    organisation_id: str
    key_id: str
    tier: str
    model: str
    at_unix: float  # when the last of them ended
    requests: int
    total_tokens: int
    cached_tokens: int


UsageRow = tuple[Any, ...]
USAGE_FIELDS = UsageRecord.__struct_fields__

# The columns are the fields of the records, in order; a test holds them to each other. Rows come as
# one JSON array of arrays: however many they are, it is one statement, within which no other thread
# gets the interpreter, and takes its time before the next one can run.
_ADD_USAGE = (
    "INSERT INTO usage_records (request_id, organisation_id, project_id, key_id, tier, model,"
    " received_unix, ended_unix, prompt_tokens, cached_tokens, completion_tokens,"
    " reasoning_tokens, status, price_version, micros)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),"
    " json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),"
    " json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'),"
    " json_extract(value, '$[11]'), json_extract(value, '$[12]'), json_extract(value, '$[13]'),"
    " json_extract(value, '$[14]')"
    " FROM json_each(?) WHERE true ON CONFLICT DO NOTHING"
)
_APPEND = (
    "INSERT INTO ledger (id, organisation_id, at_unix, kind, micros, reference, note)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'),"
    " json_extract(value, '$[5]'), json_extract(value, '$[6]')"
    " FROM json_each(?) WHERE true ON CONFLICT DO NOTHING"
)
_RECORDED = (
    "SELECT request_id FROM usage_records WHERE request_id IN (SELECT value FROM json_each(?))"
)
_USAGE_OF = (
    "SELECT request_id, organisation_id, project_id, key_id, tier, model,"
    " received_unix, ended_unix, prompt_tokens, cached_tokens, completion_tokens,"
    " reasoning_tokens, status, price_version, micros, number FROM usage_records"
    " WHERE organisation_id = ? AND ended_unix < ? AND (ended_unix, number) > (?, ?)"
    " ORDER BY ended_unix, number LIMIT ?"
)


def organisations(tx: Transaction) -> Sequence[str]:
    """The ids of those who have an entry."""
    return [row[0] for row in tx.execute("SELECT DISTINCT organisation_id FROM ledger")]


def count(tx: Transaction) -> int:
    """How many entries there are."""
    (found,) = tx.execute("SELECT count(*) FROM ledger").fetchone()
    return found


def count_usage(tx: Transaction) -> int:
    """How many usage records there are."""
    (found,) = tx.execute("SELECT count(*) FROM usage_records").fetchone()
    return found


def has_organisation(tx: Transaction, organisation_id: str) -> bool:
    """Whether there is an organisation of this id."""
    found = tx.execute("SELECT 1 FROM organisations WHERE id = ?", (organisation_id,))
    return found.fetchone() is not None


def append(tx: Transaction, record: LedgerRecord) -> bool:
    """Add an entry; False: one of this kind and reference is there, and nothing was done."""
    return append_all(tx, [record]) == 1


def append_all(tx: Transaction, records: Sequence[LedgerRecord]) -> int:
    """Add entries, but for those of a kind and reference that are there; how many were added."""
    return tx.execute(_APPEND, (_json(records),)).rowcount


def add_usage(tx: Transaction, record: UsageRecord) -> bool:
    """Add a record; False: that request has one, and nothing was done."""
    return add_all_usage(tx, [record]) == 1


def add_all_usage(tx: Transaction, records: Sequence[UsageRecord]) -> int:
    """Add records, but for those of requests that have one; how many were added."""
    return tx.execute(_ADD_USAGE, (_json(records),)).rowcount


def recorded(tx: Transaction, request_ids: Sequence[str]) -> set[str]:
    """Those of the requests that have a record."""
    return {row[0] for row in tx.execute(_RECORDED, (_json(request_ids),))}


def _json(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()


def balance(tx: Transaction, organisation_id: str) -> int:
    """The sum of an organisation's entries."""
    (found,) = tx.execute(
        "SELECT coalesce(sum(micros), 0) FROM ledger WHERE organisation_id = ?", (organisation_id,)
    ).fetchone()
    return found


def held(tx: Transaction, organisation_id: str) -> int:
    """What open leases hold and have not spent."""
    (found,) = tx.execute(
        "SELECT coalesce(sum(micros - spent_micros), 0) FROM leases"
        " WHERE organisation_id = ? AND is_open",
        (organisation_id,),
    ).fetchone()
    return found


def open_lease(
    tx: Transaction, organisation_id: str, front: str, micros: int, now_unix: int
) -> int:
    """A lease of `micros` for a server process; its number."""
    done = tx.execute(
        "INSERT INTO leases (organisation_id, front, micros, spent_micros, opened_unix, is_open)"
        " VALUES (?, ?, ?, 0, ?, 1)",
        (organisation_id, front, micros, now_unix),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def extend_lease(tx: Transaction, lease_id: int, micros: int) -> None:
    """So much more for an open lease."""
    tx.execute("UPDATE leases SET micros = micros + ? WHERE id = ? AND is_open", (micros, lease_id))


def spend(tx: Transaction, lease_id: int, micros: int) -> None:
    """A request drew so much from a lease for good: its usage entry stands in the ledger now."""
    tx.execute(
        "UPDATE leases SET spent_micros = spent_micros + ? WHERE id = ? AND is_open",
        (micros, lease_id),
    )


def close_leases_of(tx: Transaction, front: str) -> None:
    """All leases of a server process that is no more."""
    tx.execute("UPDATE leases SET is_open = 0 WHERE front = ? AND is_open", (front,))


def close_leases(tx: Transaction) -> None:
    """All leases there are: no server process is left."""
    tx.execute("UPDATE leases SET is_open = 0 WHERE is_open")


def spent_by_key(tx: Transaction, key_id: str, since_unix: float) -> int:
    """What a key's requests have cost since then."""
    (found,) = tx.execute(
        "SELECT coalesce(sum(micros), 0) FROM usage_records WHERE key_id = ? AND ended_unix >= ?",
        (key_id, since_unix),
    ).fetchone()
    return found


def status_of(tx: Transaction, request_id: str) -> str | None:
    """The status of a request's record; None: it has none."""
    found = tx.execute(
        "SELECT status FROM usage_records WHERE request_id = ?", (request_id,)
    ).fetchone()
    return None if found is None else found[0]


def used_since(tx: Transaction, since_unix: float) -> Iterator[Used]:
    """What everybody used since then, minute by minute, oldest first."""
    rows = tx.execute(
        """
        SELECT organisation_id, key_id, usage_records.tier, model, max(ended_unix), count(*),
            sum(prompt_tokens + completion_tokens), sum(cached_tokens)
        FROM organisations CROSS JOIN usage_records
            ON organisation_id = organisations.id AND ended_unix >= ?
        GROUP BY organisation_id, key_id, usage_records.tier, model,
            CAST(ended_unix / 60 AS INTEGER)
        ORDER BY max(ended_unix)
        """,
        (since_unix,),
    )
    names = [field.name for field in fields(Used)]
    return (Used(**dict(zip(names, row, strict=True))) for row in rows)


def usage_rows(
    tx: Transaction,
    organisation_id: str,
    since_unix: float,
    until_unix: float,
    *,
    after_number: int = -1,
    limit: int = -1,
) -> list[UsageRow]:
    """An organisation's records of [since, until), as they ended: USAGE_FIELDS, then their number.

    `after_number`: of those that ended at `since_unix`, only later ones; `limit` -1: all.
    """
    return tx.execute(
        _USAGE_OF, (organisation_id, until_unix, since_unix, after_number, limit)
    ).fetchall()


def usage_of(
    tx: Transaction, organisation_id: str, since_unix: float, until_unix: float
) -> list[UsageRecord]:
    """The same, as records."""
    rows = usage_rows(tx, organisation_id, since_unix, until_unix)
    return [UsageRecord(**dict(zip(USAGE_FIELDS, row[:-1], strict=True))) for row in rows]


def disagreements(tx: Transaction) -> Sequence[str]:
    """Requests whose record and ledger entry are not of the same amount, or of which one lacks."""
    rows = tx.execute(
        """
        SELECT request_id FROM usage_records
        LEFT JOIN ledger ON kind = 'usage' AND reference = request_id
        WHERE usage_records.micros != -coalesce(ledger.micros, 0)
        UNION ALL
        SELECT reference FROM ledger
        LEFT JOIN usage_records ON request_id = reference
        WHERE kind = 'usage' AND request_id IS NULL
        """
    ).fetchall()
    return [row[0] for row in rows]
