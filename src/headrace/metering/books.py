"""What the operator does with money: adds it, looks at it, and gives an account of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.errors import InvalidRequest, UnknownObject
from headrace.store import (
    LedgerRecord,
    SqliteStore,
    Transaction,
    UsageSum,
    ledger,
    usage_sums,
)

KINDS = ("top_up", "grant", "correction")
_ENDED = ledger.USAGE_FIELDS.index("ended_unix")
_PIECE = 1_000  # records of one look at the database
_FOREVER = 1 << 40  # seconds since 1970
_MOST = 1 << 53  # micro-dollars: what every JSON reader keeps exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """An organisation's money, in micro-dollars."""

    organisation_id: str
    balance_micros: int
    leased_micros: int  # of it, set aside by servers for what they run


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An organisation's account of a stretch of time [since, until), in micro-dollars.

    `opening_micros` + `paid_micros` - `micros` = `closing_micros`, although the balances and
    `paid_micros` are sums of the ledger, and `micros` one of the usage records.
    """

    organisation_id: str
    since_unix: int
    until_unix: int
    opening_micros: int  # the balance before
    paid_micros: int  # top-ups, grants and corrections
    closing_micros: int  # the balance after
    sums: tuple[UsageSum, ...]  # by project, key, model and price

    @property
    def micros(self) -> int:
        """What was used costs so much."""
        return sum(each.micros for each in self.sums)

    @property
    def requests(self) -> int:
        """How many ended."""
        return sum(each.requests for each in self.sums)

    @property
    def prompt_tokens(self) -> int:
        """Of all of them."""
        return sum(each.prompt_tokens for each in self.sums)

    @property
    def cached_tokens(self) -> int:
        """Of these, found in the cache."""
        return sum(each.cached_tokens for each in self.sums)

    @property
    def completion_tokens(self) -> int:
        """Of all answers."""
        return sum(each.completion_tokens for each in self.sums)


class Books:
    """The books of one database."""

    def __init__(self, store: SqliteStore, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id

    def add(
        self,
        organisation_id: str,
        micros: int,
        *,
        kind: str,
        reference: str = "",
        note: str = "",
        also: Callable[[Transaction], None] = lambda _: None,
    ) -> Balance:
        """A top-up, a grant or a correction (which may be negative); `also` in its transaction.

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
            is_new = ledger.append(
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
            if is_new:
                also(tx)
        return self.balance(organisation_id)

    def balance(self, organisation_id: str) -> Balance:
        """How an organisation stands."""
        with self._store.reading() as tx:
            return Balance(
                organisation_id=organisation_id,
                balance_micros=ledger.balance(tx, organisation_id),
                leased_micros=ledger.held(tx, organisation_id),
            )

    def statement(self, organisation_id: str, since_unix: int, until_unix: int) -> Statement:
        """The account of [since, until): what came in, what was used, what is left."""
        with self._store.snapshot() as tx:
            before = usage_sums.sums_by_kind(tx, organisation_id, 0, since_unix)
            during = usage_sums.sums_by_kind(tx, organisation_id, since_unix, until_unix)
            sums = usage_sums.usage_sums(
                tx, organisation_id, since_unix, until_unix, max(1, until_unix - since_unix)
            )
        return Statement(
            organisation_id=organisation_id,
            since_unix=since_unix,
            until_unix=until_unix,
            opening_micros=sum(before.values()),
            paid_micros=sum(micros for kind, micros in during.items() if kind != "usage"),
            closing_micros=sum(before.values()) + sum(during.values()),
            sums=tuple(sums),
        )

    def use(
        self, organisation_id: str, since_unix: int, until_unix: int, width_s: int
    ) -> Sequence[UsageSum]:
        """Sums by project, key, model and price, in stretches of `width_s` from `since_unix` on."""
        with self._store.reading() as tx:
            return usage_sums.usage_sums(tx, organisation_id, since_unix, until_unix, width_s)

    def lines(
        self, organisation_id: str, since_unix: float, until_unix: float
    ) -> Iterator[ledger.UsageRow]:
        """Every request that ended in [since, until), in the order they ended in: USAGE_FIELDS.

        Read a piece at a time: whoever takes them slowly holds nothing up. Rows and not records:
        a million of them take half the time.
        """
        number = -1
        while True:
            with self._store.reading() as tx:
                piece = ledger.usage_rows(
                    tx, organisation_id, since_unix, until_unix, after_number=number, limit=_PIECE
                )
            yield from (row[:-1] for row in piece)
            if len(piece) < _PIECE:
                return
            number, since_unix = piece[-1][-1], piece[-1][_ENDED]

    def paid(
        self, organisation_id: str, *, after: str | None, limit: int
    ) -> Sequence[LedgerRecord]:
        """Top-ups, grants and corrections, newest first, older than the entry `after`.

        Raises UnknownObject when there is none of that id.
        """
        with self._store.reading() as tx:
            found = usage_sums.paid_entries(tx, organisation_id, after=after, limit=limit)
        if found is None:
            raise UnknownObject("object to go on after")
        return found

    def check(self) -> Sequence[str]:
        """Requests whose record and ledger entry do not agree; there should be none."""
        with self._store.reading() as tx:
            return ledger.disagreements(tx)

    def unbalanced(self) -> Sequence[str]:
        """Organisations whose statement of all time does not close with their ledger's sum."""
        with self._store.reading() as tx:
            everybody = ledger.organisations(tx)
        return [each for each in everybody if not self._closes(each)]

    def _closes(self, organisation_id: str) -> bool:
        found = self.statement(organisation_id, 0, _FOREVER)
        return found.opening_micros + found.paid_micros - found.micros == found.closing_micros
