"""Matrix products of many rows by cyclic shifts on a ring laid out so that no link is long.

Cannon (1969): in each of S steps every core multiplies its tiles, then passes one along x and the
other along y. A mesh has no wrap-around, so ring neighbours lie at most two hops apart (WaferLLM's
interleaving, OSDI 2025). Meshes that are not square are tiled for the least common multiple.
"""

import math

import numpy as np
from numpy.typing import NDArray

from headrace.wafer.rectangle import dealt

F32 = NDArray[np.float32]


def ring_position(index: int, cores: int) -> int:
    """Where on the ring the core at physical `index` is: 0, 2, 4, ..., 5, 3, 1 along the line."""
    return index // 2 if index % 2 == 0 else cores - 1 - (index - 1) // 2


def shifted_product(a: F32, b: F32, *, columns: int, rows: int) -> F32:
    """a [M, K] times b [K, N], each tile's sum in the order in which its factors arrive.

    At ring position (i, j) the factors k = i + j, i + j + 1, ... meet, modulo the tiles of a side.
    """
    side = math.lcm(columns, rows)
    m, k, n = (dealt(length, side) for length in (a.shape[0], a.shape[1], b.shape[1]))
    product = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for i, own_rows in enumerate(m):
        for j, own_columns in enumerate(n):
            tile = product[own_rows.start : own_rows.stop, own_columns.start : own_columns.stop]
            for step in range(side):
                for inner in k[(i + j + step) % side]:
                    left = a[own_rows.start : own_rows.stop, inner, None]
                    tile += left * b[inner, own_columns.start : own_columns.stop]
    return product
