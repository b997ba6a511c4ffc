"""Attention over a cache whose tokens are dealt along y and whose numbers along x.

Token p of a sequence lies on row p mod P: what is added to what depends on positions alone, not on
which blocks of the cache a sequence was given.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.backends.wafer.deal import Indices, gather, scatter
from headrace.model.program import Attend
from headrace.wafer.collectives import all_max, all_reduce
from headrace.wafer.placement import SCORED_AT_ONCE

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionCores:
    """Which numbers of keys and of values lie on which column."""

    keys: Indices  # [Px, n], into kv_heads * head_dim
    values: Indices  # [Px, m], into kv_heads * value_dim
    rows: int  # Py
    sinks: F32 | None = None  # [heads], which the first row of cores begins with


def attended(op: Attend, q: F32, keys: F32, values: F32, first: int, cores: AttentionCores) -> F32:
    """One row's q [heads * head_dim] over the tokens from position `first` on that it sees.

    `keys` [seen, kv_heads * head_dim], `values` [seen, kv_heads * value_dim], as cached.
    """
    seen = _striped(first, len(keys), cores.rows)  # [Py, s]
    group = op.heads // op.kv_heads
    queries = q.reshape(op.kv_heads, group, op.head_dim).transpose(1, 0, 2).reshape(group, -1)
    scores = _scores(op, queries, gather(keys, cores.keys)[seen], cores.keys)
    scores = np.where(seen[:, :, None, None] >= 0, scores, np.float32(-np.inf))
    head = np.maximum(cores.values, 0) // (values.shape[1] // op.kv_heads)  # [Px, m]
    sinks = None if cores.sinks is None else cores.sinks.reshape(op.kv_heads, group)
    total, best, summed = _running(scores, gather(values, cores.values)[seen], head, sinks)
    top = all_max(best.reshape(1, cores.rows, -1))[0].reshape(best.shape[1:])
    share = np.exp(best - top)  # [Py, kv, g]
    weight = all_reduce((total * share).reshape(1, cores.rows, -1))[0].reshape(top.shape)
    scaled = summed * share[:, head]  # [Py, Px, m, g]
    lines = np.moveaxis(scaled.reshape(*scaled.shape[:2], -1), 0, 1)  # [Px, Py, m * g]
    result = all_reduce(lines).reshape(*head.shape, group) / weight[head]
    out = scatter(np.moveaxis(result, -1, 0), cores.values, values.shape[1])  # [g, kv * D]
    return out.reshape(group, op.kv_heads, -1).transpose(1, 0, 2).reshape(-1)


def _striped(first: int, count: int, rows: int) -> Indices:
    """[Py, s]: which of the seen tokens each row holds, in rising position; -1: none."""
    place = (np.arange(count) + first) // rows
    found = np.full((rows, int(place[-1] - place[0]) + 1), -1, np.int64)
    found[(np.arange(count) + first) % rows, place - place[0]] = np.arange(count)
    return found


def _scores(op: Attend, queries: F32, keys: F32, indices: Indices) -> F32:
    """[Py, s, kv, g]: each column's part of the products, number by number, added along x."""
    group = len(queries)
    own = gather(queries, indices)  # [g, Px, n]
    columns = np.arange(len(indices))
    partial = np.zeros((*keys.shape[:3], op.kv_heads, group), np.float32)
    for i in range(indices.shape[1]):
        head = np.maximum(indices[:, i], 0) // op.head_dim
        partial[:, :, columns, head] += keys[..., i, None] * own[:, :, i].T
    lines = partial.reshape(*partial.shape[:3], -1)
    return all_reduce(lines).reshape(*keys.shape[:2], op.kv_heads, group) * np.float32(op.scale)


def _running(scores: F32, values: F32, head: Indices, sinks: F32 | None) -> tuple[F32, F32, F32]:
    """Each row of cores by itself, some tokens at a time: sum [Py, kv, g], maximum, values.

    Softmax with a running maximum (Milakov & Gimelshein 2018); a row without tokens has maximum
    -inf and sums of zero. `sinks` [kv, g], scores without a value, are the first row's beginning.
    """
    rows, tokens, kv_heads, group = scores.shape
    best = np.full((rows, kv_heads, group), -np.inf, np.float32)
    total = np.zeros_like(best)
    summed = np.zeros((rows, *head.shape, group), np.float32)
    if sinks is not None:
        best[0], total[0] = sinks, 1
    for start in range(0, tokens, SCORED_AT_ONCE):
        some = scores[:, start : start + SCORED_AT_ONCE]
        higher = np.maximum(best, some.max(axis=1))
        base = np.where(np.isfinite(higher), higher, np.float32(0))
        kept = np.exp(best - base)
        total, summed, best = total * kept, summed * kept[:, head], higher
        for i in range(some.shape[1]):
            weight = np.exp(some[:, i] - base)
            total += weight
            summed += weight[:, head] * values[:, start + i, :, :, None]
    return total, best, summed
