"""The matrices and biases of a mixture's experts, as the kernels read them.

Gate and up of an expert are one matrix whose rows lie in turn, gate first. bf16 matrices lie as
[experts, outputs, inputs], MXFP4 ones at four bits in `fragments`. Loading needs one expert's
matrix beside them.
"""
# pyright: basic, reportMissingImports=false

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from headrace.backends.cuda import fragments
from headrace.errors import BackendError
from headrace.model.mxfp4 import NAN_SCALE
from headrace.model.program import MXFP4_BLOCK, Experts, Weight

# Writes a tensor of the checkpoint, or a part of one, into its place on the device.
Fill = Callable[[Weight, torch.Tensor], None]

# Scales with which every MXFP4 value is a normal bf16 number, and 2^(scale - 1) is one, too.
_LEAST_SCALE, _LARGEST_SCALE = 2, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertMatrices:
    """One matrix [outputs, inputs] of each expert."""

    numbers: torch.Tensor  # bf16 [E, outputs, inputs], or codes: `fragments.shapes` behind [E]
    scales: torch.Tensor | None  # of codes
    outputs: int
    inputs: int

    def matrix(self, expert: int) -> torch.Tensor:
        """That of one expert: [outputs, inputs] bf16, made of its codes if need be."""
        if self.scales is None:
            return self.numbers[expert]
        lanes, words = self.numbers[expert], self.scales[expert]
        return fragments.numbers(lanes, words, self.outputs, self.inputs)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertWeights:
    """All of a layer's experts."""

    up: ExpertMatrices  # [2 inner, width]: gate and up in turn
    down: ExpertMatrices  # [width, inner]
    up_bias: torch.Tensor  # float32 [E, 2 inner]; empty if there are none
    down_bias: torch.Tensor  # float32 [E, width]

    @property
    def has_bias(self) -> bool:
        """Whether something is added to the products."""
        return self.up_bias.numel() > 0

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self.up.nbytes + self.down.nbytes + self.up_bias.nbytes + self.down_bias.nbytes


def load_experts(op: Experts, fill: Fill, device: str) -> ExpertWeights:
    """Allocate, and let `fill` write, expert by expert.

    Raises BackendError where MXFP4 leaves the range of the kernels.
    """
    pairs = tuple(zip(op.gate, op.up, strict=True))
    biases = tuple((gate, up) for gate, up, _ in op.biases)
    return ExpertWeights(
        up=_matrices(pairs, fill, device),
        down=_matrices(tuple((down,) for down in op.down), fill, device),
        up_bias=_vectors(biases, fill, device),
        down_bias=_vectors(tuple((down,) for _, _, down in op.biases), fill, device),
    )


def _matrices(experts: tuple[tuple[Weight, ...], ...], fill: Fill, device: str) -> ExpertMatrices:
    """Of each expert the matrices of its tuple, all of one shape, their rows in turn."""
    first, step = experts[0][0], len(experts[0])
    rows, inputs = first.shape
    outputs = rows * step
    if first.scales is None:
        numbers = torch.empty((len(experts), outputs, inputs), dtype=torch.bfloat16, device=device)
        for place, weights in zip(numbers, experts, strict=True):
            for i, weight in enumerate(weights):
                fill(weight, place[i::step])
        return ExpertMatrices(numbers=numbers, scales=None, outputs=outputs, inputs=inputs)
    lanes, words = fragments.shapes(outputs, inputs)
    numbers = torch.empty((len(experts), *lanes), dtype=torch.int16, device=device)
    scales = torch.empty((len(experts), *words), dtype=torch.int32, device=device)
    blocks = inputs // MXFP4_BLOCK
    codes = torch.empty((outputs, blocks, MXFP4_BLOCK // 2), dtype=torch.uint8, device=device)
    shifts = torch.empty((outputs, blocks), dtype=torch.uint8, device=device)
    for e, weights in enumerate(experts):
        for i, weight in enumerate(weights):
            code_part, scale_part = _parts(weight)
            fill(code_part, codes[i::step])
            fill(scale_part, shifts[i::step])
        numbers[e], scales[e] = fragments.packed(codes, _checked(first, codes, shifts))
    return ExpertMatrices(numbers=numbers, scales=scales, outputs=outputs, inputs=inputs)


def _vectors(experts: tuple[tuple[Weight, ...], ...], fill: Fill, device: str) -> torch.Tensor:
    if not experts:
        return torch.empty(0, dtype=torch.float32, device=device)
    step = len(experts[0])
    shape = len(experts), step * experts[0][0].shape[0]
    found = torch.empty(shape, dtype=torch.float32, device=device)
    for place, weights in zip(found, experts, strict=True):
        for i, weight in enumerate(weights):
            fill(weight, place[i::step])
    return found


def _parts(weight: Weight) -> tuple[Weight, Weight]:
    """The codes and the scales of an MXFP4 weight, as parts of their tensors."""
    assert weight.scales is not None
    rows, inputs = weight.shape
    shape = rows, inputs // MXFP4_BLOCK
    codes = replace(weight, shape=(*shape, MXFP4_BLOCK // 2), scales=None, holds="codes")
    scales = replace(weight, name=weight.scales, shape=shape, scales=None, holds="scales")
    return codes, scales


def _checked(weight: Weight, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """`scales`, where a block is all zero one that does no harm; see `_LARGEST_SCALE`."""
    outside = (scales < _LEAST_SCALE) | (scales > _LARGEST_SCALE)
    if not bool(outside.any()):
        return scales
    counts = ((codes & 0x77) != 0).any(dim=-1) | (scales == NAN_SCALE)
    if bool((outside & counts).any()):
        raise BackendError(
            f"tensor '{weight.scales}' has scales beyond {_LEAST_SCALE}..{_LARGEST_SCALE}, which "
            "the cuda backend's kernels do not reach: serve it with 'engine.backend' cpu"
        )
    return torch.where(outside, _LEAST_SCALE, scales)
