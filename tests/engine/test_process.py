"""The engine as a process: loading, refusing, dying, and leaving with its front."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from select import POLLIN, poll

import pytest

from headrace.clock import SystemClock
from headrace.config import EngineConfig, LogConfig
from headrace.engine import EngineClient, start_child
from headrace.engine.child import EngineChild
from headrace.engine.connection import OnMessages
from headrace.engine.messages import Start, Submit, Tokens
from headrace.errors import CheckpointError, ConfigError, EngineDied
from headrace.model import bundled_model, open_network
from tests.engine.test_engine import submit
from tests.engine.test_supervisor import until

VOCAB = open_network(bundled_model()).program.vocab_size


class Children:
    """Opens engines on the null backend, and remembers them."""

    def __init__(self, model: Path | None = None, **changes: object) -> None:
        config = EngineConfig(**{"backend": "null", **changes})
        self._start = Start(model=str(model or bundled_model()), config=config, log=LogConfig())
        self.born: list[EngineChild] = []

    async def open(self, on_messages: OnMessages, on_lost: Callable[[], None]) -> EngineChild:
        self.born.append(await start_child(self._start, on_messages, on_lost))
        return self.born[-1]


def client(children: Children) -> EngineClient:
    return EngineClient(children.open, SystemClock(), greeting=(1, 2, 3))


def run(work: Coroutine[object, object, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(bounded())


async def collect(engine: EngineClient, asked: Submit) -> list[int]:
    async with aclosing(engine.run(asked)) as messages:
        return [t async for m in messages if isinstance(m, Tokens) for t in m.token_ids]


def is_gone(pid: int) -> bool:
    """Whether the process has ended within ten seconds."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiting = poll()
        waiting.register(watched, POLLIN)
        return bool(waiting.poll(10_000))
    finally:
        os.close(watched)


def test_a_process_loads_decodes_and_leaves() -> None:
    async def work() -> None:
        children, seen = Children(), []
        engine = client(children)
        await engine.start(lambda done, total: seen.append((done, total)))
        assert engine.started.backend == "null"
        assert await collect(engine, submit("a", (5,), 4)) == [6, 7, 8, 9]
        several = [collect(engine, submit(str(i), (i,), 50)) for i in range(8)]
        for i, got in enumerate(await asyncio.gather(*several)):
            assert got == [(i + 1 + j) % VOCAB for j in range(50)]
        await engine.stop()
        assert is_gone(children.born[0].pid)

    run(work())


def test_the_served_context_is_a_setting() -> None:
    longest = open_network(bundled_model()).program.max_positions

    async def work() -> None:
        for tokens, served in ((0, longest), (96, 96), (1 << 20, longest)):
            engine = client(Children(context_tokens=tokens))
            await engine.start()
            assert engine.started.context_tokens == served
            await engine.stop()

    run(work())


def test_progress_is_told_while_weights_are_packed() -> None:
    async def work() -> None:
        seen: list[tuple[int, int]] = []
        engine = client(Children(backend="cpu", threads=1))
        await engine.start(lambda done, total: seen.append((done, total)))
        await engine.stop()
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1] > 0

    run(work())


def test_what_cannot_be_loaded_is_refused_by_name(tmp_path: Path) -> None:
    async def refused(children: Children, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            await client(children).start()
        assert is_gone(children.born[0].pid)

    run(refused(Children(tmp_path / "nowhere"), CheckpointError, "nowhere"))
    run(refused(Children(backend="abacus"), ConfigError, "abacus"))


def test_a_killed_engine_is_told_at_once_and_replaced() -> None:
    async def work() -> None:
        children = Children(backend="reference")
        engine = client(children)
        await engine.start()
        async with aclosing(engine.run(submit("a", (1,), 1_000))) as messages:
            async for message in messages:
                if isinstance(message, Tokens):
                    break
            os.kill(children.born[0].pid, signal.SIGKILL)
            with pytest.raises(EngineDied):
                async for _ in messages:
                    pass
        await until(lambda: engine.is_ready)
        assert len(await collect(engine, submit("b", (1,), 2))) == 2
        assert len(children.born) == 2
        await engine.stop()
        assert all(is_gone(child.pid) for child in children.born)

    run(work())


def test_signals_for_the_group_leave_it_to_its_front() -> None:
    async def work() -> None:
        children = Children()
        engine = client(children)
        await engine.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(children.born[0].pid, number)
        assert await collect(engine, submit("a", (5,), 2)) == [6, 7]
        await engine.stop()

    run(work())


FRONT = """
import asyncio, sys
from pathlib import Path
from headrace.clock import SystemClock
from headrace.config import EngineConfig, LogConfig
from headrace.engine import EngineClient, start_child
from headrace.engine.messages import Start

async def main():
    start = Start(model=sys.argv[1], config=EngineConfig(backend="null"), log=LogConfig())

    async def open_engine(on_messages, on_lost):
        child = await start_child(start, on_messages, on_lost)
        print(child.pid, flush=True)
        return child

    engine = EngineClient(open_engine, SystemClock(), greeting=(1,))
    await engine.start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_an_engine_does_not_outlive_a_front_that_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FRONT, str(bundled_model())], stdout=subprocess.PIPE, text=True
    ) as front:
        assert front.stdout is not None
        pid = int(front.stdout.readline())
        assert front.stdout.readline() == "started\n"
        front.kill()
        assert is_gone(pid)
