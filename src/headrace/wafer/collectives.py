"""What cores compute together, in the order in which the messages meet: sums, maxima, pairs.

A two-level tree (reference: the K = 2 case of WaferLLM's K-tree, OSDI 2025): a line of P cores is
cut into groups; in each, two chains run from the ends to the middle core, every core adding its own
value to what arrives; the groups' middle cores form the same two chains towards the middle one,
which multicasts the result. Arrays are [..., P, n], one value of n numbers for each core of a line.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace.wafer.rectangle import dealt

F32 = NDArray[np.float32]
T = TypeVar("T")
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


def best_pair(values: F32, indices: NDArray[np.int64]) -> tuple[float, int]:
    """The largest of [P] values with its index; among equals the lowest index.

    Each core of the line sends its own best as a pair, which the tree's cores compare.
    """
    pairs = list(zip(values.tolist(), indices.tolist(), strict=True))
    parts = [part for part in dealt(len(pairs), default_groups(len(pairs))) if part]
    return _to_middle([_to_middle(pairs[p.start : p.stop], _better) for p in parts], _better)


def multicast(value: F32, cores: int) -> F32:
    """[..., n] -> [..., P, n]: every core of the line has it."""
    return np.broadcast_to(value[..., None, :], (*value.shape[:-1], cores, value.shape[-1]))


def _better(own: tuple[float, int], arrived: tuple[float, int]) -> tuple[float, int]:
    return max(own, arrived, key=lambda pair: (pair[0], -pair[1]))


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
