"""An engine on the event loop of the test, by a clock of the test's own: an `OpenEngine`.

No thread, no socket, no real time: each turn of the loop hears what was said, steps once and moves
the clock. What happens depends on the test's seed only.
"""

import asyncio
from collections.abc import Callable

from headrace.clock import ManualClock
from headrace.engine import Engine, OpenEngine
from headrace.engine.connection import OnMessages
from headrace.engine.messages import FromEngine, Started, ToEngine


class SteppedEngine:
    """One life of `engine`."""

    def __init__(
        self,
        engine: Engine,
        clock: ManualClock,
        step_s: float,
        on_messages: OnMessages,
        on_lost: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._step_s = step_s
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._heard: list[ToEngine] = []
        self._wake = asyncio.Event()
        self._life = asyncio.create_task(self._run())

    def send(self, message: ToEngine) -> None:
        self._heard.append(message)
        self._wake.set()

    def kill(self) -> None:
        self._life.cancel()
        self._on_lost()

    async def close(self) -> str:
        self._life.cancel()
        await asyncio.wait([self._life])
        return "in a test"

    async def _run(self) -> None:
        started = Started(backend="null", context_tokens=self._engine.context_tokens)
        self._on_messages([started])
        while True:
            said: list[FromEngine] = []
            heard, self._heard = self._heard, []
            for message in heard:
                said += self._engine.handle(message)
            if not self._engine.is_idle:
                self._clock.advance(self._step_s)
                said += self._engine.step()
            if said:
                self._on_messages([*said, self._engine.stats()])
            if self._engine.is_idle and not self._heard:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(0)


def stepped(engine: Engine, clock: ManualClock, *, step_s: float = 0.001) -> OpenEngine:
    """Opens `engine`, each step of which takes `step_s` seconds of `clock`."""

    async def open_engine(on_messages: OnMessages, on_lost: Callable[[], None]) -> SteppedEngine:
        return SteppedEngine(engine, clock, step_s, on_messages, on_lost)

    return open_engine
