"""Programs of cores and routes of colours for what `work` describes: what the event model runs.

Colours of an axis: chains towards the middle take two a direction, of even and odd senders, within
groups and once more between them; one carries results outwards, one what comes from outside.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace.errors import PlacementError
from headrace.wafer.collectives import default_groups
from headrace.wafer.events import Compute, Instruction, Run, Stream, simulate
from headrace.wafer.fabric import Colour, Core, Port, Route
from headrace.wafer.machine import Machine
from headrace.wafer.placement import AXIS_COLOURS
from headrace.wafer.rectangle import dealt
from headrace.wafer.shapes import Axis
from headrace.wafer.work import Multicast, Passage, Reduction, Vectors, Work, words_of

# Of an axis; the second of a pair is for odd senders.
_WITHIN_UP, _WITHIN_DOWN, _BETWEEN_UP, _BETWEEN_DOWN = 0, 2, 4, 6
_RESULT, _ENTRY = 8, 9
assert _ENTRY < AXIS_COLOURS, "what is used is what a placement counts"


@dataclass(frozen=True, slots=True)
class Line:
    """Cores in a row along one axis, lowest first, and the colours they use."""

    cores: tuple[Core, ...]
    axis: Axis
    groups: int

    def colour(self, first: int, sender: int = 0) -> Colour:
        """One of the axis' colours, by the sender's parity."""
        return (AXIS_COLOURS if self.axis == "y" else 0) + first + sender % 2

    @property
    def up(self) -> Port:
        """Towards the end of the line."""
        return Port.EAST if self.axis == "x" else Port.SOUTH

    @property
    def down(self) -> Port:
        """Towards its beginning."""
        return Port.WEST if self.axis == "x" else Port.NORTH

    def parts(self) -> list[range]:
        """The groups, as places in the line."""
        return [part for part in dealt(len(self.cores), self.groups) if part]


def lines(
    columns: int, rows: int, axis: Axis, groups: Callable[[int], int] = default_groups
) -> list[Line]:
    """All lines of a mesh along `axis`."""
    if axis == "x":
        return [
            Line(tuple(y * columns + x for x in range(columns)), "x", groups(columns))
            for y in range(rows)
        ]
    return [
        Line(tuple(y * columns + x for y in range(rows)), "y", groups(rows)) for x in range(columns)
    ]


class Kernels:
    """Instructions and routes of works that follow each other on a mesh."""

    def __init__(
        self, columns: int, rows: int, groups: Callable[[int], int] = default_groups
    ) -> None:
        axes: tuple[Axis, Axis] = ("x", "y")
        self._lines = {axis: lines(columns, rows, axis, groups) for axis in axes}
        self.programs: dict[Core, list[Instruction]] = {core: [] for core in range(columns * rows)}
        self.routes: dict[tuple[Core, Colour], Route] = {}

    def add(self, works: Iterable[Work]) -> None:
        """Append works to every core's program. Raises PlacementError for a passage: it has two."""
        for work in works:
            match work:
                case Vectors():
                    for program in self.programs.values():
                        program.append(Compute(count=work.count, length=work.length))
                case Reduction():
                    for line in self._lines[work.axis]:
                        self._run(reduction(line, words_of(work.elements)), reduction_routes(line))
                case Multicast():
                    for line in self._lines[work.axis]:
                        colour = line.colour(_ENTRY)
                        streams = multicast(line, 0, colour, words_of(work.elements))
                        self._run(streams, multicast_routes(line, 0, colour))
                case Passage():
                    raise PlacementError(f"'{work.name}' leaves the region whose cores these are")

    def _run(
        self,
        instructions: Iterable[tuple[Core, Instruction]],
        routes: Iterable[tuple[tuple[Core, Colour], Route]],
    ) -> None:
        self.routes.update(routes)
        for core, instruction in instructions:
            self.programs[core].append(instruction)


def simulated(
    machine: Machine,
    columns: int,
    rows: int,
    works: Iterable[Work],
    groups: Callable[[int], int] = default_groups,
) -> Run:
    """Works that follow each other on `columns` x `rows` cores of `machine`, event by event."""
    kernels = Kernels(columns, rows, groups)
    kernels.add(works)
    return simulate(machine, columns, rows, kernels.programs, kernels.routes)


def reduction(line: Line, words: int) -> Iterator[tuple[Core, Stream]]:
    """The two-level tree and its multicast, core by core; nothing on a line of one core.

    The root has the whole sum before it sends any of it: were it passed on as it comes, cores that
    still send their own part would hold back the result, and so the chain they feed, as soon as a
    message is longer than the queues.
    """
    if len(line.cores) == 1:
        return
    parts = line.parts()
    roots = [part[len(part) // 2] for part in parts]
    middle = len(parts) // 2
    between = _Chain(len(parts), middle, _BETWEEN_UP, _BETWEEN_DOWN)
    for number, (part, root) in enumerate(zip(parts, roots, strict=True)):
        within = _Chain(len(part), root - part.start, _WITHIN_UP, _WITHIN_DOWN)
        for member, place in enumerate(part):
            sources = list(within.sources(line, member))
            target = within.target(line, member)
            if target is None:
                sources += between.sources(line, number)
                target = between.target(line, number)
            for stream in _relayed(sources, target, words):
                yield line.cores[place], stream
    yield from multicast(line, roots[middle], line.colour(_RESULT), words)


def multicast(line: Line, root: int, colour: Colour, words: int) -> Iterator[tuple[Core, Stream]]:
    """What one place of the line sends, all others receive; nothing on a line of one core."""
    if len(line.cores) == 1:
        return
    for place, core in enumerate(line.cores):
        if place == root:
            yield core, Stream(words=words, target=colour)
        else:
            yield core, Stream(words=words, source=colour)


def reduction_routes(line: Line) -> Iterator[tuple[tuple[Core, Colour], Route]]:
    """The chains' colours, and the one of the result."""
    if len(line.cores) == 1:
        return
    parts = line.parts()
    roots = [part[len(part) // 2] for part in parts]
    for part, root in zip(parts, roots, strict=True):
        within = _Chain(len(part), root - part.start, _WITHIN_UP, _WITHIN_DOWN)
        yield from within.routes(line, part)
    middle = len(parts) // 2
    between = _Chain(len(parts), middle, _BETWEEN_UP, _BETWEEN_DOWN)
    yield from between.routes(line, roots)
    yield from multicast_routes(line, roots[middle], line.colour(_RESULT))


def multicast_routes(
    line: Line, root: int, colour: Colour
) -> Iterator[tuple[tuple[Core, Colour], Route]]:
    """From the core at `root` both ways, to every core on the way."""
    last = len(line.cores) - 1
    for place, core in enumerate(line.cores):
        onward = [line.down] if 0 < place <= root else []
        onward += [line.up] if root <= place < last else []
        if place == root:
            source = Port.RAMP
        else:
            source = line.down if place > root else line.up
            onward.append(Port.RAMP)
        if onward:
            yield (core, colour), Route(source, tuple(onward))


@dataclass(frozen=True, slots=True)
class _Chain:
    """Members numbered along a line, who send to the next one towards `middle`."""

    members: int
    middle: int
    up: int  # colours of those before the middle
    down: int  # and of those behind it

    def target(self, line: Line, member: int) -> Colour | None:
        """What a member sends on; None for the middle one."""
        if member == self.middle:
            return None
        return line.colour(self.up if member < self.middle else self.down, member)

    def sources(self, line: Line, member: int) -> Iterator[Colour]:
        """What a member receives: from below, then from above."""
        if 0 < member <= self.middle:
            yield line.colour(self.up, member - 1)
        if self.middle <= member < self.members - 1:
            yield line.colour(self.down, member + 1)

    def routes(
        self, line: Line, places: Sequence[int]
    ) -> Iterator[tuple[tuple[Core, Colour], Route]]:
        """From each place to the next, through the routers between them."""
        for member, place in enumerate(places):
            colour = self.target(line, member)
            if colour is None:
                continue
            step = 1 if member < self.middle else -1
            onward, back = (line.up, line.down) if step > 0 else (line.down, line.up)
            receiver = places[member + step]
            yield (line.cores[place], colour), Route(Port.RAMP, (onward,))
            for passed in range(place + step, receiver, step):
                yield (line.cores[passed], colour), Route(back, (onward,))
            yield (line.cores[receiver], colour), Route(back, (Port.RAMP,))


def _relayed(sources: Sequence[Colour], target: Colour | None, words: int) -> tuple[Stream, ...]:
    """Sources one after the other, added; the last is passed on as it comes."""
    if not sources:
        return (Stream(words=words, target=target),)
    last = Stream(words=words, source=sources[-1], target=target)
    return (*(Stream(words=words, source=source) for source in sources[:-1]), last)
