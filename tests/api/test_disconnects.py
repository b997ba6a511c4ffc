"""A thousand clients that leave: in the queue, while their prompt is read, in mid-answer."""

import asyncio
import random

import pytest

from headrace.api import App
from headrace.backends.null import NullBackend
from headrace.clock import ManualClock
from headrace.engine import Engine, EngineClient
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import bundled_model, open_model
from tests.api.exchange import Exchange, app_of, ask
from tests.stepped import stepped

MODEL = open_model(bundled_model())
CLIENTS = 1_000
AT_ONCE = 50  # on 8 places: most of them wait


class Service:
    """An application over one model on the null backend, all on one event loop."""

    def __init__(self) -> None:
        clock = ManualClock()
        self.engine = Engine(
            NullBackend(MODEL.program, num_blocks=26),
            clock,
            max_sequences=8,
            max_step_tokens=32,
            max_waiting=AT_ONCE,
        )
        self.client = EngineClient(stepped(self.engine, clock), clock, greeting=(1, 2, 3))
        self.provider = LocalProvider({MODEL.name: LocalModel(MODEL, self.client)})

    async def open(self) -> App:
        await self.provider.start()
        return app_of(self.provider)

    def assert_clean(self) -> None:
        """Nothing is left of anybody."""
        assert self.client.num_open == 0
        assert self.engine.is_idle
        self.engine.check_integrity()
        stats = self.engine.stats()
        assert (stats.running, stats.waiting) == (0, 0)
        assert stats.free_blocks == stats.total_blocks


async def visit(app: App, chance: random.Random) -> bool:
    """One client, who has had enough after so many turns of the loop; whether it was answered."""
    turns = int(chance.expovariate(1 / 60))
    said = "word " * chance.randrange(1, 150)
    body = ask(
        model=MODEL.name,
        messages=[{"role": "user", "content": said}],
        stream=chance.random() < 0.7,
        max_tokens=chance.randrange(1, 120),
        temperature=0,
    )
    exchange = Exchange(app, "POST", "/v1/chat/completions", body)
    running = asyncio.create_task(exchange.run())
    for _ in range(turns):
        if running.done():
            break
        await asyncio.sleep(0)
    exchange.hang_up()
    await running
    assert not exchange.messages or exchange.status == 200, exchange.body
    return b"[DONE]" in exchange.body or b'"finish_reason":"length"' in exchange.body


@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_disconnects_leave_nothing_behind(seed: int) -> None:
    print(f"seed {seed}")

    async def run() -> tuple[int, int]:
        service = Service()
        app = await service.open()
        before = len(asyncio.all_tasks())
        chance = random.Random(seed)
        places = asyncio.Semaphore(AT_ONCE)

        async def one(seed: int) -> bool:
            async with places:
                return await visit(app, random.Random(seed))

        seeds = [chance.getrandbits(32) for _ in range(CLIENTS)]
        answered = await asyncio.gather(*(one(each) for each in seeds))
        await service.client.probe()  # when it is answered, every cancellation has been heard
        service.assert_clean()
        assert len(asyncio.all_tasks()) == before
        preempted = service.engine.stats().preempted
        await service.provider.stop()
        return sum(answered), preempted

    answered, preempted = asyncio.run(run())
    assert 50 < answered < CLIENTS - 200, "some are answered, most leave"
    assert preempted > 0, "some left after they had been preempted"
