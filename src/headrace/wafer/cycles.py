"""How many cycles cores take: closed forms of collectives and products, split by what causes them.

A vector instruction costs what it takes to issue it, then an element a lane and cycle. A collective
is a chain of relays, each of which receives, adds and forwards, then a multicast; it pays for its
relays, for the routers passed, and for the words that end at the root one after the other.
"""

import math
from dataclasses import dataclass, fields

from headrace.wafer.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Cycles by cause; fractions stay, so that a model can be fitted."""

    hops: float = 0.0  # routers passed
    relays: float = 0.0  # dependent receive-add-forward steps
    issue: float = 0.0  # of vector instructions
    arithmetic: float = 0.0  # elements over lanes
    words: float = 0.0  # that follow each other through one link

    @property
    def total(self) -> float:
        """Of all causes: they follow each other."""
        return sum(getattr(self, field.name) for field in fields(self))

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

    relay_cycles: float  # BETA
    issue_cycles: float  # O
    simd_width: int

    @classmethod
    def of(cls, machine: Machine) -> "Pace":
        """The machine's own constants."""
        return cls(
            relay_cycles=machine.relay_cycles.value,
            issue_cycles=machine.vector_issue_cycles.value,
            simd_width=machine.simd_width.value,
        )


def vectors(count: int, length: int, pace: Pace) -> Cycles:
    """`count` vector instructions of `length` elements, one after the other."""
    each = -(-length // pace.simd_width)
    return Cycles(issue=count * pace.issue_cycles, arithmetic=float(count * each))


def all_reduce(cores: int, groups: int, elements: int, pace: Pace) -> Cycles:
    """`elements` 16-bit numbers of each core, added over a line of `cores` and known to all.

    Two levels of chains towards the middle, of `groups` groups, then a multicast:
    T = P + BETA (g/2 + G/2 + 1) + 3 ceil(n/2), g = P/G (the K = 2 case of WaferLLM's K-tree). The
    hops within groups are part of the relays.
    """
    relays = cores / groups / 2 + groups / 2 + 1
    return Cycles(
        hops=float(cores), relays=relays * pace.relay_cycles, words=3.0 * -(-elements // 2)
    )


def gemv(inputs: int, outputs: int, *, columns: int, rows: int, groups: int, pace: Pace) -> Cycles:
    """y [outputs] = x [inputs] W, inputs split over `rows` cores and reduced over them.

    Each core multiplies and adds ceil(inputs / rows) vectors of ceil(outputs / columns).
    """
    local = -(-outputs // columns)
    return vectors(-(-inputs // rows), local, pace) + all_reduce(rows, groups, local, pace)


def nearest_groups(cores: int) -> int:
    """The divisor of `cores` nearest its square root, the larger of two: fewest relays."""
    root = math.sqrt(cores)
    divisors = (n for n in range(1, cores + 1) if cores % n == 0)
    return min(divisors, key=lambda n: (abs(n - root), -n))
