"""How many cycles cores take: closed forms of collectives and products, split by what causes them.

A vector instruction costs what it takes to issue it, then an element a lane and cycle. A collective
is a chain of relays, each of which receives, adds and forwards, then a multicast; it pays for its
relays, for the routers passed, and for the words that follow each other through one ramp. Nothing
here knows of events: `events` moves every word, and has to come to the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

from headrace.wafer.collectives import default_groups
from headrace.wafer.machine import Machine
from headrace.wafer.rectangle import dealt
from headrace.wafer.work import (
    ELEMENT_BYTES,
    Multicast,
    Passage,
    Reduction,
    Vectors,
    Work,
    words_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Cycles by cause; fractions stay, so that a model can be fitted."""

    hops: float = 0.0  # routers passed
    relays: float = 0.0  # dependent receive-add-forward steps
    issue: float = 0.0  # of vector instructions
    arithmetic: float = 0.0  # elements over lanes
    words: float = 0.0  # that follow each other through one ramp

    @property
    def total(self) -> float:
        """Of all causes: they follow each other."""
        return self.hops + self.relays + self.issue + self.arithmetic + self.words

    def __add__(self, other: "Cycles") -> "Cycles":
        return Cycles(
            hops=self.hops + other.hops,
            relays=self.relays + other.relays,
            issue=self.issue + other.issue,
            arithmetic=self.arithmetic + other.arithmetic,
            words=self.words + other.words,
        )

    def __mul__(self, times: float) -> "Cycles":
        return Cycles(**{f.name: getattr(self, f.name) * times for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the constants of a machine cost, fitted or its own."""

    relay_cycles: float  # BETA: both ramps, and the software between them
    issue_cycles: float  # O
    lanes: int  # elements of a vector instruction a cycle

    @classmethod
    def of(cls, machine: Machine) -> "Pace":
        """The machine's own constants."""
        return cls(
            relay_cycles=machine.relay_cycles.value,
            issue_cycles=machine.vector_issue_cycles.value,
            lanes=lanes(machine),
        )


def lanes(machine: Machine) -> int:
    """Multiply-adds of 16-bit numbers a cycle, of operands in SRAM: what width and ports allow.

    y += a x reads a number of x and of y, and writes one of y, for each element.
    """
    read = machine.read_ports.value * machine.port_bytes.value // (2 * ELEMENT_BYTES)
    written = machine.write_ports.value * machine.port_bytes.value // ELEMENT_BYTES
    return max(1, min(machine.simd_width.value, read, written))


def time_of(
    works: Iterable[Work],
    *,
    columns: int,
    rows: int,
    pace: Pace,
    groups: Callable[[int], int] = default_groups,
) -> Cycles:
    """Works that follow each other on `columns` x `rows` cores; `groups`: of a line, by length."""
    spent = Cycles()
    for work in works:
        match work:
            case Vectors():
                spent += vectors(work.count, work.length, pace)
            case Reduction():
                side = columns if work.axis == "x" else rows
                spent += all_reduce(side, groups(side), work.elements, pace)
            case Multicast():
                spent += multicast(columns if work.axis == "x" else rows, work.elements, pace)
            case Passage():
                spent += Cycles(
                    hops=float(work.hops), relays=pace.relay_cycles, words=float(work.words)
                )
    return spent


def vectors(count: int, length: int, pace: Pace) -> Cycles:
    """`count` vector instructions of `length` elements, one after the other."""
    each = -(-length // pace.lanes)
    return Cycles(issue=count * pace.issue_cycles, arithmetic=float(count * each))


def all_reduce(cores: int, groups: int, elements: int, pace: Pace) -> Cycles:
    """`elements` 16-bit numbers of each core, added over a line of `cores` and known to all.

    Two levels of chains towards the middle, of `groups` groups, then a multicast. Along the longest
    path, with g = P/G cores in a group, both whole and odd,

        T = P - 1 + BETA ((g-1)/2 + (G-1)/2 + 1) + 4 W + max(0, W - BETA - g),   W = ceil(n/2)

    (reference: the K = 2 case of WaferLLM's K-tree, P + BETA (g/2 + G/2 + 1) + 3 W). Where two
    chains meet, the second waits for the words of the first: W within a group, 2 W at the root, and
    the multicast takes W. The maximum is for messages longer than a relay, whose group's own sum is
    not complete when its neighbour's begins to arrive.
    """
    if cores == 1:
        return Cycles()
    words = Cycles(words=float(words_of(elements)))
    parts = [part for part in dealt(cores, groups) if part]
    firsts = [_gathered(len(part), words, pace) for part in parts]
    ends = [
        first + words if len(part) > 1 else first for part, first in zip(parts, firsts, strict=True)
    ]
    roots = [part[len(part) // 2] for part in parts]
    middle = len(parts) // 2
    arrived: list[Cycles] = []
    for chain in (range(middle), range(len(parts) - 1, middle, -1)):
        if not chain:
            continue
        out = firsts[chain[0]]
        for before, group in pairwise(chain):
            out = _later(out + _step(roots[before], roots[group], pace), ends[group])
        arrived.append(out + _step(roots[chain[-1]], roots[middle], pace))
    end = ends[middle]
    for first in arrived:
        end = _later(end, first) + words
    root = roots[middle]
    return end + _step(root, 0 if root >= cores - 1 - root else cores - 1, pace) + words


def multicast(cores: int, elements: int, pace: Pace) -> Cycles:
    """`elements` 16-bit numbers of the first core of a line, to all: one relay, whatever way."""
    if cores == 1:
        return Cycles()
    return _step(0, cores - 1, pace) + Cycles(words=float(words_of(elements)))


def _gathered(cores: int, words: Cycles, pace: Pace) -> Cycles:
    """Until the middle of `cores` in a row begins to give away their sum."""
    middle = cores // 2
    left = Cycles(hops=float(middle), relays=middle * pace.relay_cycles)
    beyond = cores - 1 - middle
    if not beyond:
        return left
    right = Cycles(hops=float(beyond), relays=beyond * pace.relay_cycles)
    return _later(left + words, right)


def _step(sender: int, receiver: int, pace: Pace) -> Cycles:
    """Until what one core begins to give away is at work in another."""
    return Cycles(hops=float(abs(receiver - sender)), relays=pace.relay_cycles)


def _later(one: Cycles, other: Cycles) -> Cycles:
    return max(one, other, key=lambda cycles: cycles.total)
