"""When tasks are sent: one after another, or at times fixed before anybody knows how it goes."""

from headrace.bench.load.lag import ClientLag, LagWatch
from headrace.bench.load.player import Budget, Endpoint, Player
from headrace.bench.load.schedule import closed_loop, open_loop, poisson_times

__all__ = [
    "Budget",
    "ClientLag",
    "Endpoint",
    "LagWatch",
    "Player",
    "closed_loop",
    "open_loop",
    "poisson_times",
]
