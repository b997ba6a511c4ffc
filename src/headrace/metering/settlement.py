"""Records and ledger entries to the disk: in groups, by one thread, until they are there."""

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeAlias, TypeVar

import msgspec

from headrace.errors import StoreError
from headrace.metering.slots import Reservation, Slots
from headrace.store import LedgerRecord, SqliteStore, Transaction, UsageRecord, ledger
from headrace.telemetry.logs import Event
from headrace.types import Usage

logger = logging.getLogger("headrace.metering")

T = TypeVar("T")
_Job: TypeAlias = Callable[[], None]

_GROUP = 200  # records that are written without waiting for more
_GATHER_S = 0.05  # from the first of a group to its commit
_RETRY_S = 0.2  # until a write that failed is tried again


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A request that is over, and what of it is not on the disk yet."""

    slot: int
    reservation: Reservation
    used: Usage
    micros: int
    status: str
    ended_unix: float

    @property
    def record(self) -> UsageRecord:
        """Its usage record."""
        held, used = self.reservation, self.used
        return UsageRecord(
            request_id=held.request_id,
            organisation_id=held.organisation_id,
            project_id=held.project_id,
            key_id=held.key_id,
            tier=held.tier,
            model=held.model,
            received_unix=held.received_unix,
            ended_unix=self.ended_unix,
            prompt_tokens=used.prompt_tokens,
            cached_tokens=used.cached_tokens,
            completion_tokens=used.completion_tokens,
            reasoning_tokens=used.reasoning_tokens,
            status=self.status,
            price_version=held.price_version,
            micros=self.micros,
        )

    @property
    def entry(self) -> LedgerRecord:
        """Its entry in the ledger, if it costs anything."""
        return LedgerRecord(
            id=f"led_{self.reservation.request_id}",
            organisation_id=self.reservation.organisation_id,
            at_unix=int(self.ended_unix),
            kind="usage",
            micros=-self.micros,
            reference=self.reservation.request_id,
        )


def write(tx: Transaction, group: Iterable[Settled]) -> None:
    """Records, entries and draws on leases, together; nothing for requests that have a record."""
    by_id = {each.reservation.request_id: each for each in group}
    known = ledger.recorded(tx, list(by_id))
    fresh = [each for request_id, each in by_id.items() if request_id not in known]
    ledger.add_all_usage(tx, [each.record for each in fresh])
    paid = [each for each in fresh if each.micros]
    if paid:
        ledger.append_all(tx, [each.entry for each in paid])
    drawn: Counter[int] = Counter()
    for each in paid:
        drawn[each.reservation.lease_id] += each.micros
    for lease_id, micros in drawn.items():
        if lease_id:
            ledger.spend(tx, lease_id, micros)


class Writer:
    """The thread. What cannot be written stays in its slot and is tried again."""

    def __init__(self, store: SqliteStore, slots: Slots) -> None:
        self._store = store
        self._slots = slots
        self._queue: queue.SimpleQueue[Settled | _Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._most_waiting = min(_GROUP, max(1, slots.number // 4))
        self.unwritten: dict[str, str] = {}  # the status of each, by the request's id
        self._thread = threading.Thread(target=self._run, name="metering", daemon=True)
        self._thread.start()

    def put(self, settled: Settled) -> None:
        """Write it soon."""
        self.unwritten[settled.reservation.request_id] = settled.status
        self._queue.put(settled)
        if len(self.unwritten) >= self._most_waiting:
            self._hurry.set()

    def after_all(self, work: Callable[[], T]) -> "Future[T]":
        """What `work` gives, on the thread: after all that was put before is on the disk, and
        before anything is that is put later."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as exc:  # noqa: BLE001 (whoever waits for it is told)
                future.set_exception(exc)

        self._queue.put(job)
        self._hurry.set()
        return future

    def close(self) -> None:
        """Write what is left, once more if it fails, and end; a slot keeps what could not be."""
        self._closing.set()
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            is_written = self._write(group)
            if callable(last):
                last()
            elif last is None or not is_written:
                return

    def _next_group(self) -> "tuple[list[Settled], Settled | _Job | None]":
        """What has come, at least one of it, and what comes within a moment of the first; and the
        last of it, which may be a job or the end.

        Who asks many things at once is answered first, and written down together.
        """
        group: list[Settled] = []
        item = self._queue.get()
        if isinstance(item, Settled):
            self._hurry.wait(_GATHER_S)
        self._hurry.clear()
        while isinstance(item, Settled):
            group.append(item)
            if len(group) == _GROUP:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        return group, item

    def _write(self, group: list[Settled]) -> bool:
        """Until it is done; False: it cannot be, and the process ends."""
        is_told = False
        while group:
            try:
                with self._store.changing(of_accounts=False) as tx:
                    write(tx, group)
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
