"""Lives and deaths of an engine, with engines that follow a script."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from headrace.clock import Clock, ManualClock, SystemClock
from headrace.engine import EngineClient
from headrace.engine.connection import OnMessages
from headrace.engine.messages import (
    Accepted,
    Failed,
    FromEngine,
    Loading,
    Refused,
    Started,
    Stats,
    Submit,
    ToEngine,
    Tokens,
)
from headrace.engine.supervisor import PATIENT, Patience
from headrace.errors import CheckpointError, EngineDied, EngineRestarting, QueueFull
from tests.engine.test_engine import submit

STARTED = Started(backend="scripted", context_tokens=64)
IMPATIENT = Patience(probe_after_s=0.01, stall_s=0.02)


class ScriptedEngine:
    """Says its lines when it is opened; answers every sequence with its whole output, or not."""

    def __init__(self, *lines: FromEngine, answers: bool = True, dies: bool = False) -> None:
        self.lines = lines or (STARTED,)
        self.answers = answers
        self.dies = dies  # as soon as it is opened
        self.asked: list[ToEngine] = []
        self.was_killed = False
        self.is_closed = False

    async def open(self, on_messages: OnMessages, on_lost: Callable[[], None]) -> "ScriptedEngine":
        self.hear, self.lose = on_messages, on_lost
        loop = asyncio.get_running_loop()
        loop.call_soon(on_lost if self.dies else lambda: on_messages(list(self.lines)))
        return self

    def send(self, message: ToEngine) -> None:
        self.asked.append(message)
        if self.answers and isinstance(message, Submit):
            asyncio.get_running_loop().call_soon(self.hear, answer(message))

    def kill(self) -> None:
        self.was_killed = True
        asyncio.get_running_loop().call_soon(self.lose)

    async def close(self) -> str:
        self.is_closed = True
        return "as the script has it"


def answer(asked: Submit) -> list[FromEngine]:
    tokens = Tokens(
        id=asked.id,
        token_ids=tuple(range(asked.max_tokens)),
        cached_tokens=0,
        finish="length",
        queue_s=0.0,
        prompt_s=0.0,
        completion_s=0.0,
    )
    return [Accepted(id=asked.id), tokens]


def client(
    *lives: ScriptedEngine,
    patience: Patience = PATIENT,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    clock: Clock | None = None,
) -> EngineClient:
    """A client whose engine has these lives, one after the other; then it waits for ever."""
    rest = iter(lives)

    async def open_engine(on_messages: OnMessages, on_lost: Callable[[], None]) -> ScriptedEngine:
        life = next(rest, None)
        if life is None:
            await asyncio.Event().wait()
        assert life is not None
        return await life.open(on_messages, on_lost)

    return EngineClient(
        open_engine,
        clock or SystemClock(),
        greeting=(1, 2, 3),
        patience=patience,
        sleep=sleep or no_pause,
    )


async def no_pause(_: float) -> None:
    """A pause that is over at once."""
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (about others' state, not an event of ours)
            await asyncio.sleep(0)


async def collect(engine: EngineClient, asked: Submit) -> list[int]:
    async with aclosing(engine.run(asked)) as messages:
        return [t async for m in messages if isinstance(m, Tokens) for t in m.token_ids]


def test_it_is_ready_when_it_has_decoded_and_not_before() -> None:
    async def run() -> None:
        life = ScriptedEngine(Loading(done=1, total=2), Loading(done=2, total=2), STARTED)
        engine = client(life)
        seen: list[tuple[int, int]] = []
        assert not engine.is_ready
        await engine.start(lambda done, total: seen.append((done, total)))
        assert engine.is_ready
        assert engine.started == STARTED
        assert seen == [(1, 2), (2, 2)]
        probe = life.asked[0]
        assert isinstance(probe, Submit)
        assert (probe.prompt, probe.max_tokens) == ((1, 2, 3), 2)
        assert await collect(engine, submit("a", (1,), 5)) == [0, 1, 2, 3, 4]
        await engine.stop()
        assert life.is_closed
        assert not engine.is_ready

    asyncio.run(run())


def test_a_refusal_is_raised_as_what_it_was() -> None:
    async def run() -> None:
        life = ScriptedEngine(Refused(error="CheckpointError", message="x.safetensors is torn"))
        with pytest.raises(CheckpointError, match="is torn"):
            await client(life).start()
        assert life.is_closed

    asyncio.run(run())


def test_a_death_while_loading_says_how() -> None:
    async def run() -> None:
        with pytest.raises(EngineDied, match="as the script has it"):
            await client(ScriptedEngine(dies=True)).start()

    asyncio.run(run())


def test_a_probe_that_fails_is_a_start_that_fails() -> None:
    async def run() -> None:
        life = ScriptedEngine(answers=False)
        engine = client(life)
        starting = asyncio.create_task(engine.start())
        await until(lambda: bool(life.asked))
        life.hear([Failed(id="probe-0", error="QueueFull", message="full of nothing")])
        with pytest.raises(QueueFull, match="full of nothing"):
            await starting
        assert life.is_closed

    asyncio.run(run())


def test_a_dead_engine_fails_its_streams_at_once_and_is_replaced() -> None:
    async def run() -> None:
        first, second = ScriptedEngine(), ScriptedEngine(Stats(steps=9), STARTED)
        engine = client(first, second)
        await engine.start()
        first.answers = False
        reading = [asyncio.create_task(collect(engine, submit(n, (1,), 5))) for n in "abc"]
        await until(lambda: len(first.asked) == 4)
        first.lose()
        with pytest.raises(EngineRestarting) as refused:
            await collect(engine, submit("d", (1,), 5))
        assert refused.value.retry_after_s >= 1
        assert not engine.is_ready
        for task in reading:
            with pytest.raises(EngineDied):
                await task
        await until(lambda: engine.is_ready)
        assert engine.stats == Stats(steps=9, restarts=1)
        assert engine.num_open == 0
        assert await collect(engine, submit("e", (1,), 2)) == [0, 1]
        assert first.is_closed
        first.hear([Failed(id="e", error="EngineError", message="from the grave")])
        await engine.stop()

    asyncio.run(run())


def test_pauses_grow_until_a_life_has_decoded() -> None:
    async def run() -> None:
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(0)

        first, last = ScriptedEngine(), ScriptedEngine()
        engine = client(first, *(ScriptedEngine(dies=True) for _ in range(7)), last, sleep=pause)
        await engine.start()
        first.lose()
        await until(lambda: len(pauses) == 8 and engine.is_ready)
        assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        last.lose()
        await until(lambda: len(pauses) == 9)
        assert pauses[-1] == 0.0
        await engine.stop()

    asyncio.run(run())


def test_an_idle_engine_is_asked_to_decode_now_and_then() -> None:
    async def run() -> None:
        life = ScriptedEngine()
        engine = client(life, patience=Patience(probe_after_s=0.001))
        await engine.start()
        await until(lambda: len(life.asked) >= 4)
        assert engine.is_ready
        await engine.stop()

    asyncio.run(run())


def test_an_engine_that_hangs_is_killed_and_replaced() -> None:
    async def run() -> None:
        first, second = ScriptedEngine(), ScriptedEngine()
        engine = client(first, second, patience=IMPATIENT)
        await engine.start()
        first.answers = False
        reading = asyncio.create_task(collect(engine, submit("a", (1,), 5)))
        with pytest.raises(EngineDied):
            await reading
        assert first.was_killed
        await until(lambda: engine.is_ready)
        assert await collect(engine, submit("b", (1,), 1)) == [0]
        await engine.stop()

    asyncio.run(run())


def test_an_engine_that_steps_is_not_killed_though_the_probe_waits() -> None:
    async def run() -> None:
        life = ScriptedEngine()
        clock = ManualClock()  # by which it has always stepped just now
        engine = client(life, patience=Patience(probe_after_s=0.0, stall_s=0.001), clock=clock)
        await engine.start()
        life.answers = False
        await until(lambda: len(life.asked) > 6)  # probe after probe is given up
        assert not life.was_killed
        clock.advance(1.0)
        await until(lambda: life.was_killed)
        await engine.stop()

    asyncio.run(run())


def test_a_probe_that_finds_no_place_proves_nothing() -> None:
    async def run() -> None:
        life = ScriptedEngine()
        clock = ManualClock()
        engine = client(life, patience=Patience(probe_after_s=0.0), clock=clock)
        await engine.start()
        life.answers = False
        for number in range(1, 4):
            clock.advance(10.0)
            await until(lambda wanted=number + 1: len(life.asked) == wanted)
            life.hear([Failed(id=f"probe-{number}", error="QueueFull", message="full")])
        await asyncio.sleep(0)
        assert not life.was_killed
        await engine.stop()

    asyncio.run(run())


def test_stopping_while_it_restarts_ends_quietly() -> None:
    async def run() -> None:
        first = ScriptedEngine()
        engine = client(first)
        await engine.start()
        first.lose()
        await until(lambda: first.is_closed)
        await engine.stop()
        await engine.stop()
        with pytest.raises(EngineRestarting):
            await collect(engine, submit("a", (1,), 1))

    asyncio.run(run())
