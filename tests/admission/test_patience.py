"""A bounded wait: first come, first served, and no longer than was said."""

import asyncio

import pytest

from headrace.admission import Ask, Limiter, Limits, Patience
from headrace.admission.limits import NO_LIMITS
from headrace.clock import ManualClock
from headrace.errors import RateLimited

TEN = Limits(tokens_per_minute=600)  # ten a second


class World:
    """A clock that moves when everybody sleeps."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.patience = Patience(Limiter(self.clock), self.clock, self.sleep)
        self.passed: list[tuple[str, float]] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.clock.now_s() + seconds, woken))
        await woken

    async def ask(
        self, name: str, tokens: int, patience_s: float, of_key: Limits = NO_LIMITS
    ) -> None:
        asked = Ask(
            organisation_id="org",
            key_id=name,
            model="m",
            of_organisation=TEN,
            of_key=of_key,
            prompt_tokens=tokens,
            output_tokens=0,
        )
        await self.patience.reserve(asked, patience_s)
        self.passed.append((name, round(self.clock.now_s(), 2)))

    async def until_done(self, *tasks: asyncio.Task[None]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(5):
                await asyncio.sleep(0)
            if self._sleepers:
                self._sleepers.sort(key=lambda each: each[0])
                at, woken = self._sleepers.pop(0)
                if not woken.done():  # its sleeper may have been cancelled
                    self.clock.advance(max(0.0, at - self.clock.now_s()))
                    woken.set_result(None)


def test_who_waits_passes_in_order_and_as_soon_as_it_fits() -> None:
    async def scene() -> World:
        world = World()
        await world.ask("first", 600, 0)
        waiting = [
            asyncio.create_task(world.ask(name, tokens, 60))
            for name, tokens in (("large", 100), ("small", 10), ("last", 50))
        ]
        await world.until_done(*waiting)
        return world

    world = asyncio.run(scene())
    assert [name for name, _ in world.passed] == ["first", "large", "small", "last"]
    assert [at for _, at in world.passed] == pytest.approx([0, 10, 11, 16], abs=0.05)


def test_nobody_waits_longer_than_said_and_is_told_at_once() -> None:
    async def scene() -> float:
        world = World()
        await world.ask("first", 600, 0)
        with pytest.raises(RateLimited) as caught:
            await world.ask("second", 100, 9.9)
        assert world.clock.now_s() == 0
        return caught.value.wait_s

    assert asyncio.run(scene()) == pytest.approx(10)


def test_who_does_not_wait_does_not_overtake() -> None:
    async def scene() -> None:
        world = World()
        await world.ask("first", 550, 0)
        waiting = asyncio.create_task(world.ask("large", 100, 60))
        await asyncio.sleep(0)
        with pytest.raises(RateLimited):  # 50 are left, and kept for who waits
            await world.ask("hasty", 10, 0)
        await world.until_done(waiting)
        assert [name for name, _ in world.passed] == ["first", "large"]

    asyncio.run(scene())


def test_who_gives_up_leaves_the_line() -> None:
    async def scene() -> World:
        world = World()
        await world.ask("first", 600, 0)
        gone = asyncio.create_task(world.ask("gone", 500, 60))
        behind = asyncio.create_task(world.ask("behind", 10, 60))
        await asyncio.sleep(0)
        gone.cancel()
        await world.until_done(gone, behind)
        return world

    assert [name for name, _ in asyncio.run(scene()).passed] == ["first", "behind"]


def test_a_key_at_its_own_limit_holds_nobody_up() -> None:
    async def scene() -> World:
        world = World()
        one = Limits(requests_per_minute=1)
        await world.ask("small", 10, 0, one)
        stuck = asyncio.create_task(world.ask("small", 10, 60, one))
        await asyncio.sleep(0)
        await world.ask("other", 10, 0)
        behind = [asyncio.create_task(world.ask(f"b{i}", 400, 60)) for i in range(2)]
        await world.until_done(stuck, *behind)
        return world

    passed = asyncio.run(scene()).passed
    assert [name for name, _ in passed] == ["small", "other", "b0", "b1", "small"]
    assert [at for _, at in passed] == pytest.approx([0, 0, 0, 22, 60], abs=0.05)


def test_nobody_holds_a_place_for_longer_than_a_minute() -> None:
    async def scene() -> None:
        world = World()
        hourly = Limits(requests_per_hour=1)
        await world.ask("k", 1, 0, hourly)
        with pytest.raises(RateLimited):
            await world.ask("k", 1, 999_999_999, hourly)

    asyncio.run(scene())
