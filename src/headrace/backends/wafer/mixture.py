"""Mixtures of experts: who is chosen, and their products on cores that hold a part of every expert.

A router's scores lie along x. One sum over x, to which each core gives its own scores and zeros for
the rest, makes all of them known to all cores, so that each chooses for itself; adding zeros
changes no bit, so here the rows stand for it. Every expert is striped over the whole region: all
cores work whoever is chosen, and the chosen experts' outputs are added core by core, in rising
order of experts, before the one sum over x. A bias lies on one line of the cores that add up,
expert e's on line e mod P, and begins the sum there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.backends.wafer.tiles import ROWS_AT_ONCE, Tiles
from headrace.backends.wafer.vectors import silu
from headrace.model.program import ClampedSwiglu, Experts, Route

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertTiles:
    """One expert on its region."""

    gate: Tiles
    up: Tiles
    down: Tiles
    biases: tuple[F32, F32, F32] | None = None  # of gate, up and down


def routed(op: Route, scores: F32, correction: F32 | None) -> F32:
    """What each expert counts for each row, as `Route` says: [T, experts] -> the same."""
    counts = _sigmoid(scores) if op.function == "sigmoid" else scores
    choice = counts if correction is None else counts + correction
    if op.groups is not None:
        choice = _of_best_groups(choice, *op.groups)
    chosen = np.argsort(-choice, axis=-1, kind="stable")[:, : op.top]
    if op.function == "softmax":
        counts = np.exp(counts - counts.max(axis=-1, keepdims=True))
    kept = np.zeros_like(scores)
    np.put_along_axis(kept, chosen, np.take_along_axis(counts, chosen, axis=-1), axis=-1)
    if op.normalised:
        kept /= kept.sum(axis=-1, keepdims=True)
    elif op.function == "softmax":
        kept /= counts.sum(axis=-1, keepdims=True)
    return kept * np.float32(op.scale)


def _of_best_groups(choice: F32, groups: int, best: int) -> F32:
    """-inf for those of other groups than the `best` by the sum of their two largest."""
    by_group = choice.reshape(len(choice), groups, -1)
    sums = np.partition(by_group, -2, axis=-1)[:, :, -2:].sum(axis=-1)
    chosen = np.argsort(-sums, axis=-1, kind="stable")[:, :best]
    kept = np.full_like(by_group, -np.inf)
    places = chosen[:, :, None]
    np.put_along_axis(kept, places, np.take_along_axis(by_group, places, axis=1), axis=1)
    return kept.reshape(choice.shape)


def mixed(op: Experts, rows: F32, counts: F32, experts: tuple[ExpertTiles, ...]) -> F32:
    """`Experts` of `rows` [T, in width], each counting `counts` [T, experts]: [T, out width]."""
    out = np.empty((len(rows), op.down[0].shape[0]), np.float32)
    down = experts[0].down
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = slice(first, min(len(rows), first + ROWS_AT_ONCE))
        sums = down.nothing(some.stop - some.start)
        for number, expert in enumerate(experts):
            count = counts[some, number]
            chose = np.flatnonzero(count)
            if len(chose):
                part = sums[chose]
                inner = _inner(expert, number, rows[some][chose], op.clamp)
                sums[chose] = _added(expert, number, inner, count[chose, None], part)
        out[some] = down.total(sums)
    return out


def _inner(expert: ExpertTiles, number: int, rows: F32, clamp: ClampedSwiglu | None) -> F32:
    """The gated product [T, inner] of one expert."""
    made: list[F32] = []
    for i, tiles in enumerate((expert.gate, expert.up)):
        bias = None if expert.biases is None else expert.biases[i]
        begun = tiles.nothing(len(rows), bias, number % tiles.lines)
        made.append(tiles.total(tiles.add(rows, begun)))
    gate, up = made
    if clamp is None:
        return silu(gate) * up
    limit = np.float32(clamp.limit)
    gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    swish = gate * _sigmoid(np.float32(clamp.alpha) * gate)
    return np.multiply(swish, up + 1, dtype=np.float32)


def _added(expert: ExpertTiles, number: int, inner: F32, count: F32, sums: F32) -> F32:
    """`sums` on the cores with what an expert makes of `inner`, times `count` [T, 1]."""
    if expert.biases is not None:
        line = number % expert.down.lines
        bias = expert.down.nothing(1, expert.biases[2], line)
        sums = np.add(sums, count[:, :, None, None] * bias, dtype=np.float32)
    return expert.down.add(count * inner, sums)


def _sigmoid(x: F32) -> F32:
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, as it should
        return np.divide(1, 1 + np.exp(-x), dtype=np.float32)
