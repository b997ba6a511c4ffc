"""Matrix products of many rows by cyclic shifts on a ring laid out so that no link is long.

Cannon (1969): in each of S steps every core multiplies its tiles, then passes one along x and the
other along y. A mesh has no wrap-around, so ring neighbours lie at most two hops apart (WaferLLM's
interleaving, OSDI 2025). Meshes that are not square are tiled for the least common multiple.
"""

import math

import numpy as np
from numpy.typing import NDArray

from headrace.wafer.rectangle import dealt, most

F32 = NDArray[np.float32]


def ring_position(index: int, cores: int) -> int:
    """Where on the ring the core at physical `index` is: 0, 2, 4, ..., 5, 3, 1 along the line."""
    return index // 2 if index % 2 == 0 else cores - 1 - (index - 1) // 2


def shifted_product(a: F32, b: F32, *, columns: int, rows: int) -> F32:
    """a [M, K] times b [K, N], each tile's sum in the order in which its factors arrive.

    At ring position (i, j) the factors k = i + j, i + j + 1, ... meet, modulo the tiles of a side.
    """
    side = math.lcm(columns, rows)
    i = _padded(a.shape[0], side)
    i_tiles = np.flatnonzero((i >= 0).any(axis=1))  # where there are rows
    k, j = _padded(a.shape[1], side), _padded(b.shape[1], side)
    left = _tiles(a, i, k)[i_tiles]  # [i, k, M of a tile, K of a tile]
    right = _tiles(b, k, j)  # [k, j, K of a tile, N of a tile]
    product = np.zeros((len(i_tiles), side, i.shape[1], j.shape[1]), np.float32)
    at, beside = np.arange(len(i_tiles))[:, None], np.arange(side)[None]
    for step in range(side):
        met = (i_tiles[:, None] + beside + step) % side
        for inner in range(k.shape[1]):
            product += left[at, met, :, inner, None] * right[met, beside, inner, None, :]
    whole = np.empty((a.shape[0], b.shape[1]), np.float32)
    own_rows = i[i_tiles]
    to_rows = np.broadcast_to(own_rows[:, None, :, None], product.shape)
    to_columns = np.broadcast_to(j[None, :, None, :], product.shape)
    held = (to_rows >= 0) & (to_columns >= 0)
    whole[to_rows[held], to_columns[held]] = product[held]
    return whole


def _padded(length: int, side: int) -> NDArray[np.int64]:
    """[side, n]: which of 0..length-1 are whose; -1 where one has fewer."""
    found = np.full((side, most(length, side)), -1, np.int64)
    for tile, part in zip(found, dealt(length, side), strict=True):
        tile[: len(part)] = part
    return found


def _tiles(matrix: F32, down: NDArray[np.int64], across: NDArray[np.int64]) -> F32:
    """[down tiles, across tiles, numbers down, numbers across], zero where there is nothing."""
    rows, columns = down[:, None, :, None], across[None, :, None, :]
    return np.where((rows >= 0) & (columns >= 0), matrix[rows, columns], np.float32(0))
