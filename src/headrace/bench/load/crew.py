"""Several processes that share one schedule. Raw measurements come back and are merged: there are
no averages of averages. Each process watches its own lag."""

import asyncio
import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import uvloop

from headrace.bench.load.address import Address
from headrace.bench.load.lag import ClientLag, LagWatch
from headrace.bench.load.loader import Loaded, counted_by
from headrace.bench.load.orders import Order
from headrace.bench.load.player import Budget, Player
from headrace.bench.metrics import Attempt
from headrace.clock import SystemClock
from headrace.errors import EngineError

_HEAD_START_S = 0.1  # from an order to its beginning: it has to reach everybody
_START_S = 60.0  # for a process to be there


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    order: Order
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    attempts: list[Attempt]
    spent: Budget
    record: list[bytes]
    lag: ClientLag


class Crew:
    """`count` processes; a context, which starts and ends them."""

    def __init__(self, player: Player, addresses: Sequence[Address], count: int) -> None:
        """`player` keeps the budget and the record of all; its clock is the machine's."""
        self._player = player
        self._addresses = addresses
        self._count = count
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []

    async def __aenter__(self) -> "Crew":
        spawn = multiprocessing.get_context("spawn")
        keeps = self._player.record is not None
        for _ in range(self._count):
            here, there = spawn.Pipe()
            told = (there, list(self._addresses), self._player.seed, keeps)
            process = spawn.Process(target=_serve, args=told, daemon=True)
            process.start()
            there.close()  # else its death would not be seen here
            self._pipes.append(here)
            self._processes.append(process)
        for pipe in self._pipes:
            if not await asyncio.to_thread(pipe.poll, _START_S):
                raise EngineError("a client process did not start")
            await _received(pipe)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()  # which ends them
        for process in self._processes:
            await asyncio.to_thread(process.join, 5.0)
            if process.is_alive():
                process.kill()

    async def load(self, order: Order) -> Loaded:
        """Deal the order out and merge what comes of it. Raises EngineError for a dead process."""
        player = self._player
        begun = order.begun_at(player.clock.now_s() + _HEAD_START_S)
        pipes = dict(zip(self._pipes, begun.split(self._count), strict=False))
        budget = player.budget.share(len(pipes))
        for pipe, part in pipes.items():
            pipe.send(_Asked(order=part, budget=budget))
        done = await asyncio.gather(*(_received(pipe) for pipe in pipes))
        for one in done:
            player.budget.add_spent(one.spent)
            if player.record is not None:
                player.record += one.record
        attempts = sorted((a for one in done for a in one.attempts), key=lambda a: a.start_s)
        for attempt in attempts:
            player.on_attempt(attempt)
        lags = {f"process {number}": one.lag for number, one in enumerate(done, 1)}
        return Loaded(attempts=attempts, lags=lags)


async def _received(pipe: Connection) -> Any:
    try:
        return await asyncio.to_thread(pipe.recv)
    except (EOFError, OSError) as exc:
        raise EngineError("a client process ended in the middle of its work") from exc


def _serve(pipe: Connection, addresses: list[Address], seed: int, keeps_record: bool) -> None:
    """A process's life: orders until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    uvloop.run(_follow(pipe, addresses, seed, keeps_record))


async def _follow(
    pipe: Connection, addresses: list[Address], seed: int, keeps_record: bool
) -> None:
    clock = SystemClock()
    endpoints = [address.open(clock) for address in addresses]
    pipe.send("ready")
    while True:
        try:
            asked: _Asked = await asyncio.to_thread(pipe.recv)
        except (EOFError, OSError):
            break
        record: list[bytes] | None = [] if keeps_record else None
        player = Player(clock=clock, seed=seed, budget=asked.budget, record=record)
        async with LagWatch(clock, time.process_time) as watch:
            attempts = await asked.order.play(player, endpoints)
        lag = watch.lag(attempts)
        attempts = counted_by(endpoints, attempts)
        pipe.send(_Done(attempts=attempts, spent=asked.budget, record=record or [], lag=lag))
    for endpoint in endpoints:
        await endpoint.transport.close()
