"""What was used: reserved before, counted while it runs, written down when it ends, exactly once.

No request waits for a disk. Credit is leased in blocks (one commit each, rarely); a request draws
on the lease in memory and stands in a mapped slot, which outlives the process; a thread writes
records and ledger entries in groups. After a crash the slots say what was delivered.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from headrace.clock import Clock
from headrace.config import Billing, Config, MeteringConfig
from headrace.errors import ConfigError, InsufficientCredit
from headrace.metering.prices import FREE, Price, PriceList
from headrace.metering.settlement import Settled, Writer
from headrace.metering.slots import Reservation, Slots
from headrace.store import SqliteStore, Used, ledger
from headrace.types import Usage

_LONGEST_DAY_S = 26 * 3_600  # clocks go back an hour in autumn
_FRONTS = 64  # server processes on one database
NOTHING = Usage(prompt_tokens=0, completion_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Whose request it is, and how it is paid."""

    organisation_id: str
    project_id: str
    key_id: str
    tier: str
    billing: Billing
    budget_micros: int | None = None  # of the key, for a calendar month (UTC)


class Metered:
    """One request: whoever has it settles it, however the request ends."""

    __slots__ = ("_is_over", "_meter", "_prompt_tokens", "_reservation", "_slot", "_tokens", "most")

    def __init__(
        self, meter: "Meter", slot: int, reservation: Reservation, most_output: int
    ) -> None:
        self._meter = meter
        self._slot = slot
        self._reservation = reservation
        self._prompt_tokens = 0
        self._tokens = 0
        self._is_over = False
        self.most = most_output  # tokens of each answer that are paid for

    def start(self, prompt_tokens: int) -> None:
        """It runs: from now on it costs what it uses."""
        self._prompt_tokens = prompt_tokens
        self._meter.slots.start(self._slot, prompt_tokens)

    def count(self, tokens: int) -> None:
        """So many more tokens are about to be delivered."""
        self._tokens += tokens
        self._meter.slots.count(self._slot, self._tokens)

    def settle(self, used: Usage) -> None:
        """It ended, and its caller will see this usage."""
        if not self._is_over:
            self._is_over = True
            self._meter.settle(self._slot, self._reservation, used, status="completed")

    def release(self) -> None:
        """It is over: if it was not settled, what was delivered is what it used."""
        if self._is_over:
            return
        self._is_over = True
        used = Usage(prompt_tokens=self._prompt_tokens, completion_tokens=self._tokens)
        self._meter.settle(self._slot, self._reservation, used, status="interrupted")


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
        self._leases: dict[str, _Lease] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._budgets: dict[str, _Budget] = {}
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
            with self._store.changing() as tx:
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
        await asyncio.to_thread(self._writer.flush)

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
        lease = _NO_LEASE
        if payer.billing is Billing.CREDIT and price is not FREE:
            lease = await self._leased(
                payer.organisation_id, price.most(prompt_tokens, most * answers)
            )
            most = _afforded(price, lease.micros, prompt_tokens, most, answers)
        budget = self._budget(payer, now)
        if budget is not None:
            most = _afforded(price, budget.left, prompt_tokens, most, answers, whose="key's budget")
        cost = price.most(prompt_tokens, most * answers)
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
            lease_id=lease.id,
            reserved_micros=cost,
            received_unix=now,
        )
        slot = self.slots.take(reservation)
        lease.micros -= cost
        if budget is not None:
            budget.left -= cost
        return Metered(self, slot, reservation, most)

    def settle(self, slot: int, reservation: Reservation, used: Usage, *, status: str) -> None:
        """A request is over: its slot says so at once, its record follows."""
        if used == NOTHING:  # it never ran: nothing to write, everything to give back
            micros = 0
            self.slots.free(slot)
        else:
            self.slots.end(slot, used, is_whole=status == "completed")
            settled = Settled(slot, reservation, used, status, self._clock.unix_s())
            micros = settled.record.micros
            self._writer.put(settled)
        back = reservation.reserved_micros - micros
        if reservation.lease_id:
            self._leases[reservation.organisation_id].micros += back
        budget = self._budgets.get(reservation.key_id)
        if budget is not None:
            budget.left += back

    async def _leased(self, organisation_id: str, wanted: int) -> "_Lease":
        """The organisation's lease, with `wanted` micro-dollars in it if there are so many."""
        async with self._locks[organisation_id]:
            lease = self._leases.setdefault(organisation_id, _Lease())
            if lease.micros < wanted:
                needed = wanted - lease.micros
                block = max(needed, self._config.lease_micros)
                lease.id, more = await asyncio.to_thread(
                    self._lease, organisation_id, lease.id, needed, block
                )
                lease.micros += more
            return lease

    def _lease(
        self, organisation_id: str, lease_id: int, needed: int, block: int
    ) -> tuple[int, int]:
        """Lease up to `block` more of what is free; the lease's number, and how much it is."""
        with self._store.changing() as tx:
            free = ledger.balance(tx, organisation_id) - ledger.held(tx, organisation_id)
            more = max(0, min(free, block))
            if more:
                now = int(self._clock.unix_s())
                if lease_id:
                    ledger.extend_lease(tx, lease_id, more)
                else:
                    lease_id = ledger.open_lease(tx, organisation_id, self._front, more, now)
        return lease_id, more

    def _budget(self, payer: Payer, now: float) -> "_Budget | None":
        """What a key may still spend this month (UTC), if it has a budget."""
        limit = payer.budget_micros
        if limit is None:
            self._budgets.pop(payer.key_id, None)
            return None
        month = _month_start(now)
        known = self._budgets.get(payer.key_id)
        if known is None or known.month != month:
            with self._store.reading() as tx:
                spent = ledger.spent_by_key(tx, payer.key_id, month)
            known = self._budgets[payer.key_id] = _Budget(month, limit, limit - spent)
        if known.limit != limit:
            known.left += limit - known.limit
            known.limit = limit
        return known


class _Lease:
    """Credit this process may draw on."""

    __slots__ = ("id", "micros")

    def __init__(self) -> None:
        self.id = 0
        self.micros = 0


class _Budget:
    """What a key may spend in a month, less what it has and what runs."""

    __slots__ = ("left", "limit", "month")

    def __init__(self, month: float, limit: int, left: int) -> None:
        self.month = month
        self.limit = limit
        self.left = left


_NO_LEASE = _Lease()


def recover(store: SqliteStore, slots: Slots, clock: Clock) -> int:
    """Write down what a process left behind that died; the number of records. Twice is as once."""
    left = list(slots.left_behind())
    settled = [
        Settled(slot, reservation, used, "completed" if is_whole else "interrupted", clock.unix_s())
        for slot, reservation, used, is_whole in left
        if used != NOTHING
    ]
    with store.changing() as tx:
        for each in settled:
            each.write(tx)
        ledger.close_leases_of(tx, slots.path.name)
    for slot, _, _, _ in left:
        slots.free(slot)
    return len(settled)


def _afforded(
    price: Price,
    micros: int,
    prompt_tokens: int,
    most: int,
    answers: int,
    *,
    whose: str = "organisation's credit",
) -> int:
    """Tokens of each answer that `micros` pay for, `most` at most. Raises InsufficientCredit."""
    affordable = min(most, price.affordable(micros, prompt_tokens) // answers)
    if affordable < min(1, most):
        raise InsufficientCredit(
            f"Payment required: the {whose} has {max(0, micros) / 1e6:.6f} dollars left, and this "
            f"request needs {price.most(prompt_tokens, answers) / 1e6:.6f} at least."
        )
    return affordable


def _month_start(unix_s: float) -> float:
    now = datetime.fromtimestamp(unix_s, UTC)
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def new_entry_id() -> str:
    """An id for a ledger entry."""
    return f"led_{secrets.token_hex(12)}"
