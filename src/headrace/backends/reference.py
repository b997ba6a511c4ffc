"""The reference backend: NumPy float32, one operation at a time. The living definition.

Its rules: no tricks, no fusion, no in-place cleverness beyond the buffers themselves; where it and
another backend disagree, it is right. Weights are widened, which is exact; MXFP4 ones stay as they
are, and are when they are used. Keys and values are stored as bf16, like everywhere, whatever the
weights are; all else is float32.
"""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import (
    BLOCK_TOKENS,
    BackendReport,
    Batch,
    StepResult,
    Weights,
)
from headrace.backends.repeat import repeat
from headrace.backends.sampling import check_bias, check_masks, sample
from headrace.errors import BackendError
from headrace.model.precision import Stored, round_to_bf16, widen
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    ClampedSwiglu,
    Embed,
    Experts,
    Head,
    HeadLinear,
    KvSpec,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Route,
    Tap,
    Weight,
)
from headrace.model.weight_part import numbers

F32 = NDArray[np.float32]

_NO_BIASES = (np.float32(0),) * 3


class ReferenceBackend:
    """Runs a program operation by operation; slow and obvious."""

    def __init__(
        self, program: Program, weights: Weights, *, num_blocks: int, round_kv: bool = True
    ) -> None:
        """`round_kv=False` keeps the cache in float32, to compare with a float32 oracle."""
        self._program = program
        self._round_kv = round_kv
        self._weights: dict[str, Stored] = {
            name: widen(weights[name][:]) if weight.holds == "numbers" else weights[name][:]
            for name, weight in program.weights().items()
        }
        self._num_blocks = num_blocks
        self._keys = [_slots(spec, num_blocks) for spec in program.kv]
        self._values = [
            _slots(spec, num_blocks) if spec.value_dim is None else keys[:, :, : spec.value_dim]
            for spec, keys in zip(program.kv, self._keys, strict=True)
        ]

    @property
    def program(self) -> Program:
        """The program it was loaded with."""
        return self._program

    @property
    def num_blocks(self) -> int:
        """KV blocks it owns."""
        return self._num_blocks

    def step(self, batch: Batch) -> StepResult:
        """Run every operation over all rows, then sample.

        Raises BackendError on a non-number, on biases that are not valid, and on a batch that may
        not run for several steps.
        """
        return repeat(batch, self._step_once)

    def report(self) -> BackendReport:
        """Every operation runs by itself here, by design."""
        return BackendReport(
            name="reference",
            device="NumPy float32, one operation at a time",
            weight_bytes=sum(w.nbytes for w in self._weights.values()),
            kv_bytes=sum(a.nbytes for a in self._keys + self._values if a.base is None),
            phases={},
            fallback_ops=dict(Counter(type(op).__name__ for op in self._program.ops)),
        )

    def close(self) -> None:
        """Free the weights and the cache."""
        self._weights.clear()
        self._keys.clear()
        self._values.clear()

    def _step_once(self, batch: Batch) -> StepResult:
        check_bias(batch.sampling, len(batch.sample_rows), self._program.vocab_size)
        check_masks(batch.sampling, len(batch.sample_rows), self._program.vocab_size)
        rows = len(batch.token_ids)
        buffers: dict[str, F32] = {
            name: np.full((rows, width), np.nan, np.float32)
            for name, width in self._program.buffers.items()
        }
        logits = np.zeros((0, self._program.vocab_size), np.float32)
        hidden: dict[int, F32] = {}
        for op in self._program.ops:
            if isinstance(op, Head):
                logits = _matmul(buffers[op.inp][batch.sample_rows], self._values_of(op.weight))
            elif isinstance(op, Tap):
                if op.layer in batch.taps:
                    hidden[op.layer] = buffers[op.inp].copy()
            else:
                self._run(op, buffers, batch)
        if not np.isfinite(logits).all():
            raise BackendError("the model produced logits that are not numbers")
        return StepResult(
            token_ids=sample(logits, batch.sampling, batch.positions[batch.sample_rows] + 1),
            logits=logits if batch.want_logits else None,
            hidden=np.stack([hidden[layer] for layer in batch.taps]) if batch.taps else None,
        )

    def _run(self, op: Op, buffers: dict[str, F32], batch: Batch) -> None:
        match op:
            case Embed():
                table = self._values_of(op.table)
                buffers[op.out][:] = table[batch.token_ids] * np.float32(op.scale)
            case Norm():
                self._norm(op, buffers)
            case Linear() | HeadLinear():
                self._linear(op, buffers)
            case Rope():
                _rotate(op, buffers[op.buffer], batch.positions)
            case AppendKv() | Attend():
                self._attention(op, buffers, batch)
            case Activate():
                function = {"silu": _silu, "gelu_tanh": _gelu_tanh}[op.function]
                buffers[op.out][:] = function(buffers[op.gate]) * buffers[op.up]
            case Route() | Experts():
                self._mixture(op, buffers)
            case Add():
                buffers[op.out] += buffers[op.inp]
            case Tap() | Head():
                raise AssertionError("handled by step")

    def _values_of(self, weight: Weight) -> F32:
        return numbers(weight, self._weights)

    def _norm(self, op: Norm, buffers: dict[str, F32]) -> None:
        whole = buffers[op.inp].reshape(len(buffers[op.inp]), op.heads, -1)
        x, rest = np.split(whole, [whole.shape[-1] - op.rest], axis=-1)
        mean_square = np.mean(x * x, axis=-1, keepdims=True, dtype=np.float32)
        scale = np.float32(1) / np.sqrt(mean_square + np.float32(op.eps))
        weight = self._values_of(op.weight) + np.float32(op.offset)
        normed = np.concatenate([x * scale * weight, rest], axis=-1)
        buffers[op.out][:] = normed.reshape(buffers[op.out].shape)

    def _linear(self, op: Linear | HeadLinear, buffers: dict[str, F32]) -> None:
        if isinstance(op, Linear):
            product = _matmul(buffers[op.inp], self._values_of(op.weight))
            bias = 0 if op.bias is None else self._values_of(op.bias)
            buffers[op.out][:] = product + bias
            return
        shape = len(buffers[op.inp]), len(op.weights), -1
        inp, out = buffers[op.inp].reshape(shape), buffers[op.out].reshape(shape)
        for head, weight in enumerate(op.weights):
            matrix = self._values_of(weight)
            matrix = np.ascontiguousarray(matrix.T) if op.transposed else matrix
            outputs, inputs = matrix.shape
            out[:, head, :outputs] = _matmul(inp[:, head, :inputs], matrix)
            out[:, head, outputs:] = inp[:, head, inputs:]

    def _mixture(self, op: Route | Experts, buffers: dict[str, F32]) -> None:
        if isinstance(op, Route):
            correction = None if op.correction is None else self._values_of(op.correction)
            buffers[op.out][:] = _route(op, buffers[op.inp], correction)
            return
        out, routed = buffers[op.out], buffers[op.routed]
        out[:] = 0
        for e, matrices in enumerate(zip(op.gate, op.up, op.down, strict=True)):
            rows = np.flatnonzero(routed[:, e])
            if len(rows) == 0:
                continue
            gate, up, down = (np.ascontiguousarray(self._values_of(m)) for m in matrices)
            biases = map(self._values_of, op.biases[e]) if op.biases else _NO_BIASES
            to_gate, to_up, to_down = biases
            x = buffers[op.inp][rows]
            inner = _gated(op.clamp, _matmul(x, gate) + to_gate, _matmul(x, up) + to_up)
            out[rows] += routed[rows, e, None] * (_matmul(inner, down) + to_down)

    def _attention(self, op: AppendKv | Attend, buffers: dict[str, F32], batch: Batch) -> None:
        if isinstance(op, AppendKv):
            self._append(op, buffers, batch)
        else:
            self._attend(op, buffers, batch)

    def _append(self, op: AppendKv, buffers: dict[str, F32], batch: Batch) -> None:
        blocks = batch.block_tables[batch.row_sequence, batch.positions // BLOCK_TOKENS]
        slots = blocks * BLOCK_TOKENS + batch.positions % BLOCK_TOKENS
        for cache, name in ((self._keys[op.layer], op.k), (self._values[op.layer], op.v)):
            if name is None:
                continue
            rows = buffers[name]
            stored = widen(round_to_bf16(rows)) if self._round_kv else rows
            cache[slots] = stored.reshape(len(slots), *cache.shape[1:])

    def _attend(self, op: Attend, buffers: dict[str, F32], batch: Batch) -> None:
        group = op.heads // op.kv_heads
        sinks = np.zeros((op.kv_heads, group, 0), np.float32)
        if op.sinks is not None:
            sinks = self._values_of(op.sinks).reshape(op.kv_heads, group, 1)
        for t, (position, sequence) in enumerate(
            zip(batch.positions, batch.row_sequence, strict=True)
        ):
            first = 0 if op.window is None else max(0, int(position) - op.window + 1)
            seen = np.arange(first, int(position) + 1)
            blocks = batch.block_tables[sequence, seen // BLOCK_TOKENS]
            slots = blocks * BLOCK_TOKENS + seen % BLOCK_TOKENS
            q = buffers[op.q][t].reshape(op.kv_heads, group, op.head_dim)
            k, v = self._keys[op.layer][slots], self._values[op.layer][slots]  # [seen, Hkv, D]
            scores = np.einsum("hgd,shd->hgs", q, k) * np.float32(op.scale)
            scores = np.concatenate([scores, sinks], axis=-1)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            weights /= weights.sum(axis=-1, keepdims=True)
            weights = weights[:, :, : len(seen)]
            buffers[op.out][t] = np.einsum("hgs,shd->hgd", weights, v).reshape(-1)


def _slots(spec: KvSpec, num_blocks: int) -> F32:
    return np.zeros((num_blocks * BLOCK_TOKENS, spec.kv_heads, spec.head_dim), np.float32)


def _matmul(rows: F32, weight: F32) -> F32:
    """rows [T, K] by weight [N, K] -> [T, N], each row by itself: its sums see no neighbour."""
    product = np.empty((len(rows), len(weight)), np.float32)
    for t, row in enumerate(rows):
        np.dot(weight, row, out=product[t])
    return product


def _route(op: Route, inp: F32, correction: F32 | None) -> F32:
    scores = inp if op.function == "softmax" else _sigmoid(inp)
    choice = scores if correction is None else scores + correction
    choice = choice if op.groups is None else _best_groups(choice, *op.groups)
    chosen = np.argsort(-choice, axis=-1, kind="stable")[:, : op.top]
    is_chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(is_chosen, chosen, True, axis=-1)
    if op.function == "softmax":
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores = scores if op.normalised else scores / scores.sum(axis=-1, keepdims=True)
    kept = np.where(is_chosen, scores, np.float32(0))
    kept = kept / kept.sum(axis=-1, keepdims=True) if op.normalised else kept
    return kept * np.float32(op.scale)


def _best_groups(choice: F32, count: int, best: int) -> F32:
    """`choice` [T, experts] where groups are the best, -inf elsewhere."""
    groups = choice.reshape(len(choice), count, -1)
    sums = np.sort(groups, axis=-1)[:, :, -2:].sum(axis=-1)
    kept = np.argsort(-sums, axis=-1, kind="stable")[:, :best]
    is_kept = np.zeros(sums.shape, bool)
    np.put_along_axis(is_kept, kept, True, axis=-1)
    return np.where(is_kept[:, :, None], groups, np.float32(-np.inf)).reshape(choice.shape)


def _gated(clamp: ClampedSwiglu | None, gate: F32, up: F32) -> F32:
    if clamp is None:
        return _silu(gate) * up
    limit = np.float32(clamp.limit)
    gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    with np.errstate(over="ignore"):  # exp = inf gives 0, as it should
        swish = np.divide(gate, 1 + np.exp(-np.float32(clamp.alpha) * gate), dtype=np.float32)
    return np.multiply(swish, up + 1, dtype=np.float32)


def _silu(x: F32) -> F32:
    with np.errstate(over="ignore"):  # exp(-x) = inf gives 0, as it should
        return np.divide(x, 1 + np.exp(-x), dtype=np.float32)


def _sigmoid(x: F32) -> F32:
    with np.errstate(over="ignore"):
        return np.divide(1, 1 + np.exp(-x), dtype=np.float32)


def _gelu_tanh(x: F32) -> F32:
    root, cubic = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)
    y = root * (x + cubic * x * x * x)
    return np.multiply(x / 2, 1 + np.tanh(y), dtype=np.float32)


def _rotate(op: Rope, rows: F32, positions: NDArray[np.int32]) -> None:
    angles = positions[:, None].astype(np.float32) * np.asarray(op.frequencies, np.float32)
    scale = np.float32(op.scale)
    cos, sin = (np.cos(angles) * scale)[:, None], (np.sin(angles) * scale)[:, None]  # [T, 1, w / 2]
    first, width = (0, op.head_dim) if op.part is None else op.part
    x = rows.reshape(len(rows), op.heads, op.head_dim)[:, :, first : first + width]
    if op.interleaved:
        x1, x2 = x[:, :, 0::2], x[:, :, 1::2]
    else:
        x1, x2 = x[:, :, : width // 2], x[:, :, width // 2 :]
    x1[:], x2[:] = x1 * cos - x2 * sin, x2 * cos + x1 * sin
