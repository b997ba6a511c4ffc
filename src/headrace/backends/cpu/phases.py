"""Declares a lowered program to the native machine: each phase becomes one native phase."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from headrace.backends.base import Weights
from headrace.backends.cpu.layout import (
    LANES,
    PackedMatrix,
    alternating,
    by_head,
    by_source,
    stacked,
)
from headrace.model.lowering import (
    Attention,
    EmbedRows,
    GatedMlp,
    HeadLinears,
    HeadSample,
    LinearResidual,
    MixtureMlp,
    NormLinear,
    Phase,
    Single,
    operations,
)
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    Embed,
    Experts,
    Head,
    HeadLinear,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Route,
    Tap,
    Weight,
    op_weights,
    reads,
    variations,
)
from headrace.model.weight_part import numbers

if TYPE_CHECKING:
    from headrace.backends.cpu import _native

_STORE, _ADD = 0, 1  # native Finish
_MULTIPLY = {"silu": 2, "gelu_tanh": 3}  # native Finish of each activation
# The optional fields of operations that are declared to the machine; others are refused.
_DECLARED: Mapping[type[Op], frozenset[str]] = {
    Embed: frozenset({"scale"}),
    Norm: frozenset({"offset", "heads", "rest"}),
    Linear: frozenset({"bias"}),
    HeadLinear: frozenset({"transposed"}),
    Rope: frozenset({"part", "interleaved", "scale"}),
    Attend: frozenset({"window", "value_dim", "sinks"}),
    Activate: frozenset({"function"}),
    Route: frozenset({"normalised", "function", "correction", "groups", "scale"}),
    Experts: frozenset({"biases", "clamp"}),
}
_BF16, _FP16, _MXFP4 = 0, 1, 2  # native Format
_FORMATS = {np.dtype(np.uint16): _BF16, np.dtype(np.float16): _FP16, np.dtype(np.uint8): _MXFP4}


def runnable(phases: Sequence[Phase], weights: Weights) -> tuple[Phase, ...]:
    """`phases`, with those that cannot run fused taken apart.

    Their buffers overlap too oddly, or they would stack bf16 and fp16 in one matrix.
    """
    result: list[Phase] = []
    for phase in phases:
        if _overlaps(phase) or _mixes(phase, weights):
            result += [Single(op=op) for op in operations(phase)]
        else:
            result.append(phase)
    return tuple(result)


def experts_of(phase: Phase) -> tuple[Experts, ...]:
    """The mixtures of `phase`, whose matrices are packed one by one."""
    return tuple(op for op in operations(phase) if isinstance(op, Experts))


def _packed_of(phase: Phase, matrix: PackedMatrix | None) -> list[PackedMatrix]:
    """All that `phase` reads, `matrix` first."""
    found = [] if matrix is None else [matrix]
    for experts in experts_of(phase):
        found += [*_ups(experts), *_downs(experts)]
    return found


def _ups(op: Experts) -> list[PackedMatrix]:
    return [alternating(gate, up) for gate, up in zip(op.gate, op.up, strict=True)]


def _downs(op: Experts) -> list[PackedMatrix]:
    return [stacked(down) for down in op.down]


def matrices_of(phases: Sequence[Phase], workers: int) -> list[PackedMatrix | None]:
    """What each phase reads as one packed matrix, if anything."""
    found = [_matrix_of(phase) for phase in phases]
    for i, pair in enumerate(pairwise(phases)):
        match pair:
            case NormLinear(linears=(q, k, v)), Attention(append=append, attend=attend):
                if (q.out, k.out, v.out) == (attend.q, append.k, append.v):
                    found[i] = by_head(
                        q.weight, k.weight, v.weight, kv_heads=attend.kv_heads, workers=workers
                    )
            case _:
                pass
    return found


def _matrix_of(phase: Phase) -> PackedMatrix | None:
    match phase:
        case EmbedRows():
            return stacked(phase.embed.table)
        case NormLinear():
            return stacked(*(linear.weight for linear in phase.linears))
        case HeadLinears(linear=op) | Single(op=HeadLinear() as op):
            return by_source(op.weights, transposed=op.transposed)
        case LinearResidual(linear=op) | MixtureMlp(router=op):
            return stacked(op.weight)
        case GatedMlp():
            return alternating(phase.gate.weight, phase.up.weight)
        case HeadSample():
            return stacked(phase.head.weight)
        case Single(op=Linear() | Head() as op):
            return stacked(op.weight)
        case Single(op=Embed() as op):
            return stacked(op.table)
        case Attention() | Single():
            return None


def _overlaps(phase: Phase) -> bool:
    """Whether fused workers could read what another has overwritten already.

    The native linear phase guards an output that is its own input; nothing else is guarded.
    """
    match phase:
        case NormLinear():
            outs = [linear.out for linear in phase.linears]
            return len(set(outs)) < len(outs)
        case GatedMlp():
            if phase.norm is None:
                return phase.gate.out == phase.up.out
            return len({phase.norm.out, phase.gate.out, phase.up.out}) < 3
        case Attention():
            append, attend = phase.append, phase.attend
            shapes = {(rope.heads, rope.head_dim, rope.buffer) for rope in phase.ropes}
            fit = shapes <= {
                (attend.heads, attend.head_dim, attend.q),
                (attend.kv_heads, attend.head_dim, append.k),
            }
            kept = reads(append)
            return not fit or len({attend.q, *kept}) <= len(kept) or attend.out in kept
        case (
            EmbedRows() | HeadLinears() | LinearResidual() | MixtureMlp() | HeadSample() | Single()
        ):
            return False


def _mixes(phase: Phase, weights: Weights) -> bool:
    matrix = _matrix_of(phase)
    return matrix is not None and len({weights[w.name].dtype for w in matrix.sources}) > 1


class Declaration:
    """Declares one program to one machine; remembers which tensor went into which matrix."""

    def __init__(self, machine: "_native.Machine", program: Program, weights: Weights) -> None:
        self._machine = machine
        self._weights = weights
        self._kv = program.kv
        self._buffers = {name: machine.add_buffer(w) for name, w in program.buffers.items()}
        self._vectors: dict[tuple[Weight, float], int] = {}
        self._ropes: dict[tuple[object, ...], int] = {}
        self._matrices: dict[PackedMatrix, int] = {}
        self._inner: dict[int, int] = {}
        self.ends: list[int] = []  # of each phase: how many of the machine's there are with it
        for spec in program.kv:
            machine.add_layer(spec.kv_heads, spec.head_dim, spec.value_dim)

    def declare(self, phases: Sequence[Phase]) -> None:
        """Declare every phase, then memory; ValueError on what this backend does not know."""
        for op in (op for phase in phases for op in operations(phase)):
            unknown = variations(op) - _DECLARED.get(type(op), frozenset())
            if unknown:
                raise ValueError(f"{type(op).__name__} with {', '.join(sorted(unknown))}")
            if not isinstance(op, Experts) and any(w.scales is not None for w in op_weights(op)):
                raise ValueError(f"{type(op).__name__} with weights in MXFP4")
        # Matrices lie in memory in this order: that of execution. The embedding reads one row
        # and may share the head's matrix, so it comes last.
        matrices = matrices_of(phases, self._machine.workers)
        for embeds in (False, True):
            for phase, matrix in zip(phases, matrices, strict=True):
                is_embed = isinstance(operations(phase)[0], Embed)
                for each in _packed_of(phase, matrix) if is_embed == embeds else ():
                    self._declare_matrix(each)
        for phase, matrix in zip(phases, matrices, strict=True):
            if matrix is None:
                self._declare_weightless(phase)
            else:
                self._declare_weighted(phase, self._matrices[matrix])
            self.ends.append(self._machine.num_phases)
        self._machine.allocate()

    @property
    def matrices(self) -> tuple[PackedMatrix, ...]:
        """What is packed, in the order of memory."""
        return tuple(self._matrices)

    def tensors(self) -> Iterator[tuple[Weight, int, int, bool]]:
        """Each tensor to pack, its matrix, its place among that matrix's sources, if transposed."""
        for packed, matrix in self._matrices.items():
            for source, weight in enumerate(packed.sources):
                yield weight, matrix, source, packed.transposed

    def _declare_matrix(self, packed: PackedMatrix) -> None:
        if packed not in self._matrices:
            self._matrices[packed] = self._machine.add_matrix(
                packed.rows,
                packed.inputs,
                packed.order(),
                packed.unit,
                packed.grain,
                packed.apart,
                self._format(packed),
            )

    def _format(self, packed: PackedMatrix) -> int:
        formats = {_FORMATS[self._weights[source.name].dtype] for source in packed.sources}
        if len(formats) > 1:
            raise ValueError(f"'{packed.sources[0].name}' and its like are of several formats")
        return formats.pop()

    def _vector(self, weight: Weight, offset: float = 0.0) -> int:
        key = weight, offset
        if key not in self._vectors:
            values = numbers(weight, self._weights) + np.float32(offset)
            self._vectors[key] = self._machine.add_vector(np.ascontiguousarray(values))
        return self._vectors[key]

    def _rope(self, op: Rope) -> int:
        first, width = (0, op.head_dim) if op.part is None else op.part
        if width != 2 * len(op.frequencies):
            raise ValueError(f"rope: {len(op.frequencies)} frequencies for {width} values")
        key = op.frequencies, first, op.interleaved, op.scale
        if key not in self._ropes:
            values = np.asarray(op.frequencies, np.float32)
            self._ropes[key] = self._machine.add_rope(values, first, op.interleaved, op.scale)
        return self._ropes[key]

    def _norm(self, norm: Norm) -> tuple[int, float]:
        return self._vector(norm.weight, norm.offset), norm.eps

    def _bias(self, linear: Linear) -> int | None:
        return None if linear.bias is None else self._vector(linear.bias)

    def _declare_weighted(self, phase: Phase, matrix: int) -> None:
        machine, buffers = self._machine, self._buffers
        match phase:
            case EmbedRows(embed=op) | Single(op=Embed() as op):
                machine.embed(buffers[op.out], matrix, op.scale)
            case NormLinear():
                self._linear(matrix, phase.linears, norm=phase.norm)
            case HeadLinears(linear=op) | Single(op=HeadLinear() as op):
                machine.head_linear(matrix, buffers[op.inp], buffers[op.out])
            case LinearResidual():
                inp, out = buffers[phase.linear.inp], buffers[phase.add.out]
                tap = None if phase.tap is None else phase.tap.layer
                machine.linear(matrix, inp, None, [self._bias(phase.linear)], [out], _ADD, tap)
            case GatedMlp():
                machine.linear(
                    matrix,
                    buffers[phase.gate.inp if phase.norm is None else phase.norm.inp],
                    None if phase.norm is None else self._norm(phase.norm),
                    [self._bias(phase.gate), self._bias(phase.up)],
                    [buffers[phase.activate.out]],
                    _MULTIPLY[phase.activate.function],
                    None,
                )
            case MixtureMlp() | Single(op=Linear()):
                self._mixture(operations(phase), matrix)
            case HeadSample():
                machine.head(matrix, buffers[phase.norm.inp], self._norm(phase.norm))
            case Single(op=Head() as op):
                machine.head(matrix, buffers[op.inp], None)
            case Attention() | Single():
                raise AssertionError("a phase without weights")

    def _declare_weightless(self, phase: Phase) -> None:
        match phase:
            case Attention():
                self._attention(phase.ropes, phase.append, phase.attend)
            case Single(op=AppendKv() as op):
                self._attention((), op, None)
            case Single(op=Attend() as op):
                self._attention((), None, op)
            case Single(op=Norm() | Rope() | Activate() | Route() | Add() | Tap() as op):
                self._declare_row_operation(op)
            case Single(op=Experts() as op):
                self._experts(op)
            case _:
                raise AssertionError("a phase with weights")

    def _declare_row_operation(self, op: Norm | Rope | Activate | Route | Add | Tap) -> None:
        machine, buffers = self._machine, self._buffers
        match op:
            case Norm():
                norm = self._norm(op)
                machine.norm(buffers[op.inp], buffers[op.out], *norm, op.heads, op.rest)
            case Rope():
                machine.rope(buffers[op.buffer], self._rope(op), op.heads)
            case Activate():
                gate, up, out = buffers[op.gate], buffers[op.up], buffers[op.out]
                machine.activate(gate, up, out, _MULTIPLY[op.function])
            case Route():
                machine.route(
                    buffers[op.inp],
                    buffers[op.out],
                    op.top,
                    op.normalised,
                    op.function == "sigmoid",
                    None if op.correction is None else self._vector(op.correction),
                    op.groups,
                    op.scale,
                )
            case Add():
                machine.add(buffers[op.inp], buffers[op.out])
            case Tap():
                machine.tap(buffers[op.inp], op.layer)

    def _linear(self, matrix: int, linears: Sequence[Linear], *, norm: Norm | None) -> None:
        self._machine.linear(
            matrix,
            self._buffers[linears[0].inp if norm is None else norm.inp],
            None if norm is None else self._norm(norm),
            [self._bias(linear) for linear in linears],
            [self._buffers[linear.out] for linear in linears],
            _STORE,
            None,
        )

    def _mixture(self, ops: Sequence[Op], matrix: int) -> None:
        """All of it, or its router's linear alone; `matrix` is the router's."""
        for op in ops:
            match op:
                case Linear():
                    self._linear(matrix, (op,), norm=None)
                case Norm() | Route():
                    self._declare_row_operation(op)
                case Experts():
                    self._experts(op)
                case _:
                    raise AssertionError("not of a mixture")

    def _experts(self, op: Experts) -> None:
        width = -(-op.gate[0].shape[0] // LANES) * LANES
        self._machine.experts(
            [self._matrices[matrix] for matrix in _ups(op)],
            [self._matrices[matrix] for matrix in _downs(op)],
            self._buffers[op.inp],
            self._buffers[op.routed],
            self._slots(op.top * width),
            self._buffers[op.out],
            width,
            [(self._vector(g), self._vector(u), self._vector(d)) for g, u, d in op.biases],
            None if op.clamp is None else (op.clamp.alpha, op.clamp.limit),
        )

    def _slots(self, width: int) -> int:
        """A buffer for what experts make, the same for all layers."""
        if width not in self._inner:
            self._inner[width] = self._machine.add_buffer(width)
        return self._inner[width]

    def _attention(
        self, ropes: Sequence[Rope], append: AppendKv | None, attend: Attend | None
    ) -> None:
        rotations = {rope.buffer: self._rope(rope) for rope in ropes}
        layer = append.layer if append is not None else attend.layer if attend is not None else 0
        if attend is not None and attend.value_dim != self._kv[layer].value_dim:
            raise ValueError(
                f"attend: values of {attend.value_dim}, unlike the cache of layer {layer}"
            )
        self._machine.attention(
            layer,
            None if attend is None else rotations.get(attend.q),
            None if append is None else rotations.get(append.k),
            None if append is None else self._buffers[append.k],
            None if append is None or append.v is None else self._buffers[append.v],
            None if attend is None else self._buffers[attend.q],
            None if attend is None else self._buffers[attend.out],
            0 if attend is None else attend.heads,
            0.0 if attend is None else attend.scale,
            None if attend is None else attend.window,
            None if attend is None or attend.sinks is None else self._vector(attend.sinks),
        )
