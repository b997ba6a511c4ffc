"""What is to be sent under load, said so that several processes can share it.

An order is split by dealing out: process k of n gets each n-th task. Times are those of the
machine's monotonic clock, which its processes have in common, so that a schedule stays one.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from headrace.bench.load.player import Endpoint, Player
from headrace.bench.load.schedule import closed_loop, open_loop
from headrace.bench.metrics import Attempt
from headrace.bench.scenarios import PLAIN, Extensions, Task


class Order(Protocol):
    """Tasks for one endpoint."""

    async def play(self, player: Player, endpoints: Sequence[Endpoint]) -> list[Attempt]:
        """Do it."""
        ...

    def split(self, count: int) -> "list[Order]":
        """The same work for `count` processes."""
        ...

    def begun_at(self, now_s: float) -> "Order":
        """The same work, to begin at `now_s`."""
        ...


@dataclass(frozen=True, slots=True)
class Numbered:
    """Tasks of a scenario by their number alone."""

    make: Callable[[int, int, int], Task]
    seed: int
    words: int

    def __call__(self, number: int) -> Task:
        """The task."""
        return self.make(self.seed, number, self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Task `make(number)` at each (seconds after the beginning, number)."""

    endpoint: int  # its place among the endpoints
    make: Callable[[int], Task]
    due: Sequence[tuple[float, int]]
    stage: str
    extensions: Extensions = PLAIN  # that the endpoint takes; a process opens its own, and asks not
    begin_s: float = 0.0

    async def play(self, player: Player, endpoints: Sequence[Endpoint]) -> list[Attempt]:
        """Send each at its time."""
        due = [(self.begin_s + at_s, number) for at_s, number in self.due]
        endpoint = replace(endpoints[self.endpoint], extensions=self.extensions)
        return await open_loop(player, endpoint, due, self.make, stage=self.stage)

    def split(self, count: int) -> list[Order]:
        """Each `count`-th send."""
        return [replace(self, due=self.due[k::count]) for k in range(count)]

    def begun_at(self, now_s: float) -> Order:
        """The same times, from `now_s` on."""
        return replace(self, begin_s=now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """`concurrency` at a time of tasks `first`, `first + step`, ..., for `duration_s`."""

    endpoint: int
    make: Callable[[int], Task]
    first: int
    concurrency: int
    duration_s: float
    step: int = 1
    extensions: Extensions = PLAIN
    begin_s: float = 0.0

    async def play(self, player: Player, endpoints: Sequence[Endpoint]) -> list[Attempt]:
        """Keep them running."""
        return await closed_loop(
            player,
            replace(endpoints[self.endpoint], extensions=self.extensions),
            map(self.make, itertools.count(self.first, self.step)),
            concurrency=self.concurrency,
            until_s=self.begin_s + self.duration_s,
        )

    def split(self, count: int) -> list[Order]:
        """Each has its share of what runs at a time; no more processes than that."""
        count = min(count, self.concurrency)
        whole, rest = divmod(self.concurrency, count)
        return [
            replace(self, first=self.first + k, step=count, concurrency=whole + (k < rest))
            for k in range(count)
        ]

    def begun_at(self, now_s: float) -> Order:
        """As long, from `now_s` on."""
        return replace(self, begin_s=now_s)


@dataclass(frozen=True, slots=True)
class Together:
    """Several orders at the same time."""

    orders: tuple[Order, ...]

    async def play(self, player: Player, endpoints: Sequence[Endpoint]) -> list[Attempt]:
        """All of them, side by side."""
        found = await asyncio.gather(*(order.play(player, endpoints) for order in self.orders))
        return [attempt for attempts in found for attempt in attempts]

    def split(self, count: int) -> list[Order]:
        """A share of each for everybody."""
        shares = zip(*(order.split(count) for order in self.orders), strict=False)
        return [Together(share) for share in shares]

    def begun_at(self, now_s: float) -> Order:
        """All from `now_s` on."""
        return Together(tuple(order.begun_at(now_s) for order in self.orders))
