"""What the operator does with money: adds it, looks at it, and gives an account of it."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from headrace.clock import Clock
from headrace.errors import InvalidRequest
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger

KINDS = ("top_up", "grant", "correction")
_MOST = 1 << 53  # micro-dollars: what every JSON reader keeps exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An organisation's money, in micro-dollars."""

    organisation_id: str
    balance_micros: int
    leased_micros: int  # of it, set aside by servers for what they run


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an organisation used in a stretch of time: each line, and the sum of all lines."""

    organisation_id: str
    since_unix: float
    until_unix: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    micros: int
    lines: tuple[UsageRecord, ...]

    def as_csv(self) -> str:
        """A line a request, under a line of names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in fields(UsageRecord))
        writer.writerows(asdict(line).values() for line in self.lines)
        return text.getvalue()


class Books:
    """The books of one database."""

    def __init__(self, store: SqliteStore, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    def add(
        self, organisation_id: str, micros: int, *, kind: str, reference: str = "", note: str = ""
    ) -> Balance:
        """A top-up, a grant or a correction (which may be negative).

        With a `reference`, a second entry of that kind and reference does nothing, so that a
        payment that is reported twice counts once. Raises InvalidRequest for an unknown
        organisation or an amount that is none.
        """
        if kind not in KINDS:
            raise InvalidRequest(f"kind: one of {', '.join(KINDS)}", param="kind")
        if not (0 < micros <= _MOST or (kind == "correction" and -_MOST <= micros < 0)):
            raise InvalidRequest(
                "amount: more than nothing, or, of a correction, less", param="amount"
            )
        entry = self._new_id()
        with self._store.changing() as tx:
            if not ledger.has_organisation(tx, organisation_id):
                raise InvalidRequest(
                    f"no organisation has the id '{organisation_id}': see "
                    "`headrace organisations list`",
                    param="organisation",
                )
            ledger.append(
                tx,
                LedgerRecord(
                    id=entry,
                    organisation_id=organisation_id,
                    at_unix=int(self._clock.unix_s()),
                    kind=kind,
                    micros=micros,
                    reference=reference or entry,
                    note=note,
                ),
            )
        return self.balance(organisation_id)

    def balance(self, organisation_id: str) -> Balance:
        """How an organisation stands."""
        with self._store.reading() as tx:
            return Balance(
                organisation_id=organisation_id,
                balance_micros=ledger.balance(tx, organisation_id),
                leased_micros=ledger.held(tx, organisation_id),
            )

    def statement(self, organisation_id: str, since_unix: float, until_unix: float) -> Statement:
        """Every request that ended in [since, until), and their sum."""
        with self._store.reading() as tx:
            lines = tuple(ledger.usage_of(tx, organisation_id, since_unix, until_unix))
        return Statement(
            organisation_id=organisation_id,
            since_unix=since_unix,
            until_unix=until_unix,
            prompt_tokens=sum(line.prompt_tokens for line in lines),
            cached_tokens=sum(line.cached_tokens for line in lines),
            completion_tokens=sum(line.completion_tokens for line in lines),
            micros=sum(line.micros for line in lines),
            lines=lines,
        )

    def entries(self, organisation_id: str) -> Sequence[LedgerRecord]:
        """An organisation's ledger."""
        with self._store.reading() as tx:
            return tuple(ledger.entries_of(tx, organisation_id))

    def check(self) -> Sequence[str]:
        """Requests whose record and ledger entry do not agree; there should be none."""
        with self._store.reading() as tx:
            return ledger.disagreements(tx)
