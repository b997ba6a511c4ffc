"""The longest context a model has, where memory allows it; else what fits, said to everyone."""

import asyncio
import logging
from contextlib import aclosing
from pathlib import Path

import pytest

from headrace.backends.footprint import footprint
from headrace.backends.host import Memory
from headrace.clock import SystemClock
from headrace.config import load
from headrace.engine import build
from headrace.errors import ConfigError, ContextTooLong
from headrace.gateway.build import build_local
from headrace.model import open_model
from headrace.types import Message, Request, Role, SamplingParams, TokenEvent
from tests.tiny_folder import write_folder

POSITIONS = 131_072
GB = 10**9


def ask(text: str) -> Request:
    return Request(
        id="r",
        model="m",
        messages=(Message(role=Role.USER, content=text),),
        sampling=SamplingParams(temperature=0.0),
        max_tokens=2,
    )


async def one_answer(folder: Path, backend: str, text: str) -> tuple[int, list[TokenEvent]]:
    """The context the model's card tells, and all events of one request."""
    config = load(environ={}, flags={"engine.backend": backend})
    provider = build_local([folder], config, SystemClock())
    try:
        await provider.start()
        async with aclosing(provider.stream(ask(text))) as stream:
            events = [event async for event in stream]
        return provider.models[0].context_tokens, events
    finally:
        await provider.stop()


def folder_with_room_for(
    tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Memory]:
    """A long model, on a machine whose memory holds so many tokens of its cache by default."""
    folder = write_folder(tmp_path / "m", max_position_embeddings=POSITIONS)
    planned = footprint("reference", open_model(folder).program)
    fixed = planned.weight_bytes + planned.working_bytes
    available = (fixed + (tokens + 1) * planned.kv_bytes_per_token) * 5 // 4 + 1
    memory = Memory(total_bytes=available, available_bytes=available)
    monkeypatch.setattr(build, "read_memory", lambda: memory)
    return folder, memory


def test_one_request_may_take_all_positions_of_the_model(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", max_position_embeddings=POSITIONS)
    # Every letter z is a token; the template adds some.
    context, events = asyncio.run(one_answer(folder, "null", "z" * (POSITIONS - 40)))
    assert context == POSITIONS
    usage = events[-1].usage
    assert usage is not None
    assert usage.prompt_tokens > POSITIONS - 40
    assert usage.prompt_tokens + usage.completion_tokens <= POSITIONS


def test_where_memory_does_not_the_context_is_what_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = folder_with_room_for(4_096, tmp_path, monkeypatch)
    with caplog.at_level(logging.INFO, "headrace.engine.build"):
        context, _ = asyncio.run(one_answer(folder, "reference", "z"))
    assert context == 4_096
    assert "context_tokens=4096 model_context_tokens=131072" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    with pytest.raises(ContextTooLong) as refused:
        asyncio.run(one_answer(folder, "reference", "z" * 4_096))
    assert refused.value.max_tokens == 4_096


def test_what_does_not_fit_is_refused_before_any_engine_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, memory = folder_with_room_for(4_096, tmp_path, monkeypatch)
    flags = {"engine.backend": "reference", "engine.kv_tokens": POSITIONS * 16}
    with pytest.raises(ConfigError, match=rf"'engine\.kv_tokens' {POSITIONS * 16} takes"):
        build_local([folder], load(environ={}, flags=flags), SystemClock())
    little = Memory(total_bytes=memory.total_bytes, available_bytes=GB // 9)
    monkeypatch.setattr(build, "read_memory", lambda: little)
    with pytest.raises(ConfigError, match=r"0\.3 GB for m, and 0\.1 GB of memory are free"):
        build_local([folder], load(environ={}), SystemClock())
