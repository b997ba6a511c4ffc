"""The fabric of a mesh, word by word: routers, links, colours, ramps, queues.

A word travels on a colour, for which each router has one static route: from one input to any set of
outputs. A link carries a word a cycle and direction, whatever its colour; a word leaves when every
output it needs is free and has room behind it; colours that want the same link take turns. Nothing
is dropped: a full queue holds back the one before it, at last the core that sends.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from headrace.errors import OutOfColours, PlacementError
from headrace.wafer.machine import Machine


class Port(IntEnum):
    """Where words enter and leave a router."""

    WEST = 0
    EAST = 1
    NORTH = 2
    SOUTH = 3
    RAMP = 4


@dataclass(frozen=True, slots=True)
class Route:
    """What a router does with one colour."""

    source: Port
    targets: tuple[Port, ...]


Core = int  # y * columns + x
Colour = int
Routes = Mapping[tuple[Core, Colour], Route]
_Queue = tuple[Core, Colour]  # a colour enters a router from one side only: one queue

_OPPOSITE = {
    Port.WEST: Port.EAST,
    Port.EAST: Port.WEST,
    Port.NORTH: Port.SOUTH,
    Port.SOUTH: Port.NORTH,
}


class Fabric:
    """All routers of `columns` x `rows` cores, and the words under way, cycle by cycle."""

    def __init__(self, machine: Machine, columns: int, rows: int, routes: Routes) -> None:
        """Raises OutOfColours for a router with too many, PlacementError for a route to nowhere."""
        self._ramp = machine.ramp_cycles.value
        self._hop = machine.hop_cycles.value
        self._room = machine.queue_words.value
        self._columns, self._rows = columns, rows
        _check_colours(machine, routes)
        # Where a word goes from a queue: (link, next queue or None for the core's own).
        self._ways = {
            queue: tuple(self._way(queue, port, routes) for port in route.targets)
            for queue, route in routes.items()
        }
        self._routes = routes
        self._words: defaultdict[_Queue, int] = defaultdict(int)  # that may leave now
        self._taken: defaultdict[_Queue, int] = defaultdict(int)  # places, with those on the way
        self._active: dict[Core, list[Colour]] = {}  # routers with words, and their colours
        self._served: dict[_Queue, int] = {}  # when a queue last sent
        self._entering: defaultdict[int, list[_Queue]] = defaultdict(list)  # by cycle
        self._arriving: defaultdict[int, list[_Queue]] = defaultdict(list)
        self.inbox: defaultdict[_Queue, deque[int]] = defaultdict(deque[int])  # when words came
        self._promised: defaultdict[_Queue, int] = defaultdict(int)  # places at a core, as `_taken`
        self.progress = 0  # grows with everything that happens
        self.word_hops = 0  # words times links between routers
        self.busiest = 0  # words that the link with most of them has carried
        self._carried: defaultdict[tuple[Core, Port], int] = defaultdict(int)

    def has_room(self, core: Core, colour: Colour) -> bool:
        """Whether a core may put a word on its ramp."""
        return self._taken[core, colour] < self._room

    def put(self, core: Core, colour: Colour, now: int) -> None:
        """A word on the ramp, at cycle `now`: in the router's queue `ramp` cycles later."""
        self._taken[core, colour] += 1
        self._entering[now + self._ramp].append((core, colour))
        self.progress += 1

    def take(self, core: Core, colour: Colour) -> None:
        """The core consumes a word that arrived."""
        self.inbox[core, colour].popleft()
        self._promised[core, colour] -= 1
        self.progress += 1

    def arrive(self, now: int) -> list[Core]:
        """Words whose time on a ramp or link is over; the cores that got any."""
        for queue in self._entering.pop(now, ()):
            self._enter(queue)
        woken: list[Core] = []
        for queue in self._arriving.pop(now, ()):
            self.inbox[queue].append(now)
            woken.append(queue[0])
        return woken

    def move(self, now: int) -> None:
        """One cycle of every router: what has room ahead, seen as the cycle begins, leaves."""
        left: list[_Queue] = []
        sent: list[tuple[_Queue, bool]] = []  # next queue, whether it is a core's
        for core, colours in self._active.items():
            used: set[Port] = set()
            for colour in sorted(colours, key=lambda c: (self._served.get((core, c), -1), c)):
                ways = self._ways[core, colour]
                if all(
                    link not in used and self._has_place(after, is_core)
                    for link, after, is_core in ways
                ):
                    for link, after, is_core in ways:
                        used.add(link)
                        sent.append((after, is_core))
                        self._count(core, link, is_core)
                    self._served[core, colour] = now
                    left.append((core, colour))
        self.progress += len(left)
        for queue in left:
            self._leave(queue)
        for queue, is_core in sent:
            if is_core:
                self._promised[queue] += 1
                self._arriving[now + self._ramp].append(queue)
            else:
                self._taken[queue] += 1
                self._entering[now + self._hop].append(queue)

    @property
    def is_under_way(self) -> bool:
        """Whether a word is on a ramp or a link."""
        return bool(self._entering or self._arriving)

    def next_cycle(self, now: int) -> int | None:
        """The next cycle in which something may happen here; None: nothing is under way."""
        if self._active:
            return now + 1
        return min((min(d) for d in (self._entering, self._arriving) if d), default=None)

    def _has_place(self, queue: _Queue, is_core: bool) -> bool:
        return (self._promised if is_core else self._taken)[queue] < self._room

    def _count(self, core: Core, link: Port, is_core: bool) -> None:
        if not is_core:
            self.word_hops += 1
            self._carried[core, link] += 1
            self.busiest = max(self.busiest, self._carried[core, link])

    def _enter(self, queue: _Queue) -> None:
        self._words[queue] += 1
        if self._words[queue] == 1:
            self._active.setdefault(queue[0], []).append(queue[1])

    def _leave(self, queue: _Queue) -> None:
        self._words[queue] -= 1
        self._taken[queue] -= 1
        if not self._words[queue]:
            colours = self._active[queue[0]]
            colours.remove(queue[1])
            if not colours:
                del self._active[queue[0]]

    def _way(self, queue: _Queue, port: Port, routes: Routes) -> tuple[Port, _Queue, bool]:
        core, colour = queue
        if port is Port.RAMP:
            return port, queue, True
        y, x = divmod(core, self._columns)
        x += (port is Port.EAST) - (port is Port.WEST)
        y += (port is Port.SOUTH) - (port is Port.NORTH)
        after = (y * self._columns + x, colour)
        route = routes.get(after)
        if not (0 <= x < self._columns and 0 <= y < self._rows) or route is None:
            raise PlacementError(f"colour {colour} leaves core {core} by {port.name}: to nowhere")
        if route.source is not _OPPOSITE[port]:
            raise PlacementError(
                f"colour {colour} enters core {after[0]} from {_OPPOSITE[port].name}, and its "
                f"route begins at {route.source.name}"
            )
        return port, after, False


def _check_colours(machine: Machine, routes: Iterable[tuple[Core, Colour]]) -> None:
    used: defaultdict[Core, int] = defaultdict(int)
    for core, _ in routes:
        used[core] += 1
    fullest = max(used, key=lambda core: used[core], default=0)
    if used[fullest] > machine.usable_colours:
        raise OutOfColours(
            f"core {fullest} needs {used[fullest]} colours; {machine.usable_colours} of "
            f"{machine.colours.value} are free"
        )
