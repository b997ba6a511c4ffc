"""Rectangles of cores: a mesh cut into regions, and lengths dealt over a line of cores."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from headrace.wafer.shapes import Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Cores `x`..`x + columns - 1` by `y`..`y + rows - 1` of the mesh."""

    x: int
    y: int
    columns: int
    rows: int

    def side(self, axis: Axis) -> int:
        """Cores along `axis`."""
        return self.columns if axis == "x" else self.rows

    @property
    def cores(self) -> int:
        """Cores in it."""
        return self.columns * self.rows


def dealt(length: int, cores: int, unit: int = 1) -> tuple[range, ...]:
    """0..length-1 cut over `cores` in units; shares differ by a unit at most, some may be empty."""
    units = -(-length // unit)
    cuts = [min(length, i * units // cores * unit) for i in range(cores + 1)]
    return tuple(range(start, end) for start, end in pairwise(cuts))


def most(length: int, cores: int, unit: int = 1) -> int:
    """The longest share that `dealt` gives."""
    units = -(-length // unit)
    return min(length, -(-units // cores) * unit)


def snake(sizes: Sequence[int], columns: int, rows: int) -> tuple[Rectangle, ...] | None:
    """The mesh cut into rectangles of areas like `sizes`, as square as can be, in snake order.

    Bands of rows, read left to right and right to left in turn, so that neighbours in order share
    an edge or, where the bands turn, a part of one. None: too few cores.
    """
    most_bands = min(rows, len(sizes))
    cuts = [_bands(sizes, columns, rows, bands) for bands in range(1, most_bands + 1)]
    return min((cut for cut in cuts if cut), key=_longest_line, default=None)


def _longest_line(rectangles: Sequence[Rectangle]) -> int:
    return max(r.columns + r.rows for r in rectangles)


def _bands(
    sizes: Sequence[int], columns: int, rows: int, bands: int
) -> tuple[Rectangle, ...] | None:
    members = dealt(len(sizes), bands)
    heights = _shares([sum(sizes[i] for i in part) for part in members], rows)
    if heights is None:
        return None
    found: list[Rectangle] = []
    for band, (part, height) in enumerate(zip(members, heights, strict=True)):
        widths = _shares([sizes[i] for i in part], columns)
        if widths is None:
            return None
        for width in widths:
            x = columns - width.stop if band % 2 else width.start
            found.append(Rectangle(x=x, y=height.start, columns=len(width), rows=len(height)))
    return tuple(found)


def _shares(sizes: Sequence[int], length: int) -> list[range] | None:
    """`length` cut in proportion to `sizes`; None where one would get nothing."""
    total, before, cuts = sum(sizes), 0, [0]
    for size in sizes:
        before += size
        cuts.append(round(Fraction(before * length, total)))
    shares = [range(start, end) for start, end in pairwise(cuts)]
    return shares if all(shares) else None
