"""Records and ledger entries to the disk: in groups, by one thread, until they are there."""

import logging
import queue
import threading
from dataclasses import dataclass
from functools import cached_property

from headrace.errors import StoreError
from headrace.metering.prices import Price
from headrace.metering.slots import Reservation, Slots
from headrace.store import LedgerRecord, SqliteStore, Transaction, UsageRecord, ledger
from headrace.telemetry.logs import Event
from headrace.types import Usage

logger = logging.getLogger("headrace.metering")

_GROUP = 200  # records of one commit
_GATHER_S = 0.005  # from the first of a group to its commit
_RETRY_S = 0.2  # until a write that failed is tried again


@dataclass(frozen=True)
class Settled:
    """A request that is over, and what of it is not on the disk yet."""

    slot: int
    reservation: Reservation
    used: Usage
    status: str
    ended_unix: float

    @cached_property
    def record(self) -> UsageRecord:
        """Its usage record."""
        held = self.reservation
        price = Price(
            version=held.price_version,
            input_micros=held.input_micros,
            cached_micros=held.cached_micros,
            output_micros=held.output_micros,
        )
        return UsageRecord(
            request_id=held.request_id,
            organisation_id=held.organisation_id,
            project_id=held.project_id,
            key_id=held.key_id,
            tier=held.tier,
            model=held.model,
            received_unix=held.received_unix,
            ended_unix=self.ended_unix,
            prompt_tokens=self.used.prompt_tokens,
            cached_tokens=self.used.cached_tokens,
            completion_tokens=self.used.completion_tokens,
            reasoning_tokens=self.used.reasoning_tokens,
            status=self.status,
            price_version=held.price_version,
            micros=price.amount(self.used),
        )

    def write(self, tx: Transaction) -> None:
        """Record, entry and draw on the lease, together; nothing if they are there."""
        record = self.record
        if not ledger.add_usage(tx, record) or not record.micros:
            return
        ledger.append(
            tx,
            LedgerRecord(
                id=f"led_{record.request_id}",
                organisation_id=record.organisation_id,
                at_unix=int(record.ended_unix),
                kind="usage",
                micros=-record.micros,
                reference=record.request_id,
            ),
        )
        if self.reservation.lease_id:
            ledger.spend(tx, self.reservation.lease_id, record.micros)


class Writer:
    """The thread. What cannot be written stays in its slot and is tried again."""

    def __init__(self, store: SqliteStore, slots: Slots) -> None:
        self._store = store
        self._slots = slots
        self._queue: queue.SimpleQueue[Settled | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self.unwritten: dict[str, str] = {}  # the status of each, by the request's id
        self._thread = threading.Thread(target=self._run, name="metering", daemon=True)
        self._thread.start()

    def put(self, settled: Settled) -> None:
        """Write it soon."""
        self.unwritten[settled.reservation.request_id] = settled.status
        self._queue.put(settled)

    def flush(self) -> None:
        """Until all that was put before is on the disk."""
        done = threading.Event()
        self._queue.put(done)
        done.wait()

    def close(self) -> None:
        """Write what is left, once more if it fails, and end; a slot keeps what could not be."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, flushed, is_last = self._next_group()
            is_written = self._write(group)
            for event in flushed:
                event.set()
            if is_last or not is_written:
                return

    def _next_group(self) -> tuple[list[Settled], list[threading.Event], bool]:
        """What has come, at least one of it, and what comes within a moment of the first.

        Who asks many things at once is answered first, and written down together.
        """
        group: list[Settled] = []
        flushed: list[threading.Event] = []
        item = self._queue.get()
        if isinstance(item, Settled):
            self._closing.wait(_GATHER_S)
        while True:
            if item is None:
                return group, flushed, True
            if isinstance(item, threading.Event):
                flushed.append(item)
            else:
                group.append(item)
            if len(group) == _GROUP:
                return group, flushed, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, flushed, False

    def _write(self, group: list[Settled]) -> bool:
        """Until it is done; False: it cannot be, and the process ends."""
        is_told = False
        while group:
            try:
                with self._store.changing() as tx:
                    for settled in group:
                        settled.write(tx)
                break
            except StoreError as exc:
                if not is_told:
                    is_told = True
                    logger.error(
                        Event("usage_not_written", pending=len(self.unwritten)), exc_info=exc
                    )
                if self._closing.wait(_RETRY_S):
                    return False
        if is_told:
            logger.warning(Event("usage_written_again", records=len(group)))
        for settled in group:
            self._slots.free(settled.slot)
            self.unwritten.pop(settled.reservation.request_id, None)
        return True
