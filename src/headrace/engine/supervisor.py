"""Keeps an engine running: starts it, sees it decode, notices its end, starts another.

A life of the engine: it is started, it loads, it decodes a probe, then it serves. It ends when the
connection is lost (the process died), or when it does not step although asked to: then it is
killed. Either way every open stream is told at once, and the next life begins: at once, or, while
none gets as far as to decode, after pauses that double.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import msgspec

from headrace.clock import Clock
from headrace.engine.connection import OnMessages
from headrace.engine.messages import (
    FromEngine,
    Loading,
    Refused,
    Started,
    Stats,
    ToEngine,
    ToFront,
    Tokens,
    error_of,
)
from headrace.errors import CapacityError, EngineDied, EngineRestarting, HeadraceError
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)

FRESH_S = 30.0  # a decode step older than this proves nothing (readiness)
LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long silence is taken for rest."""

    probe_after_s: float = 10.0  # then it is asked to decode; well below FRESH_S
    stall_s: float = 60.0  # no step in all this time, although asked: it hangs


PATIENT = Patience()


class EngineHandle(Protocol):
    """One life of an engine."""

    def send(self, message: ToEngine) -> None:
        """Hand a message to the engine; never blocks."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...

    async def close(self) -> str:
        """Let go of it and see it end; says how."""
        ...


OpenEngine = Callable[[OnMessages, Callable[[], None]], Awaitable[EngineHandle]]


class Listener(Protocol):
    """Who is served by the engine."""

    def deliver(self, messages: list[ToFront]) -> None:
        """What the engine says of sequences, in order."""
        ...

    def lost(self) -> None:
        """The engine is gone, and with it every sequence."""
        ...

    async def probe(self) -> None:
        """Have a sequence decoded; raises when that fails."""
        ...


class Supervisor:
    """One engine after another, behind one `send`. Lives on one event loop."""

    def __init__(
        self,
        open_engine: OpenEngine,
        listener: Listener,
        clock: Clock,
        *,
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`open_engine(on_messages, on_lost)` begins a life, which has to say `Started`."""
        self._open_engine = open_engine
        self._listener = listener
        self._clock = clock
        self._patience = patience
        self._sleep = sleep
        self._life: _Life | None = None
        self._started: Started | None = None
        self._serves = False  # whether the present life has decoded its probe
        self._step_s = 0.0  # when a decode step was last heard of
        self._stats = Stats()
        self._restarts = 0
        self._load_s = 1.0
        self._watch: asyncio.Task[None] | None = None

    @property
    def started(self) -> Started:
        """What the engine said when it had loaded; known once `start` has returned."""
        assert self._started is not None, "not started"
        return self._started

    @property
    def is_ready(self) -> bool:
        """Whether it serves, and has decoded within the last FRESH_S."""
        return self._serves and self._clock.now_s() - self._step_s <= FRESH_S

    @property
    def stats(self) -> Stats:
        """The engine's counters, as it last told them."""
        return msgspec.structs.replace(self._stats, restarts=self._restarts)

    async def start(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Begin the first life; returns when it has decoded.

        `progress` hears of (bytes loaded, bytes in all). Raises what the engine refused with, or
        EngineDied when it went without a word.
        """
        await self._begin(progress)
        self._watch = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """End the engine for good. May be called twice."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        await self._end()

    def send(self, message: ToEngine) -> None:
        """Hand a message to the engine; never blocks. Raises EngineRestarting without one."""
        life = self._life
        if life is None or life.engine is None or life.is_lost or not life.started.done():
            raise EngineRestarting(
                "The engine is starting again; try again in a moment.",
                retry_after_s=math.ceil(self._load_s),
            )
        life.engine.send(message)

    async def _begin(self, progress: Callable[[int, int], None] | None = None) -> None:
        began_s = self._clock.now_s()
        life = self._life = _Life(progress)
        try:
            life.engine = await self._open_engine(
                lambda messages: self._receive(life, messages), lambda: self._lose(life)
            )
            self._started = await life.started
            await self._listener.probe()
        except EngineDied as exc:
            how = await self._end()
            raise EngineDied(f"the engine's process ended while it loaded: {how}") from exc
        except BaseException:
            await self._end()
            raise
        self._step_s = self._clock.now_s()
        self._load_s = self._step_s - began_s
        self._serves = True

    async def _end(self) -> str:
        self._serves = False
        life, self._life = self._life, None
        if life is None or life.engine is None:
            return ""
        life.started.cancel()
        return await life.engine.close()

    def _receive(self, life: "_Life", messages: list[FromEngine]) -> None:
        if life is not self._life:
            return  # the last words of a life that was ended
        said: list[ToFront] = []
        for message in messages:
            match message:
                case Tokens():
                    self._step_s = self._clock.now_s()
                    said.append(message)
                case Stats():
                    self._step_s = self._clock.now_s()
                    self._stats = message
                case Loading():
                    life.loading(message)
                case Started():
                    life.started.set_result(message)
                case Refused():
                    life.started.set_exception(error_of(message))
                case _:
                    said.append(message)
        if said:
            self._listener.deliver(said)

    def _lose(self, life: "_Life") -> None:
        life.is_lost = True
        if not life.started.done():
            life.started.set_exception(EngineDied("the engine's process ended while it loaded"))
        life.ended.set()
        if life is self._life:
            self._serves = False
            self._listener.lost()

    async def _keep_alive(self) -> None:
        pause_s = 0.0
        while True:
            if self._life is None:
                pause_s = await self._revive(pause_s)
                continue
            try:
                async with asyncio.timeout(self._patience.probe_after_s):
                    await self._life.ended.wait()
            except TimeoutError:
                await self._examine(self._life)
                continue
            log.error(Event("engine_died", how=await self._end()))

    async def _revive(self, pause_s: float) -> float:
        """Begin another life after a pause; how long to pause before the one after it."""
        await self._sleep(pause_s)
        self._restarts += 1
        try:
            await self._begin()
        except (HeadraceError, OSError) as exc:
            log.error(Event("engine_restart_failed"), exc_info=exc)
            return min(max(1.0, 2 * pause_s), LONGEST_PAUSE_S)
        log.warning(Event("engine_restarted", load_s=self._load_s))
        return 0.0

    async def _examine(self, life: "_Life") -> None:
        """After a silence, have it decode; kill it if it cannot."""
        if self._clock.now_s() - self._step_s < self._patience.probe_after_s:
            return
        try:
            async with asyncio.timeout(self._patience.stall_s):
                await self._listener.probe()
        except (TimeoutError, CapacityError):  # it waits behind others, or found no place
            if self._clock.now_s() - self._step_s < self._patience.stall_s:
                return  # and the others do get on
            log.error(Event("engine_stalled", silent_s=self._clock.now_s() - self._step_s))
            life.kill()
        except HeadraceError as exc:
            if not life.is_lost:
                log.error(Event("engine_probe_failed"), exc_info=exc)
                life.kill()


class _Life:
    """What is known of one life."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self.engine: EngineHandle | None = None
        self.started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.is_lost = False
        self._progress = progress

    def kill(self) -> None:
        assert self.engine is not None, "only what runs is examined"
        self.engine.kill()

    def loading(self, message: Loading) -> None:
        if self._progress is not None:
            self._progress(message.done, message.total)
