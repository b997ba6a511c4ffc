"""An engine's process that is started ahead of its model."""

import asyncio
from pathlib import Path

import pytest

from headrace.clock import SystemClock
from headrace.config import load
from headrace.engine.launch import launch
from headrace.errors import EngineDied
from headrace.gateway.build import build_local
from headrace.model import bundled_model
from headrace.types import Message, Request, Role, SamplingParams


def test_a_process_that_is_told_nothing_ends_with_its_socket() -> None:
    launched = launch()
    launched.sock.close()
    assert launched.process.wait(60) == 0


def test_the_first_model_is_loaded_by_the_process_that_was_launched(tmp_path: Path) -> None:
    launched = launch()
    config = load(environ={"HEADRACE_HOME": str(tmp_path)}, flags={"engine.backend": "null"})
    provider = build_local([bundled_model()], config, SystemClock(), launched)
    request = Request(
        id="1",
        model=bundled_model().name,
        messages=(Message(role=Role.USER, content="Hello"),),
        sampling=SamplingParams(),
        max_tokens=3,
    )

    async def life() -> int | None:
        await provider.start()
        async for event in provider.stream(request):
            if event.finish is not None:
                break
        serving = launched.process.poll()
        await provider.stop()
        return serving

    assert asyncio.run(life()) is None
    assert launched.process.returncode == 0


def test_one_that_died_meanwhile_is_said_to_have_died(tmp_path: Path) -> None:
    launched = launch()
    launched.process.kill()
    launched.process.wait()
    config = load(environ={"HEADRACE_HOME": str(tmp_path)}, flags={"engine.backend": "null"})
    provider = build_local([bundled_model()], config, SystemClock(), launched)
    with pytest.raises(EngineDied, match="signal 9"):
        asyncio.run(provider.start())
