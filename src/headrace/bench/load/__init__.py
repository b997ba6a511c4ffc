"""When tasks are sent: one after another, or at times fixed before anybody knows how it goes."""

from headrace.bench.load.address import Address
from headrace.bench.load.crew import Crew
from headrace.bench.load.lag import ClientLag, LagWatch
from headrace.bench.load.loader import Alone, Loaded, Loader, counted_by
from headrace.bench.load.orders import ClosedLoop, Numbered, OpenLoop, Order, Together
from headrace.bench.load.player import Budget, Endpoint, Player
from headrace.bench.load.schedule import closed_loop, open_loop, poisson_times

__all__ = [
    "Address",
    "Alone",
    "Budget",
    "ClientLag",
    "ClosedLoop",
    "Crew",
    "Endpoint",
    "LagWatch",
    "Loaded",
    "Loader",
    "Numbered",
    "OpenLoop",
    "Order",
    "Player",
    "Together",
    "closed_loop",
    "counted_by",
    "open_loop",
    "poisson_times",
]
