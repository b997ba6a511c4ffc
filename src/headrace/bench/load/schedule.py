"""Open and closed loops.

Closed: so many tasks at a time, the next one when one is over; a slow endpoint is asked less, so
its results say nothing about waiting. Open: times are drawn beforehand and kept, however slow the
answers are; time counts from the intended moment (no coordinated omission).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from headrace.bench.load.player import Endpoint, Player
from headrace.bench.metrics import Attempt
from headrace.bench.scenarios import Task


def poisson_times(rate: float, duration_s: float, seed: int) -> list[float]:
    """Seconds from 0 to `duration_s` at which requests leave, `rate` a second on average."""
    rng = np.random.default_rng(seed)
    times: list[float] = []
    at_s = rng.exponential(1 / rate)
    while at_s < duration_s:
        times.append(float(at_s))
        at_s += rng.exponential(1 / rate)
    return times


async def closed_loop(
    player: Player,
    endpoint: Endpoint,
    tasks: Iterator[Task],
    *,
    concurrency: int,
    until_s: float,
) -> list[Attempt]:
    """Keep `concurrency` tasks running until `until_s`; those under way then are finished."""
    done: list[Attempt] = []

    async def follow() -> None:
        while player.clock.now_s() < until_s:
            attempt = await player.play(endpoint, next(tasks), stage="capacity")
            if attempt is None:
                return
            done.append(attempt)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(follow())
    return done


async def open_loop(
    player: Player,
    endpoint: Endpoint,
    due: Sequence[tuple[float, int]],
    make: Callable[[int], Task],
    *,
    stage: str,
) -> list[Attempt]:
    """Send task `make(number)` at its time, for each (time, number) of `due`; wait for all."""

    async def send(number: int, at_s: float) -> Attempt | None:
        return await player.play(endpoint, make(number), intended_s=at_s, stage=stage)

    sent: list[asyncio.Task[Attempt | None]] = []
    for at_s, number in due:
        wait_s = at_s - player.clock.now_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        sent.append(asyncio.create_task(send(number, at_s)))
    found = await asyncio.gather(*sent)
    return [attempt for attempt in found if attempt is not None]
