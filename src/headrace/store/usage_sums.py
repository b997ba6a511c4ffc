"""Sums over usage records and pages of the ledger, for those who read them. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from headrace.store.ledger import LedgerRecord
from headrace.store.sqlite import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """What one key used of one model, at one price, in one stretch of time."""

    start_unix: int
    project_id: str
    key_id: str
    model: str
    price_version: str
    requests: int
    interrupted: int  # of them
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    micros: int


def usage_sums(
    tx: Transaction, organisation_id: str, since_unix: int, until_unix: int, width_s: int
) -> Sequence[UsageSum]:
    """An organisation's use in [since, until), in stretches of `width_s` from `since_unix` on."""
    rows = tx.execute(
        """
        SELECT :since + :width * CAST((ended_unix - :since) / :width AS INTEGER) AS start,
            project_id, key_id, model, price_version, count(*), sum(status = 'interrupted'),
            sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),
            sum(micros)
        FROM usage_records
        WHERE organisation_id = :organisation AND ended_unix >= :since AND ended_unix < :until
        GROUP BY start, project_id, key_id, model, price_version
        ORDER BY start, project_id, key_id, model, price_version
        """,
        {
            "organisation": organisation_id,
            "since": since_unix,
            "until": until_unix,
            "width": width_s,
        },
    ).fetchall()
    names = [field.name for field in fields(UsageSum)]
    return [UsageSum(**dict(zip(names, row, strict=True))) for row in rows]


def sums_by_kind(
    tx: Transaction, organisation_id: str, since_unix: int, until_unix: int
) -> dict[str, int]:
    """The entries of an organisation's ledger in [since, until), summed by kind."""
    rows = tx.execute(
        "SELECT kind, sum(micros) FROM ledger"
        " WHERE organisation_id = ? AND at_unix >= ? AND at_unix < ? GROUP BY kind",
        (organisation_id, since_unix, until_unix),
    ).fetchall()
    return dict(rows)


def paid_entries(
    tx: Transaction, organisation_id: str, *, after: str | None, limit: int
) -> Sequence[LedgerRecord] | None:
    """What was put into an organisation's ledger, newest first, older than the entry `after`.

    None: there is no such entry.
    """
    before = 1 << 62
    if after is not None:
        found = tx.execute(
            "SELECT number FROM ledger WHERE organisation_id = ? AND id = ? AND kind != 'usage'",
            (organisation_id, after),
        ).fetchone()
        if found is None:
            return None
        (before,) = found
    rows = tx.execute(
        "SELECT id, organisation_id, at_unix, kind, micros, reference, note FROM ledger"
        " WHERE organisation_id = ? AND number < ? AND kind != 'usage'"
        " ORDER BY number DESC LIMIT ?",
        (organisation_id, before, limit),
    ).fetchall()
    names = LedgerRecord.__struct_fields__
    return [LedgerRecord(**dict(zip(names, row, strict=True))) for row in rows]
