"""Which numbers of a buffer lie on which core of a line: index arrays, padded with -1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.wafer.rectangle import Rectangle, dealt, most
from headrace.wafer.shapes import Axis

F32 = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Deal:
    """A buffer's numbers in the order in which they are dealt along an axis, in units."""

    axis: Axis
    order: Indices  # [width]
    unit: int = 1

    def over(self, rectangle: Rectangle) -> Indices:
        """[P, n]: the numbers on each core along the axis; -1 where one has fewer."""
        cores = rectangle.side(self.axis)
        width = len(self.order)
        found = np.full((cores, most(width, cores, self.unit)), -1, np.int64)
        for core, part in enumerate(dealt(width, cores, self.unit)):
            found[core, : len(part)] = self.order[part.start : part.stop]
        return found


def plain(width: int, axis: Axis) -> Deal:
    """In the order they have, one by one."""
    return Deal(axis, np.arange(width))


def gather(values: F32, indices: Indices) -> F32:
    """What lies on each core: [..., width] -> [..., P, n], zero where there is nothing."""
    return np.where(indices >= 0, values[..., indices], np.float32(0))


def scatter(parts: F32, indices: Indices, width: int) -> F32:
    """The inverse of `gather`: [..., P, n] -> [..., width]."""
    values = np.empty((*parts.shape[:-2], width), np.float32)
    held = indices >= 0
    values[..., indices[held]] = parts[..., held]
    return values
