"""A mixture of experts as launches: the router, then up, then down, which adds to the stream."""
# pyright: basic, reportMissingImports=false

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from headrace.backends.cuda import experts, products, router
from headrace.backends.cuda.expert_weights import ExpertWeights
from headrace.backends.cuda.launch import Launch
from headrace.backends.cuda.tiling import ExpertTiling
from headrace.model.lowering import MixtureMlp, Phase, Single, operations
from headrace.model.program import Add, Op, Tap, reads, writes

ROWS = products.ROWS.value
_MOST_WARPS = 16  # chosen: of a program
_SCORED = (
    4  # chosen: experts a program of the router scores, so that many programs share its matrix
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureResidual:
    """A mixture whose output is added to the residual stream, which may then be read out."""

    mixture: MixtureMlp
    add: Add
    tap: Tap | None


FusedPhase = Phase | MixtureResidual


def joined(phases: Sequence[Phase]) -> tuple[FusedPhase, ...]:
    """The phases, mixtures joined with what adds them to the stream where nobody looks between."""
    made: list[FusedPhase] = []
    rest = list(phases)
    while rest:
        match rest:
            case [MixtureMlp() as mixture, Single(op=Add() as add), *later] if (
                add.inp == mixture.experts.out
            ):
                inner = mixture.norm.out, mixture.router.out, mixture.route.out, add.inp
                tap = None
                match later:
                    case [Single(op=Tap() as after), *others] if after.inp == add.out:
                        tap, later = after, others
                    case _:
                        pass
                if add.out in inner or any(is_read(later, name) for name in inner):
                    made.append(mixture)
                    rest = rest[1:]
                    continue
                made.append(MixtureResidual(mixture=mixture, add=add, tap=tap))
                rest = later
            case _:
                made.append(rest[0])
                rest = rest[1:]
    return tuple(made)


def operations_of(phase: FusedPhase) -> tuple[Op, ...]:
    """The operations of `phase`, in order."""
    if isinstance(phase, MixtureResidual):
        return (*operations(phase.mixture), phase.add)
    return operations(phase)


def is_read(phases: Sequence[FusedPhase], name: str) -> bool:
    """Whether `phases` read buffer `name` before they write it."""
    for op in (op for phase in phases for op in operations_of(phase)):
        if name in reads(op):
            return True
        if writes(op) == name:
            return False
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Where a mixture finds its rows and leaves them, and how many there are."""

    inp: torch.Tensor  # [ROWS, K] float32
    out: torch.Tensor  # [ROWS, N] float32, added to
    positions: torch.Tensor  # [ROWS] int32, negative where there is no row
    rows: int
    group: int  # of the rows as the next product wants them
    follows: bool  # whether it wants them
    gamma: torch.Tensor
    next_x: torch.Tensor
    next_squares: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What scores the experts."""

    norm: torch.Tensor
    matrix: torch.Tensor  # [experts, K] bf16
    bias: torch.Tensor | None


Scratch = Callable[[str, int, torch.dtype], torch.Tensor]  # of a name, a count and a type
ExpertTilings = Callable[[int, int, int], ExpertTiling]  # of outputs, inputs, experts at a time


def mixture_launches(
    phase: MixtureMlp,
    weights: ExpertWeights,
    stream: Stream,
    scores_by: Router,
    scratch: Scratch,
    tilings: ExpertTilings,
) -> tuple[Launch, ...]:
    """The router, up and down kernels of `phase`, whose weights are `scores_by` and `weights`."""
    K, N, inner = weights.up.inputs, weights.down.outputs, weights.down.inputs
    count, top = len(phase.experts.gate), phase.experts.top
    quantised = weights.up.scales is not None
    picks = ROWS * top
    scores = scratch("scores", ROWS * count, torch.float32)
    chosen = scratch("chosen", picks, torch.int32)
    x = scratch("routed", ROWS * 2 * K, torch.bfloat16)
    made = scratch("made", picks * 2 * inner, torch.bfloat16)
    shared = {
        "scores": scores,
        "chosen": chosen,
        "positions": stream.positions,
        "n_rows": stream.rows,
        "EXPERTS": count,
        "PADDED": _power_of_two(count),
        "TOP": top,
        "QUANTISED": quantised,
        "HAS_BIAS": weights.has_bias,
        "FIRST": True,
    }
    clamp = phase.experts.clamp
    slots = _power_of_two(top)
    first, second = tilings(2 * inner, K, 1), tilings(N, inner, slots)
    share = min(count, stream.rows * top) / count
    return (
        Launch(
            phase="router",
            kernel=router.score,
            grid=(-(-count // _SCORED), stream.rows),
            warps=8,
            read_bytes=scores_by.matrix.nbytes,
            arguments={
                "inp": stream.inp,
                "inp_stride": stream.inp.stride(0),
                "gamma": scores_by.norm,
                "w": scores_by.matrix,
                "bias": scores if scores_by.bias is None else scores_by.bias,
                "scores": scores,
                "next_x": x,
                "eps": phase.norm.eps,
                "K": K,
                "PADDED": _power_of_two(K),
                "EXPERTS": count,
                "HAS_BIAS": scores_by.bias is not None,
                "QUANTISED": quantised,
                "BN": _SCORED,
            },
        ),
        Launch(
            phase="experts up",
            kernel=experts.up,
            grid=(-(-2 * inner // first.outputs) * stream.rows * top,),
            warps=first.parts,
            read_bytes=int(weights.up.nbytes * share),
            arguments={
                **shared,
                "x": x,
                "w": weights.up.numbers,
                "scales": scores if weights.up.scales is None else weights.up.scales,
                "bias": weights.up_bias,
                "next_x": made,
                "alpha": clamp.alpha if clamp else 0.0,
                "limit": clamp.limit if clamp else 0.0,
                "K": K,
                "N": 2 * inner,
                "CLAMPED": clamp is not None,
                "BN": first.outputs,
                "PARTS": first.parts,
                "DEEP": first.runs,
                "STAGES": first.stages,
            },
        ),
        Launch(
            phase="experts down",
            kernel=experts.down,
            grid=(-(-N // second.outputs) * stream.rows,),
            warps=min(_MOST_WARPS, slots * second.parts),
            read_bytes=int(weights.down.nbytes * share),
            arguments={
                **shared,
                "x": made,
                "w": weights.down.numbers,
                "scales": scores if weights.down.scales is None else weights.down.scales,
                "bias": weights.down_bias,
                "out": stream.out,
                "gamma": stream.gamma,
                "next_x": stream.next_x,
                "next_squares": stream.next_squares,
                "K": inner,
                "N": N,
                "NORMALISED": phase.route.normalised,
                "NEXT": stream.follows,
                "GROUP": stream.group,
                "BN": second.outputs,
                "PARTS": slots * second.parts,
                "WIDE": second.parts,
                "DEEP": second.runs,
                "STAGES": second.stages,
            },
        ),
    )


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
