"""The event model of time: every core follows its instructions, every word crosses every link.

It knows constants of the machine and no closed form. Times are whole cycles, so the fitted
constants are rounded. An instruction that receives is set up in a hardware context before its words
come: `relay_cycles` less both ramps after the first of them, it works, a word a cycle, which is one
read and one write of SRAM. A core begins an instruction when the one before has ended.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.errors import DeadlockError
from headrace.wafer.cycles import Pace
from headrace.wafer.fabric import Colour, Core, Fabric, Routes
from headrace.wafer.machine import Machine

_STUCK = 3  # cycles in which nothing moves, nothing is on its way and nobody computes


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Vector instructions on operands in SRAM."""

    count: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """`words` received (and added), sent, or both: each as soon as it came."""

    words: int
    source: Colour | None = None
    target: Colour | None = None


Instruction = Compute | Stream
Programs = Mapping[Core, Sequence[Instruction]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a simulation found."""

    cycles: int  # until the last core has ended
    ended: dict[Core, int]  # when each has
    word_hops: int  # words times links passed
    busiest_link_words: int


def simulate(machine: Machine, columns: int, rows: int, programs: Programs, routes: Routes) -> Run:
    """Run `programs` on `columns` x `rows` cores with the constants of `machine`.

    Raises OutOfColours, PlacementError for routes that cannot be, and DeadlockError naming the
    cores that wait for words nobody sends.
    """
    fabric = Fabric(machine, columns, rows, routes)
    pace = Pace.of(machine)
    cores = {
        core: _Running(core, instructions, fabric, machine, pace)
        for core, instructions in programs.items()
    }
    due: defaultdict[int, set[Core]] = defaultdict(set)
    due[0] = set(cores)
    now: int | None = 0
    stuck = 0
    while now is not None and stuck < _STUCK:
        before = fabric.progress
        awake = due.pop(now, set[Core]())
        awake.update(core for core in fabric.arrive(now) if core in cores)
        for core in sorted(awake):
            again = cores[core].act(now)
            if again is not None:
                due[again].add(core)
        fabric.move(now)
        is_still = (
            fabric.progress == before and not fabric.is_under_way and max(due, default=0) <= now + 1
        )
        stuck = stuck + 1 if is_still else 0
        coming = [cycle for cycle in (fabric.next_cycle(now), *due) if cycle is not None]
        now = min(coming, default=None)
    waiting = [core for core, running in cores.items() if running.ended is None]
    if waiting:
        raise DeadlockError(
            f"{len(waiting)} cores wait for words or room in vain; the first is core {waiting[0]}"
        )
    ended = {core: running.ended or 0 for core, running in cores.items()}
    return Run(
        cycles=max(ended.values(), default=0),
        ended=ended,
        word_hops=fabric.word_hops,
        busiest_link_words=fabric.busiest,
    )


class _Running:
    """One core: where it is in its instructions."""

    def __init__(
        self,
        core: Core,
        instructions: Sequence[Instruction],
        fabric: Fabric,
        machine: Machine,
        pace: Pace,
    ) -> None:
        self._core = core
        self._instructions = instructions
        self._fabric = fabric
        self._software = max(1, round(pace.relay_cycles) - 2 * machine.ramp_cycles.value)
        self._issue = round(pace.issue_cycles)
        self._lanes = pace.lanes
        self._at = 0
        self._free_from = 0  # the instruction now at hand cannot begin before
        self._done_words = 0  # of the stream at hand
        self._ready: int | None = None  # when its first word may be worked on
        self.ended: int | None = None

    def act(self, now: int) -> int | None:
        """What can be done at `now`; the cycle to ask again, or None: when a word comes."""
        while self._free_from <= now:
            if self._at == len(self._instructions):
                if self.ended is None:
                    self.ended = self._free_from
                return None
            match self._instructions[self._at]:
                case Compute(count=count, length=length):
                    each = self._issue + -(-length // self._lanes)
                    self._next(self._free_from + count * each)
                case Stream() as stream:
                    return self._stream(stream, now)
        return self._free_from

    def _stream(self, stream: Stream, now: int) -> int | None:
        if stream.source is not None:
            came = self._fabric.inbox[self._core, stream.source]
            if not came:
                return None
            if self._ready is None:
                self._ready = came[0] + self._software
            if now < self._ready:
                return self._ready
        if stream.target is not None and not self._fabric.has_room(self._core, stream.target):
            return now + 1
        if stream.source is not None:
            self._fabric.take(self._core, stream.source)
        if stream.target is not None:
            self._fabric.put(self._core, stream.target, now)
        self._done_words += 1
        if self._done_words == stream.words:
            self._next(now + 1)
        return now + 1

    def _next(self, free_from: int) -> None:
        self._at += 1
        self._done_words = 0
        self._ready = None
        self._free_from = free_from
