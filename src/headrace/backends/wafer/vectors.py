"""What every core does with its own part of a vector, and norms, which need one reduction."""

import math

import numpy as np
from numpy.typing import NDArray

from headrace.backends.wafer.deal import Indices, gather
from headrace.model.program import Activate, Add, Norm, Rope
from headrace.wafer.collectives import all_reduce

F32 = NDArray[np.float32]
Buffers = dict[str, F32]  # by name, [T, width]


def normed(op: Norm, rows: F32, weight: F32, indices: Indices) -> F32:
    """`rows` [T, width] normed; sums of squares are added in each core's order, then in the tree.

    `indices` [P, n]: which numbers lie where.
    """
    width = rows.shape[-1] // op.heads
    counted = width - op.rest
    head, inside = np.divmod(indices, width)
    parts = gather(rows, indices)  # [T, P, n]
    is_counted = (indices >= 0) & (inside < counted)
    squares = np.where(is_counted, parts * parts, np.float32(0))
    cores = np.arange(len(indices))
    sums = np.zeros((len(rows), len(indices), op.heads), np.float32)
    for i in range(indices.shape[1]):
        sums[:, cores, np.maximum(head[:, i], 0)] += squares[:, :, i]
    mean = np.divide(all_reduce(sums), counted, dtype=np.float32)  # [T, heads]
    scale = np.reciprocal(np.sqrt(mean + np.float32(op.eps)))
    x = rows.reshape(len(rows), op.heads, width)
    weight = weight + np.float32(op.offset)
    own = np.multiply(x[:, :, :counted] * scale[:, :, None], weight, dtype=np.float32)
    return np.concatenate([own, x[:, :, counted:]], axis=-1).reshape(rows.shape)


def run_local(op: Rope | Activate | Add, buffers: Buffers, positions: NDArray[np.int32]) -> None:
    """What needs no other core: each does its own numbers."""
    match op:
        case Rope():
            buffers[op.buffer] = _rotated(op, buffers[op.buffer], positions)
        case Activate():
            function = {"silu": silu, "gelu_tanh": _gelu_tanh}[op.function]
            buffers[op.out] = function(buffers[op.gate]) * buffers[op.up]
        case Add():
            buffers[op.out] = buffers[op.out] + buffers[op.inp]


def silu(x: F32) -> F32:
    """x / (1 + exp(-x))."""
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, as it should
        return np.divide(x, 1 + np.exp(-x), dtype=np.float32)


def _gelu_tanh(x: F32) -> F32:
    y = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.multiply(x / 2, 1 + np.tanh(y), dtype=np.float32)


def _rotated(op: Rope, rows: F32, positions: NDArray[np.int32]) -> F32:
    """`rows` [T, heads * head_dim] turned; both numbers of a pair lie on one core."""
    angles = positions[:, None].astype(np.float32) * np.asarray(op.frequencies, np.float32)
    scale = np.float32(op.scale)
    cos, sin = (np.cos(angles) * scale)[:, None], (np.sin(angles) * scale)[:, None]
    x = rows.reshape(len(rows), op.heads, op.head_dim).copy()
    first, second = pairs(op)
    x1, x2 = x[:, :, first], x[:, :, second]
    x[:, :, first], x[:, :, second] = x1 * cos - x2 * sin, x2 * cos + x1 * sin
    return x.reshape(rows.shape)


def pairs(op: Rope) -> tuple[Indices, Indices]:
    """Which numbers of a head turn with which: first and second of each pair."""
    first, width = (0, op.head_dim) if op.part is None else op.part
    if op.interleaved:
        return first + np.arange(0, width, 2), first + np.arange(1, width, 2)
    return first + np.arange(width // 2), first + np.arange(width // 2, width)
