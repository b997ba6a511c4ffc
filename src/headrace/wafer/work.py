"""What every core of a region does, one step after the other: sizes alone, without time or numbers.

All cores run the same steps on tiles padded to the fullest one, as kernels that are compiled once
for a region do (WaferLLM, OSDI 2025). The closed forms (`cycles`) and the event model (`kernels`)
both start from here.
"""

from dataclasses import dataclass

from headrace.wafer.rectangle import Rectangle
from headrace.wafer.shapes import Axis

ELEMENT_BYTES = 2  # of a number on the fabric, and of an operand in SRAM
WORD_ELEMENTS = 2  # in a word of the fabric, 32 bits (Hot Chips 34)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """`count` vector instructions of `length` elements: multiply and add, operands in SRAM."""

    name: str
    count: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """`elements` 16-bit numbers of each core combined along each line of `axis`; all have it."""

    name: str
    axis: Axis
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Multicast:
    """`elements` 16-bit numbers of the first core of each line of `axis`, to all of the line."""

    name: str
    axis: Axis
    elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What goes from one region to the next: `words` after each other, `hops` routers far."""

    name: str
    words: int
    hops: int


Work = Vectors | Reduction | Multicast | Passage


def product(
    name: str, inputs: int, outputs: int, *, reduce: Axis, columns: int, rows: int
) -> tuple[Vectors, Reduction]:
    """y [outputs] = x [inputs] W, the inputs split along `reduce`, partial sums added over it."""
    along, across = (columns, rows) if reduce == "x" else (rows, columns)
    local = -(-outputs // across)
    return (
        Vectors(name=name, count=-(-inputs // along), length=local),
        Reduction(name=name, axis=reduce, elements=local),
    )


def passage(name: str, before: Rectangle, after: Rectangle, elements: int) -> Passage:
    """`elements` 16-bit numbers that lie along y of one region, to all columns of the next.

    Every core of the edge between them passes on its share; the farthest has to go sideways as far
    as the two regions are out of line, then across the next one. Regions without a common edge
    have one way between them.
    """
    beside = _overlap(before.y, before.rows, after.y, after.rows)
    above = _overlap(before.x, before.columns, after.x, after.columns)
    edge = max(1, beside, above)
    left, top = min(before.x, after.x), min(before.y, after.y)
    right = max(before.x + before.columns, after.x + after.columns)
    bottom = max(before.y + before.rows, after.y + after.rows)
    if beside > 0:
        hops = after.columns + (bottom - top - beside)
    elif above > 0:
        hops = after.rows + (right - left - above)
    else:
        hops = right - left + bottom - top
    return Passage(name=name, words=-(-words_of(elements) // edge), hops=hops)


def words_of(elements: int) -> int:
    """Words of the fabric that hold `elements` 16-bit numbers."""
    return -(-elements // WORD_ELEMENTS)


def _overlap(start: int, length: int, other: int, other_length: int) -> int:
    return max(0, min(start + length, other + other_length) - max(start, other))
