"""How well the server has served: watched while it runs, kept for a month, over restarts too.

Everything is counted on the event loop, in memory; once a minute what is new is added to the
database's rows on a thread. What cannot be written waits for the next time.
"""

import asyncio
import json
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from headrace.clock import Clock
from headrace.errors import HeadraceError
from headrace.store import ServiceHourRecord, SqliteStore, service_hours
from headrace.telemetry.logs import Event
from headrace.telemetry.metrics import ReadStats
from headrace.telemetry.service_hour import ServiceHour
from headrace.types import Timing, Usage

log = logging.getLogger(__name__)

HOUR_S = 3_600
KEPT_S = 30 * 24 * HOUR_S
TICK_S = 2.0  # between two looks at the engines
FLUSH_TICKS = 30
SPEED_TICKS = 30  # looks that the present speed is told of
_LONGEST_TICK_S = 10.0  # a process that was stopped for longer was not up
_SERVER = ""

_Key = tuple[int, str]  # an hour's first second, and a model


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How much of the time that was watched requests were taken."""

    since_unix: int
    elapsed_s: float
    up_s: float


class ServiceLog:
    """Of one server. Everything but writing and reading the database is for its event loop."""

    def __init__(
        self,
        clock: Clock,
        read_stats: ReadStats,
        is_ready: Callable[[], bool],
        open_store: Callable[[], SqliteStore] | None = None,
    ) -> None:
        """`open_store` opens what the hours are kept in; None: nothing outlives the process."""
        self._clock = clock
        self._read_stats = read_stats
        self._is_ready = is_ready
        self._open_store = open_store
        self._store: SqliteStore | None = None
        self._hours: dict[_Key, ServiceHour] = {}
        self._month: dict[str, ServiceHour] = {}  # the sum of them, by model
        self._unsaved: dict[_Key, ServiceHour] = {}
        self._since: dict[int, int] = {}  # by hour: the first moment that was watched
        self._first_hour = 0  # of the month
        self._ticked_s: float | None = None
        self._looked_unix = clock.unix_s()
        self._was_ready = False
        self._restarts: dict[str, int] = {}
        self._drawn: deque[tuple[float, dict[str, int]]] = deque(maxlen=SPEED_TICKS + 1)

    def answered(
        self, model: str, usage: Usage, timing: Timing, *, first_s: float, total_s: float
    ) -> None:
        """A completion came to its end: `first_s` to its first token, `total_s` to its end."""
        for hour in self._counted(model):
            hour.answered += 1
            hour.tokens += usage.completion_tokens
            hour.first_token.add(first_s)
            hour.total.add(total_s)
            if usage.completion_tokens > 1 and timing.completion_s > 0:
                hour.gap.add(timing.completion_s / (usage.completion_tokens - 1))

    def failed(self, model: str = _SERVER) -> None:
        """A completion was refused for want of room, or broke off, by a fault of ours.

        Without a model: it had not come so far.
        """
        for hour in self._counted(model):
            hour.failed += 1

    def last_hour(self, model: str) -> ServiceHour:
        """This hour and the one before."""
        now = self._hour()
        found = ServiceHour()
        for start in (now - HOUR_S, now):
            if (start, model) in self._hours:
                found.join(self._hours[start, model])
        return found

    def month(self, model: str = _SERVER) -> ServiceHour:
        """The last 30 days; without a model, what is the server's own."""
        return self._month.get(model, ServiceHour())

    @property
    def watched(self) -> Watched | None:
        """Of the last 30 days; None: nothing yet."""
        if not self._since:
            return None
        since = max(min(self._since.values()), int(self._looked_unix) - KEPT_S)
        elapsed_s = max(self._looked_unix - since, 0.0)
        up_s = min(self._month.get(_SERVER, ServiceHour()).up_s, elapsed_s)
        return Watched(since_unix=since, elapsed_s=elapsed_s, up_s=up_s)

    def speeds(self, model: str) -> list[float]:
        """Tokens a second that its engine drew, from look to look of the last minute."""
        looks = list(self._drawn)
        return [
            max(0, later.get(model, 0) - earlier.get(model, 0)) / (at_s - before_s)
            for (before_s, earlier), (at_s, later) in pairwise(looks)
        ]

    def tick(self) -> None:
        """Look at the engines."""
        now_s, is_ready, stats = self._clock.now_s(), self._is_ready(), self._read_stats()
        self._looked_unix = self._clock.unix_s()
        self._since.setdefault(self._hour(), math.ceil(self._looked_unix))
        passed_s = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        was_up = self._was_ready and is_ready and passed_s <= _LONGEST_TICK_S
        for hour in self._counted(_SERVER):
            hour.up_s += passed_s if was_up else 0.0
        for model, told in stats.items():
            restarts: int = getattr(told, "restarts", 0)
            for hour in self._counted(model) if restarts > self._restarts.get(model, 0) else ():
                hour.restarts += restarts - self._restarts.get(model, 0)
            self._restarts[model] = restarts
        drawn = {model: int(getattr(told, "output_tokens", 0)) for model, told in stats.items()}
        self._drawn.append((now_s, drawn))
        self._ticked_s, self._was_ready = now_s, is_ready

    async def keep(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Read what is kept, then look and write, until cancelled; the last of it is written."""
        await self.read()
        try:
            while True:
                for _ in range(FLUSH_TICKS):
                    self.tick()
                    await sleep(TICK_S)
                await self.write()
        finally:
            self.tick()
            with suppress(asyncio.CancelledError):
                await self.write()
            if self._store is not None and self._open_store is not None:
                self._store.close()

    async def read(self) -> None:
        """Take over what an earlier process has kept. A database that does not open is logged."""
        if self._open_store is None:
            return
        first = self._hour() - KEPT_S
        try:
            self._store = await asyncio.to_thread(self._open_store)
            records = await asyncio.to_thread(_read, self._store, first)
        except HeadraceError as exc:
            log.warning(Event("service_log_unread"), exc_info=exc)
            return
        for record in records:
            known = self._since.get(record.hour_unix, record.since_unix)
            if record.model == _SERVER:
                self._since[record.hour_unix] = min(known, record.since_unix)
            hour = ServiceHour.of_json(json.loads(record.counts))
            self._hours.setdefault((record.hour_unix, record.model), ServiceHour()).join(hour)
        self._sum_up(self._hour())

    async def write(self) -> None:
        """Add what is new to what is kept; on a failure it waits for the next time."""
        unsaved, self._unsaved = self._unsaved, {}
        since = dict(self._since)
        if self._store is None or not unsaved:
            return
        try:
            await asyncio.to_thread(_write, self._store, unsaved, since)
        except HeadraceError as exc:
            log.warning(Event("service_log_unwritten"), exc_info=exc)
            for key, hour in unsaved.items():
                self._unsaved.setdefault(key, ServiceHour()).join(hour)

    def _hour(self) -> int:
        return int(self._clock.unix_s()) // HOUR_S * HOUR_S

    def _counted(self, model: str) -> Iterator[ServiceHour]:
        """Where something of now counts."""
        now = self._hour()
        if now - KEPT_S != self._first_hour:
            self._sum_up(now)
        yield self._hours.setdefault((now, model), ServiceHour())
        yield self._month.setdefault(model, ServiceHour())
        yield self._unsaved.setdefault((now, model), ServiceHour())

    def _sum_up(self, now: int) -> None:
        """Begin a month anew: without the hours that are older."""
        self._first_hour = now - KEPT_S
        self._hours = {key: hour for key, hour in self._hours.items() if key[0] > now - KEPT_S}
        self._since = {hour: at for hour, at in self._since.items() if hour > now - KEPT_S}
        self._month = {}
        for (_, model), hour in self._hours.items():
            self._month.setdefault(model, ServiceHour()).join(hour)


def _read(store: SqliteStore, first_unix: int) -> list[ServiceHourRecord]:
    with store.reading() as tx:
        return list(service_hours.since(tx, first_unix))


def _write(
    store: SqliteStore, unsaved: Mapping[_Key, ServiceHour], since: Mapping[int, int]
) -> None:
    """Add to the rows there are: another process may have written to them."""
    newest = max(hour for hour, _ in unsaved)
    with store.changing() as tx:
        for (hour_unix, model), fresh in unsaved.items():
            begun = since.get(hour_unix, hour_unix)
            kept = service_hours.find(tx, hour_unix, model)
            whole = ServiceHour() if kept is None else ServiceHour.of_json(json.loads(kept.counts))
            whole.join(fresh)
            service_hours.put(
                tx,
                ServiceHourRecord(
                    hour_unix=hour_unix,
                    model=model,
                    since_unix=begun if kept is None else min(begun, kept.since_unix),
                    counts=json.dumps(whole.as_json()),
                ),
            )
        service_hours.forget_before(tx, newest - KEPT_S)
