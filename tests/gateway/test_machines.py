"""One prompt on several machines: the same tokens, each with its own times, nothing left behind."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.backends.host import read_host
from headrace.backends.registry import Options, load_backend
from headrace.clock import SystemClock
from headrace.config import Config, MachinesConfig
from headrace.engine import Engine, EngineClient
from headrace.errors import ContextTooLong, InvalidRequest, QueueFull, UnknownModel
from headrace.gateway.local import LocalModel
from headrace.gateway.machines import CONTEXT_TOKENS, MACHINES, Ending, Machines, Piece
from headrace.model import bundled_model, open_model
from tests.threaded import threaded

MODEL = open_model(bundled_model())
CONFIG = Config(home=Path("/nonexistent"))


class Shop:
    """A model on the reference backend, and machines whose engines run on threads."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.started: list[str] = []
        self.local = LocalModel(MODEL, self.client("reference"))
        self.machines = Machines({"mini": self.local}, config, SystemClock(), start=self.start)

    def client(self, name: str) -> EngineClient:
        def make() -> Engine:
            backend = load_backend(
                name,
                MODEL.program,
                MODEL.weights,
                num_blocks=CONTEXT_TOKENS // 16,
                options=Options(threads=1, mesh="32x32"),
            )
            return Engine(
                backend, SystemClock(), max_sequences=1, max_step_tokens=96, max_waiting=4
            )

        return EngineClient(threaded(make), SystemClock(), greeting=(0,))

    def start(self, _: LocalModel, config: Config) -> EngineClient:
        self.started.append(config.engine.backend)
        return self.client(config.engine.backend)

    async def run(self, machine: str, text: str = "What is a KV cache?", tokens: int = 6) -> Any:
        events = self.machines.run("mini", machine, text, tokens)
        async with aclosing(events):
            return [event async for event in events]


def within(scene: Callable[[Shop], Coroutine[Any, Any, Any]], shop: Shop | None = None) -> Any:
    shop = shop or Shop()

    async def run() -> Any:
        await shop.local.engine.start()
        try:
            return await scene(shop)
        finally:
            await shop.machines.stop()
            await shop.local.engine.stop()

    return asyncio.run(run())


def ids(events: list[Piece | Ending]) -> list[int]:
    return [i for event in events if isinstance(event, Piece) for i in event.ids]


def test_the_tokens_are_the_same_and_each_machine_tells_its_own_times() -> None:
    async def scene(shop: Shop) -> dict[str, Any]:
        found = {name: await shop.run(name) for name in ("cpu", "wafer", "cpu")}
        assert shop.started == ["cpu", "wafer"], "an engine stays for the next question"
        return found

    found = within(scene)
    assert ids(found["cpu"]) == ids(found["wafer"])
    assert len(ids(found["cpu"])) == 6
    for events in found.values():
        *pieces, ending = events
        assert all(isinstance(piece, Piece) for piece in pieces)
        assert isinstance(ending, Ending)
        assert ending.tokens == 6
        assert "attention" in dict(ending.phases)
        spelled = b"".join(MODEL.tokenizer.token_bytes(i) for i in ids(events))
        assert "".join(text for piece in pieces for text in piece.texts) == spelled.decode()
    cpu, wafer = found["cpu"][-1], found["wafer"][-1]
    assert cpu.prompt_s > 0
    assert wafer.prompt_s is None, "what NumPy took says nothing of a wafer"
    assert wafer.token_s == pytest.approx(sum(seconds for _, seconds in wafer.phases))
    assert wafer.token_s < 1e-3


def test_what_is_not_here_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    host = replace(read_host(), gpus=())
    monkeypatch.setattr("headrace.gateway.machines.read_host", lambda: host)

    async def scene(shop: Shop) -> None:
        found = {machine.name: machine for machine in shop.machines.found_for("mini")}
        assert tuple(found) == MACHINES
        assert found["cpu"].is_here
        assert found["wafer"].is_simulated
        assert not found["cuda"].is_here
        assert "headrace[cuda]" in found["cuda"].says
        assert not found["endpoint"].is_here
        assert "[machines] endpoint" in found["endpoint"].says
        for name in ("cuda", "endpoint", "abacus"):
            with pytest.raises(InvalidRequest) as caught:
                await shop.run(name)
            assert caught.value.param == "machine"
        with pytest.raises(UnknownModel):
            shop.machines.found_for("gpt-99")

    within(scene)


def test_a_mesh_that_is_too_small_says_so() -> None:
    config = replace(CONFIG, machines=MachinesConfig(mesh="2x2"))

    async def scene(shop: Shop) -> None:
        (wafer,) = (m for m in shop.machines.found_for("mini") if m.name == "wafer")
        assert not wafer.is_here
        assert "machines.mesh" in wafer.says

    within(scene, Shop(config))


def test_one_answer_at_a_time_for_each_machine_and_a_reader_who_leaves_frees_it() -> None:
    async def scene(shop: Shop) -> None:
        events = shop.machines.run("mini", "cpu", "hello", 64)
        await anext(events)
        with pytest.raises(QueueFull):
            await shop.run("cpu")
        await shop.run("wafer", tokens=1)
        await events.aclose()
        assert ids(await shop.run("cpu"))

    within(scene)


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    async def scene(shop: Shop) -> None:
        with pytest.raises(ContextTooLong):
            await shop.run("cpu", "word " * 2_000)
        assert ids(await shop.run("cpu"))

    within(scene)


def test_an_engine_that_nobody_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(shop: Shop) -> None:
        monkeypatch.setattr("headrace.gateway.machines.IDLE_S", 0.0)
        await shop.run("cpu")
        while shop.machines._held:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0)
        monkeypatch.setattr("headrace.gateway.machines.IDLE_S", 60.0)
        await shop.run("cpu")
        assert shop.started == ["cpu", "cpu"]

    within(scene)
