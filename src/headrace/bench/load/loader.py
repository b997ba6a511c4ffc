"""Who sends the load: this process, or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.bench.load.lag import ClientLag, LagWatch
from headrace.bench.load.orders import Order
from headrace.bench.load.player import Endpoint, Player
from headrace.bench.metrics import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of an order."""

    attempts: list[Attempt]
    lags: Mapping[str, ClientLag]  # by process


class Loader(Protocol):
    """Sends what an order says."""

    async def load(self, order: Order) -> Loaded:
        """Send it, from now on, and wait for all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """This process sends all."""

    player: Player
    endpoints: Sequence[Endpoint]
    cpu_s: Callable[[], float]

    async def load(self, order: Order) -> Loaded:
        """Play it here."""
        clock = self.player.clock
        async with LagWatch(clock, self.cpu_s) as watch:
            begun = order.begun_at(clock.now_s())
            attempts = await begun.play(self.player, self.endpoints)
        lags = {"": watch.lag(attempts)}
        return Loaded(attempts=counted_by(self.endpoints, attempts), lags=lags)


def counted_by(endpoints: Sequence[Endpoint], attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts with their tokens counted, each as its endpoint has it."""
    by_name = {endpoint.name: endpoint for endpoint in endpoints}
    return [by_name[attempt.endpoint].counted(attempt) for attempt in attempts]
