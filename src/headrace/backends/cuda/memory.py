"""The weights, the cache and the rotations of a program, where the device reads them.

A tensor is held once. Matrices that one phase multiplies with the same rows lie below each other in
one piece; whoever wants one of them gets a view. Experts: see `expert_weights`.
"""
# pyright: basic, reportMissingImports=false

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from headrace.backends.base import BLOCK_TOKENS, MappedWeights, Weights
from headrace.backends.cuda.expert_weights import ExpertWeights, Fill, load_experts
from headrace.errors import BackendError
from headrace.model.lowering import NormLinear
from headrace.model.precision import Stored, Tensor, widen
from headrace.model.program import Embed, Experts, Program, Rope, Weight, op_weights
from headrace.model.weight_part import cut

# What numbers are stored as for a place of some type, and how that is called.
_KINDS = {torch.bfloat16: "uint16", torch.uint8: "uint8"}
_WORDS = {"uint16": "bf16", "uint8": "bytes", "fp32": "numbers"}
_ROWS_BYTES = 64 << 20  # chosen: bytes copied at a time, bounds what loading takes beside the place


class Memory:
    """Everything of a program that stays on the device between steps."""

    def __init__(
        self,
        program: Program,
        phases: Sequence[object],
        fill: Fill,
        *,
        num_blocks: int,
        device: str,
        is_embedding_on_host: bool = False,
    ) -> None:
        """Allocate, and let `fill` write every tensor, each once."""
        self._device = device
        self._fill = fill
        self._stacks: dict[tuple[Weight, ...], torch.Tensor] = {}
        self._views: dict[Weight, torch.Tensor] = {}
        self._vectors: dict[tuple[Weight, float], torch.Tensor] = {}
        self._rotations: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self._positions = min(program.max_positions, num_blocks * BLOCK_TOKENS)
        embedded = {op.table for op in program.ops if isinstance(op, Embed)}
        read = {w for op in program.ops if not isinstance(op, Embed) for w in op_weights(op)}
        self._on_host = embedded - read if is_embedding_on_host else set[Weight]()
        for weights in _stacked(phases):
            self.stack(weights)
        self._experts: dict[str, ExpertWeights] = {}
        for op in program.ops:
            if isinstance(op, Experts):
                self._experts[_key(op)] = load_experts(op, fill, device)
                continue
            for weight in op_weights(op):
                if len(weight.shape) == 1:
                    self.vector(weight)
                else:
                    self.matrix(weight)
        slots = num_blocks * BLOCK_TOKENS
        self.keys = [
            torch.zeros((slots, s.kv_heads * s.head_dim), dtype=torch.bfloat16, device=device)
            for s in program.kv
        ]
        self.values = [
            torch.zeros_like(keys) if spec.value_dim is None else keys
            for spec, keys in zip(program.kv, self.keys, strict=True)
        ]

    def stack(self, weights: tuple[Weight, ...]) -> torch.Tensor:
        """The matrices below each other: [sum of rows, K] bf16."""
        if weights not in self._stacks:
            if len(weights) == 1 and weights[0] in self._views:
                return self._views[weights[0]]
            rows = sum(weight.shape[0] for weight in weights)
            shape = (rows, *weights[0].shape[1:])
            if weights[0] in self._on_host:
                place = torch.empty(shape, dtype=torch.bfloat16, pin_memory=self._device != "cpu")
            else:
                place = torch.empty(shape, dtype=torch.bfloat16, device=self._device)
            first = 0
            for weight in weights:
                view = place[first : first + weight.shape[0]]
                self._fill(weight, view)
                self._views.setdefault(weight, view)
                first += weight.shape[0]
            self._stacks[weights] = place
        return self._stacks[weights]

    def matrix(self, weight: Weight) -> torch.Tensor:
        """One matrix: [N, K] bf16."""
        return self._views[weight] if weight in self._views else self.stack((weight,))

    def experts(self, op: Experts) -> ExpertWeights:
        """The matrices and biases of a mixture."""
        return self._experts[_key(op)]

    def vector(self, weight: Weight, offset: float = 0.0) -> torch.Tensor:
        """One vector plus `offset`: [N] float32."""
        if (weight, offset) not in self._vectors:
            plain = self._vectors.get((weight, 0.0))
            if plain is None:
                plain = torch.empty(weight.shape, dtype=torch.float32, device=self._device)
                self._fill(weight, plain)
                self._vectors[weight, 0.0] = plain
            self._vectors[weight, offset] = plain + offset
        return self._vectors[weight, offset]

    def rotation(self, rope: Rope) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin of every position that can be reached, [positions, pairs] float32."""
        key = rope.frequencies, rope.scale
        if key not in self._rotations:
            places = np.arange(self._positions, dtype=np.float32)[:, None]
            angles = places * np.asarray(rope.frequencies, np.float32)
            scale = np.float32(rope.scale)
            self._rotations[key] = (
                torch.from_numpy(np.cos(angles) * scale).to(self._device),
                torch.from_numpy(np.sin(angles) * scale).to(self._device),
            )
        return self._rotations[key]

    @property
    def weight_bytes(self) -> int:
        """Bytes of matrices and vectors, wherever they lie."""
        held = [*self._stacks.values(), *self._vectors.values(), *self._experts.values()]
        return sum(tensor.nbytes for tensor in held)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the cache."""
        values = [v for k, v in zip(self.keys, self.values, strict=True) if v is not k]
        return sum(tensor.nbytes for tensor in [*self.keys, *values])


def fill_from(
    weights: Weights, total: int, progress: Callable[[int, int], None] | None = None
) -> Fill:
    """Copies tensors of a checkpoint, some rows at a time.

    `progress` hears of bytes copied and of the `total`. The copier raises BackendError for a tensor
    that does not have the shape the program asks for, or is a matrix in another format than bf16.
    """
    done = 0

    def fill(weight: Weight, place: torch.Tensor) -> None:
        nonlocal done
        stored = weights[weight.name]
        kind = _KINDS.get(place.dtype, "fp32")
        if stored.shape != weight.tensor.shape or (kind != "fp32" and stored.dtype != kind):
            raise BackendError(
                f"tensor '{weight.name}' is {stored.dtype} {stored.shape}, the cuda backend needs "
                f"{_WORDS[kind]} {weight.tensor.shape}"
            )
        index, last = (0, 0) if weight.stack is None else (weight.stack[0], weight.stack[1] - 1)
        if isinstance(weights, MappedWeights) and index == 0:
            weights.will_read(weight.name)
        for first, part in _pieces(weight, stored, place):
            piece = _tensor(part, place.dtype)
            place[first : first + len(piece)].copy_(piece)
            done += part.nbytes
            if progress is not None:
                progress(done, total)
        if isinstance(weights, MappedWeights) and index == last:
            weights.was_read(weight.name)

    return fill


def _pieces(weight: Weight, stored: Tensor, place: torch.Tensor) -> Iterator[tuple[int, Stored]]:
    """The rows of `weight`, some at a time, as stored: the number of the first, and they."""
    if weight.stack is not None:  # one matrix of several: an expert's
        yield 0, cut(weight, stored)
        return
    count = max(1, _ROWS_BYTES // max(1, place[:1].nbytes))
    for first in range(weight.rows.start, weight.rows.stop, count):
        rows = slice(first, min(first + count, weight.rows.stop))
        yield first - weight.first_row, stored[rows]


def _tensor(stored: Stored, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.float32:
        return torch.from_numpy(np.ascontiguousarray(widen(stored)))
    held = np.ascontiguousarray(stored)
    held = held if held.flags.writeable else held.copy()
    if dtype == torch.uint8:
        return torch.from_numpy(held)
    return torch.from_numpy(held.view(np.int16)).view(torch.bfloat16)


def _key(op: Experts) -> str:
    return f"{op.down[0].name} {op.down[0].stack}"


def _stacked(phases: Sequence[object]) -> list[tuple[Weight, ...]]:
    return [
        tuple(linear.weight for linear in phase.linears)
        for phase in phases
        if isinstance(phase, NormLinear)
    ]
