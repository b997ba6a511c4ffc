"""Operations to phases: what a machine does between two barriers. Pure, shared by all backends.

A phase is a run of operations whose inner buffers nobody reads afterwards, so a backend may keep
them in registers. What no pattern matches becomes a `Single`: correct, run as one operation, and
reported (`BackendReport.fallback_ops`). So does an operation with an optional field in use that
its phase is not known to carry (`CARRIED`), such as one added to the program later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    reads,
    variations,
    writes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRows:
    """Each row's residual stream starts as its token's row of the table."""

    embed: Embed


@dataclass(frozen=True, slots=True, kw_only=True)
class NormLinear:
    """Norm, then linears over its output, stacked: q, k and v. No norm: linears over one input."""

    norm: Norm | None
    linears: tuple[Linear, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Rotate q and k, append k and v, attend. The rotated q and k stay inside."""

    ropes: tuple[Rope, ...]
    append: AppendKv
    attend: Attend


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLinears:
    """Each head's part of the row by the head's own matrix."""

    linear: HeadLinear


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearResidual:
    """A linear whose output is added to the residual stream, which may then be read out."""

    linear: Linear
    add: Add
    tap: Tap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedMlp:
    """Norm if any, gate and up, activation: row i of gate and of up make output i."""

    norm: Norm | None
    gate: Linear
    up: Linear
    activate: Activate


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureMlp:
    """Norm, the router's linear, who counts, and the products of those experts."""

    norm: Norm
    router: Linear
    route: Route
    experts: Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSample:
    """Final norm, head and draw, for the sampled rows."""

    norm: Norm
    head: Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """One operation on its own: the fallback."""

    op: Op


# The optional fields that phases hand on to the machine, which must act on them.
CARRIED: Mapping[type[Op], frozenset[str]] = {
    Embed: frozenset({"scale"}),
    Norm: frozenset({"offset"}),
    Linear: frozenset({"bias"}),
    HeadLinear: frozenset({"transposed"}),
    Rope: frozenset({"part", "interleaved", "scale"}),
    Attend: frozenset({"window", "value_dim", "sinks"}),
    Activate: frozenset({"function"}),
    Route: frozenset({"normalised", "function", "correction", "groups", "scale"}),
    Experts: frozenset({"biases", "clamp"}),
}

Phase = (
    EmbedRows
    | NormLinear
    | HeadLinears
    | Attention
    | LinearResidual
    | GatedMlp
    | MixtureMlp
    | HeadSample
    | Single
)


def lower(program: Program) -> tuple[Phase, ...]:
    """The phases of `program`, in order; every operation is in exactly one."""
    ops = program.ops
    phases: list[Phase] = []
    start = 0
    while start < len(ops):
        phase, length = _match(ops, start)
        phases.append(phase)
        start += length
    return tuple(phases)


def operations(phase: Phase) -> tuple[Op, ...]:
    """The operations of `phase`, in order."""
    match phase:
        case EmbedRows():
            return (phase.embed,)
        case NormLinear():
            return (*_some(phase.norm), *phase.linears)
        case HeadLinears():
            return (phase.linear,)
        case Attention():
            return (*phase.ropes, phase.append, phase.attend)
        case LinearResidual():
            return (phase.linear, phase.add, *_some(phase.tap))
        case GatedMlp():
            return (*_some(phase.norm), phase.gate, phase.up, phase.activate)
        case MixtureMlp():
            return (phase.norm, phase.router, phase.route, phase.experts)
        case HeadSample():
            return (phase.norm, phase.head)
        case Single():
            return (phase.op,)


def _some(op: Op | None) -> tuple[Op, ...]:
    return () if op is None else (op,)


def _match(ops: Sequence[Op], start: int) -> tuple[Phase, int]:
    for pattern in _PATTERNS:
        found = pattern(ops, start)
        if found is not None and all(map(_carried, ops[start : start + found[1]])):
            return found
    return Single(op=ops[start]), 1


def _carried(op: Op) -> bool:
    return variations(op) <= CARRIED.get(type(op), frozenset())


def _embed(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    op = ops[start]
    return (EmbedRows(embed=op), 1) if isinstance(op, Embed) else None


def _head_linears(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    op = ops[start]
    return (HeadLinears(linear=op), 1) if isinstance(op, HeadLinear) else None


def _gated_mlp(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    match ops[start : start + 4]:
        case [Norm() as norm, Linear() as gate, Linear() as up, Activate() as activate]:
            wired = gate.inp == up.inp == norm.out and (activate.gate, activate.up) == (
                gate.out,
                up.out,
            )
            apart = len({norm.inp, norm.out, gate.out, up.out}) == 4 and activate.out != norm.inp
            if wired and apart and _unread(ops, start + 4, norm.out, gate.out, up.out):
                return GatedMlp(norm=norm, gate=gate, up=up, activate=activate), 4
        case _:
            pass
    return None


def _mixture(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    match ops[start : start + 4]:
        case [Norm() as norm, Linear() as router, Route() as route, Experts() as experts]:
            wired = norm.out == router.inp == experts.inp and route.inp == router.out
            if wired and experts.routed == route.out:
                return MixtureMlp(norm=norm, router=router, route=route, experts=experts), 4
        case _:
            pass
    return None


def _bare_gated_mlp(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    match ops[start : start + 3]:
        case [Linear() as gate, Linear() as up, Activate() as activate]:
            wired = gate.inp == up.inp and (activate.gate, activate.up) == (gate.out, up.out)
            apart = len({gate.inp, gate.out, up.out}) == 3 and activate.out != gate.inp
            if wired and apart and _unread(ops, start + 3, gate.out, up.out):
                return GatedMlp(norm=None, gate=gate, up=up, activate=activate), 3
        case _:
            pass
    return None


def _head(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    match ops[start : start + 2]:
        case [Norm() as norm, Head() as head] if head.inp == norm.out:
            if _unread(ops, start + 2, norm.out):
                return HeadSample(norm=norm, head=head), 2
        case _:
            pass
    return None


def _norm_linear(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    norm = ops[start]
    if not isinstance(norm, Norm):
        return None
    linears: list[Linear] = []
    for op in ops[start + 1 :]:
        if not isinstance(op, Linear) or op.inp != norm.out:
            break
        if op.out in {norm.inp, norm.out, *(linear.out for linear in linears)}:
            break
        linears.append(op)
    end = start + 1 + len(linears)
    if not linears or not _unread(ops, end, norm.out):
        return None
    return NormLinear(norm=norm, linears=tuple(linears)), end - start


def _bare_linears(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    linears: list[Linear] = []
    for op in ops[start:]:
        if not isinstance(op, Linear) or (linears and op.inp != linears[0].inp):
            break
        if op.out in {op.inp, *(linear.out for linear in linears)}:
            break
        linears.append(op)
    if len(linears) < 2:
        return None
    return NormLinear(norm=None, linears=tuple(linears)), len(linears)


def _attention(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    ropes: list[Rope] = []
    for op in ops[start:]:
        if not isinstance(op, Rope):
            break
        ropes.append(op)
    middle = start + len(ropes)
    match ops[middle : middle + 2]:
        case [AppendKv() as append, Attend() as attend]:
            same_layer = append.layer == attend.layer
            rotated = {rope.buffer for rope in ropes}
            apart = len(rotated) == len(ropes) and rotated <= {attend.q, append.k}
            inner = (attend.q, *reads(append))
            if same_layer and apart and _unread(ops, middle + 2, *inner):
                phase = Attention(ropes=tuple(ropes), append=append, attend=attend)
                return phase, middle + 2 - start
        case _:
            pass
    return None


def _linear_residual(ops: Sequence[Op], start: int) -> tuple[Phase, int] | None:
    match ops[start : start + 2]:
        case [Linear() as linear, Add() as add] if add.inp == linear.out != add.out:
            if linear.inp == add.out or not _unread(ops, start + 2, linear.out):
                return None
            after = ops[start + 2] if start + 2 < len(ops) else None
            tap = after if isinstance(after, Tap) and after.inp == add.out else None
            return LinearResidual(linear=linear, add=add, tap=tap), 2 + (tap is not None)
        case _:
            pass
    return None


def _unread(ops: Sequence[Op], start: int, *buffers: str) -> bool:
    """Whether each buffer is written before it is read again, from operation `start` on."""
    waiting = set(buffers)
    for op in ops[start:]:
        if waiting & set(reads(op)):
            return False
        written = writes(op)
        if written is not None:
            waiting.discard(written)
        if not waiting:
            return True
    return True


_PATTERNS = (
    _embed,
    _gated_mlp,
    _bare_gated_mlp,
    _mixture,
    _head,
    _norm_linear,
    _head_linears,
    _attention,
    _linear_residual,
    _bare_linears,
)
