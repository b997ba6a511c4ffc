"""What cores compute together, in the order in which the messages meet: sums, maxima, pairs.

A two-level tree (reference: the K = 2 case of WaferLLM's K-tree, OSDI 2025): a line of P cores is
cut into groups; in each, two chains run from the ends to the middle core, every core adding its own
value to what arrives; the groups' middle cores form the same two chains towards the middle one,
which multicasts the result. Arrays are [..., P, n], one value of n numbers for each core of a line.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace.wafer.rectangle import dealt

F32 = NDArray[np.float32]
T = TypeVar("T")
Pair = tuple[float, int]  # a value and its index
Combine = Callable[[F32, F32], F32]


def default_groups(cores: int) -> int:
    """Groups of a line: the square root, where relays are fewest."""
    return max(1, math.isqrt(cores))


def tree(values: F32, combine: Combine, groups: int | None = None) -> F32:
    """[..., P, n] -> [..., n]: what the root multicasts, combined in the chains' order."""
    cores = values.shape[-2]
    parts = [part for part in dealt(cores, groups or default_groups(cores)) if part]
    roots = [_to_middle([values[..., core, :] for core in part], combine) for part in parts]
    return _to_middle(roots, combine)


def all_reduce(values: F32, groups: int | None = None) -> F32:
    """Sum over the line, float32, in the tree's order: [..., P, n] -> [..., n]."""
    return tree(values, np.add, groups)


def all_max(values: F32, groups: int | None = None) -> F32:
    """Maximum over the line: [..., P, n] -> [..., n]."""
    return tree(values, np.maximum, groups)


def best_pairs(values: F32, indices: NDArray[np.int64], count: int) -> list[Pair]:
    """The `count` largest of [P, n] values with their indices, largest first, lowest index first.

    An index below 0 is no number of a core's. Each core of the line sends its own best as pairs,
    and the tree's cores keep the best of what they have and what comes.
    """
    own = [_best_of_core(*core, count) for core in zip(values, indices, strict=True)]
    parts = [part for part in dealt(len(own), default_groups(len(own))) if part]

    def better(held: list[Pair], arrived: list[Pair]) -> list[Pair]:
        return heapq.nsmallest(count, (*held, *arrived), key=_rank)

    return _to_middle([_to_middle(own[p.start : p.stop], better) for p in parts], better)


def multicast(value: F32, cores: int) -> F32:
    """[..., n] -> [..., P, n]: every core of the line has it."""
    return np.broadcast_to(value[..., None, :], (*value.shape[:-1], cores, value.shape[-1]))


def _best_of_core(values: F32, indices: NDArray[np.int64], count: int) -> list[Pair]:
    held = np.flatnonzero(indices >= 0)
    best = held[np.lexsort((indices[held], -values[held]))][:count]
    return list(zip(values[best].tolist(), indices[best].tolist(), strict=True))


def _rank(pair: Pair) -> tuple[float, int]:
    return -pair[0], pair[1]


def _to_middle(values: Sequence[T], combine: Callable[[T, T], T]) -> T:
    """Two chains to the middle core, which takes the lower end's first."""
    middle = len(values) // 2
    result = values[middle]
    for chain in (values[:middle], values[:middle:-1]):
        if not len(chain):
            continue
        arrived = chain[0]
        for own in chain[1:]:
            arrived = combine(own, arrived)
        result = combine(result, arrived)
    return result
