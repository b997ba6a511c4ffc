"""What was used: reserved before, counted while it runs, written down when it ends, exactly once.

No request waits for a disk. Credit is leased in blocks (one commit each, rarely); a request draws
on the lease in memory and stands in a mapped slot, which outlives the process; a thread writes
records and ledger entries in groups. After a crash the slots say what was delivered.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self

import msgspec

from headrace.clock import Clock
from headrace.config import Billing, Config, MeteringConfig
from headrace.errors import ConfigError, InsufficientCredit, StoreError
from headrace.metering.prices import FREE, Price, PriceList
from headrace.metering.settlement import Settled, Writer, write
from headrace.metering.slots import Reservation, Slots
from headrace.store import SqliteStore, Used, ledger
from headrace.types import Usage

_PATIENCE_S = 5.0  # with a database that does not say what was spent
_LONGEST_DAY_S = 26 * 3_600  # clocks go back an hour in autumn
_FRONTS = 64  # server processes on one database


class Payer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whose request it is, and how it is paid."""

    organisation_id: str
    project_id: str
    key_id: str
    tier: str
    billing: Billing
    budget_micros: int | None = None  # of the key, for a calendar month (UTC)


class _Pot:
    """Money of this month, or of this process, that requests reserve from and give back to."""

    __slots__ = ("lease_id", "limit", "micros", "month", "whose")

    def __init__(self, whose: str, *, month: float = 0.0) -> None:
        self.whose = whose
        self.month = month  # of a budget: when it began
        self.limit = 0  # of a budget
        self.lease_id = 0  # of leased credit
        self.micros = 0  # that are left


class Metered:
    """One request: whoever has it settles it, however the request ends."""

    __slots__ = (
        "_counted_at",
        "_counts",
        "_is_over",
        "_meter",
        "_prompt_tokens",
        "_tokens",
        "most",
        "pots",
        "price",
        "reservation",
        "slot",
    )

    def __init__(
        self,
        meter: "Meter",
        reservation: Reservation,
        price: Price,
        pots: tuple[_Pot, ...],
        most_output: int,
    ) -> None:
        """Takes a slot, and the money out of the pots. Raises QueueFull."""
        self.slot = meter.slots.take(reservation)
        self._counts, self._counted_at = meter.slots.counter(self.slot)
        for pot in pots:
            pot.micros -= reservation.reserved_micros
        self.reservation = reservation
        self.price = price
        self.pots = pots
        self.most = most_output  # tokens of each answer that are paid for
        self._meter = meter
        self._prompt_tokens = 0
        self._tokens = 0
        self._is_over = False

    def start(self, prompt_tokens: int) -> None:
        """It runs: from now on it costs what it uses."""
        self._prompt_tokens = prompt_tokens
        self._meter.slots.start(self.slot, prompt_tokens)

    def count(self, tokens: int) -> None:
        """So many more tokens are about to be delivered."""
        self._tokens = self._counts[self._counted_at] = self._tokens + tokens

    def settle(self, used: Usage) -> None:
        """It ended, and its caller will see this usage."""
        if not self._is_over:
            self._is_over = True
            self._meter.settle(self, used, "completed")

    def release(self) -> None:
        """It is over: if it was not settled, what was delivered is what it used."""
        if not self._is_over:
            self._is_over = True
            used = Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._tokens)
            self._meter.settle(self, used, "interrupted")


class Unmetered:
    """Stands for `Metered` where nobody is charged, and for the meter."""

    most = 1 << 62

    async def reserve(
        self,
        payer: Payer,
        model: str,
        request_id: str,
        *,
        prompt_tokens: int,
        most_outputs: Sequence[int],
    ) -> "Unmetered":
        """Itself: whoever it is, whatever it takes."""
        return self

    async def status_of(self, request_id: str) -> str | None:
        """Nothing is written down."""
        return None

    def start(self, prompt_tokens: int) -> None:
        """Nothing."""

    def count(self, tokens: int) -> None:
        """Nothing."""

    def settle(self, used: Usage) -> None:
        """Nothing."""

    def release(self) -> None:
        """Nothing."""


class Meter:
    """The meter of one server process. Its methods are for the event loop's thread."""

    def __init__(
        self,
        store: SqliteStore,
        slots: Slots,
        clock: Clock,
        config: MeteringConfig,
        *,
        prices: PriceList,
    ) -> None:
        self.slots = slots
        self._store = store
        self._clock = clock
        self._config = config
        self.prices = prices
        self._front = slots.path.name
        self._leases: dict[str, _Pot] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._budgets: dict[str, _Pot] = {}
        self._writer = Writer(store, slots)
        self._closes_store = False

    @classmethod
    def open(
        cls,
        home: Path,
        store: SqliteStore,
        clock: Clock,
        config: MeteringConfig,
        *,
        prices: PriceList,
    ) -> Self:
        """A meter on the first slot file nobody uses; what processes that died left is recovered.

        Raises ConfigError where no file can be used.
        """
        own: Slots | None = None
        for number in range(_FRONTS):
            path = home / "metering" / f"slots-{number}"
            if own is not None and not path.exists():
                break
            try:
                slots = Slots(path, config.slots)
            except ConfigError as exc:
                if isinstance(exc.__cause__, BlockingIOError):
                    continue
                raise
            recover(store, slots, clock)
            if own is None:
                own = slots
            else:
                slots.close()
        if own is None:
            raise ConfigError(f"{home / 'metering'}: more than {_FRONTS} servers use it")
        return cls(store, own, clock, config, prices=prices)

    @classmethod
    def of(cls, config: Config, clock: Clock) -> Self:
        """The meter of a server with these settings, on a connection of its own."""
        store = SqliteStore(config.home / "headrace.db", clock)
        try:
            prices = PriceList(config.prices)
            meter = cls.open(config.home, store, clock, config.metering, prices=prices)
        except BaseException:
            store.close()
            raise
        meter._closes_store = True
        return meter

    def close(self) -> None:
        """Write what is outstanding, and give leased credit back; the next start does the rest."""
        self._writer.close()
        try:
            with self._store.changing(of_accounts=False) as tx:
                ledger.close_leases_of(tx, self._front)
        finally:
            self.slots.close()
            if self._closes_store:
                self._store.close()

    @property
    def pending(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._writer.unwritten)

    def used(self) -> Sequence[Used]:
        """What everybody used in the last day and hour of any time zone, oldest first."""
        with self._store.reading() as tx:
            return list(ledger.used_since(tx, self._clock.unix_s() - _LONGEST_DAY_S))

    async def status_of(self, request_id: str) -> str | None:
        """How a request ended, "completed" or "interrupted"; None: it has no record."""

        unwritten = self._writer.unwritten.get(request_id)
        if unwritten is not None:
            return unwritten

        def look() -> str | None:
            with self._store.reading() as tx:
                return ledger.status_of(tx, request_id)

        return await asyncio.to_thread(look)

    async def flush(self) -> None:
        """Until all that ended before is on the disk."""
        await asyncio.wrap_future(self._writer.after_all(lambda: None))

    async def reserve(
        self,
        payer: Payer,
        model: str,
        request_id: str,
        *,
        prompt_tokens: int,
        most_outputs: Sequence[int],
    ) -> Metered:
        """A place for a request whose answers take `most_outputs` tokens each at most.

        The longest of them is cut to what the credit and the key's budget pay for. Raises
        InsufficientCredit where that is not a token each, StoreError when credit cannot be leased,
        QueueFull when too much runs.
        """
        now = self._clock.unix_s()
        price = FREE if payer.billing is Billing.NONE else self.prices.at(model, now)
        most = max(most_outputs)
        answers = len(most_outputs)
        wanted = price.most(prompt_tokens, most * answers)
        pots = await self._budgets_of(payer, now)
        lease_id = 0
        if payer.billing is Billing.CREDIT and price is not FREE:
            lease = self._leases.get(payer.organisation_id)
            if lease is None or lease.micros < wanted:
                lease = await self._leased(payer.organisation_id, wanted)
            lease_id = lease.lease_id
            pots = (lease, *pots)
        for pot in pots:  # no wait from here on: what is left is reserved
            if pot.micros < wanted:
                most = _afforded(price, pot, prompt_tokens, most, answers)
                wanted = price.most(prompt_tokens, most * answers)
        reservation = Reservation(
            request_id=request_id,
            organisation_id=payer.organisation_id,
            project_id=payer.project_id,
            key_id=payer.key_id,
            tier=payer.tier,
            model=model,
            price_version=price.version,
            input_micros=price.input_micros,
            cached_micros=price.cached_micros,
            output_micros=price.output_micros,
            lease_id=lease_id,
            reserved_micros=wanted,
            received_unix=now,
        )
        return Metered(self, reservation, price, pots, most)

    def settle(self, ended: Metered, used: Usage, status: str) -> None:
        """A request is over: its slot says so at once, its record follows."""
        micros = 0
        if not used.total_tokens:  # it never ran: nothing to write, everything to give back
            self.slots.free(ended.slot)
        else:
            self.slots.end(ended.slot, used, is_whole=status == "completed")
            micros = ended.price.amount(used)
            now = self._clock.unix_s()
            self._writer.put(Settled(ended.slot, ended.reservation, used, micros, status, now))
        back = ended.reservation.reserved_micros - micros
        for pot in ended.pots:
            pot.micros += back
        budget = self._budgets.get(ended.reservation.key_id)
        if budget is not None and budget not in ended.pots:  # of a month or a limit that is newer
            budget.micros -= micros

    async def _leased(self, organisation_id: str, wanted: int) -> _Pot:
        """The organisation's lease, with `wanted` micro-dollars in it if there are so many."""
        async with self._locks[organisation_id]:
            lease = self._leases.setdefault(organisation_id, _Pot("organisation's credit"))
            if lease.micros < wanted:
                needed = wanted - lease.micros
                block = max(needed, self._config.lease_micros)
                lease.lease_id, more = await asyncio.to_thread(
                    self._lease, organisation_id, lease.lease_id, needed, block
                )
                lease.micros += more
            return lease

    def _lease(
        self, organisation_id: str, lease_id: int, needed: int, block: int
    ) -> tuple[int, int]:
        """Lease up to `block` more of what is free; the lease's number, and how much it is."""
        with self._store.changing(of_accounts=False) as tx:
            free = ledger.balance(tx, organisation_id) - ledger.held(tx, organisation_id)
            more = max(0, min(free, block))
            if more:
                now = int(self._clock.unix_s())
                if lease_id:
                    ledger.extend_lease(tx, lease_id, more)
                else:
                    lease_id = ledger.open_lease(tx, organisation_id, self._front, more, now)
        return lease_id, more

    async def _budgets_of(self, payer: Payer, now: float) -> tuple[_Pot, ...]:
        """What a key may still spend this month (UTC), if it has a budget."""
        limit = payer.budget_micros
        if limit is None:
            self._budgets.pop(payer.key_id, None)
            return ()
        month = _month_start(now)
        async with self._locks[payer.key_id]:
            budget = self._budgets.get(payer.key_id)
            if budget is None or budget.month != month:
                budget = await self._opened(payer.key_id, month)
        budget.micros += limit - budget.limit
        budget.limit = limit
        return (budget,)

    async def _opened(self, key_id: str, month: float) -> _Pot:
        """A key's budget, less what it has spent this month: what ends from now on is drawn."""
        budget = self._budgets[key_id] = _Pot("key's budget", month=month)
        spent = self._writer.after_all(partial(self._spent, key_id, month))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                budget.micros -= await asyncio.wrap_future(spent)
        except BaseException as exc:
            del self._budgets[key_id]
            if isinstance(exc, TimeoutError):
                raise StoreError("The database does not answer. Try again shortly.") from exc
            raise
        return budget

    def _spent(self, key_id: str, since_unix: float) -> int:
        with self._store.reading() as tx:
            return ledger.spent_by_key(tx, key_id, since_unix)


def recover(store: SqliteStore, slots: Slots, clock: Clock) -> int:
    """Write down what a process left behind that died; the number of records. Twice is as once."""
    left = list(slots.left_behind())
    settled = [
        Settled(
            slot,
            reservation,
            used,
            _price_of(reservation).amount(used),
            "completed" if is_whole else "interrupted",
            clock.unix_s(),
        )
        for slot, reservation, used, is_whole in left
        if used.total_tokens
    ]
    with store.changing(of_accounts=False) as tx:
        write(tx, settled)
        ledger.close_leases_of(tx, slots.path.name)
    for slot, _, _, _ in left:
        slots.free(slot)
    return len(settled)


def _price_of(reservation: Reservation) -> Price:
    return Price(
        version=reservation.price_version,
        input_micros=reservation.input_micros,
        cached_micros=reservation.cached_micros,
        output_micros=reservation.output_micros,
    )


def _afforded(price: Price, pot: _Pot, prompt_tokens: int, most: int, answers: int) -> int:
    """Tokens of each answer that a pot pays for, `most` at most. Raises InsufficientCredit."""
    affordable = min(most, price.affordable(pot.micros, prompt_tokens) // answers)
    if affordable < min(1, most):
        raise InsufficientCredit(
            f"Payment required: the {pot.whose} has {max(0, pot.micros) / 1e6:.6f} dollars left, "
            f"and this request needs {price.most(prompt_tokens, answers) / 1e6:.6f} at least."
        )
    return affordable


def _month_start(unix_s: float) -> float:
    now = datetime.fromtimestamp(unix_s, UTC)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def new_entry_id() -> str:
    """An id for a ledger entry."""
    return f"led_{secrets.token_hex(12)}"
