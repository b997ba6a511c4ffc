"""A token's time on the simulated machine, under the names that phases have on every machine."""

from collections.abc import Sequence

from headrace.backends.phase_times import (
    ATTENTION,
    DOWN,
    EMBEDDING,
    EXPERTS,
    GATE_UP,
    HEAD,
    OUTPUT,
    PROJECTIONS,
    PhaseTime,
)
from headrace.backends.wafer.stages import stages_of
from headrace.backends.wafer.timing import StageWork, token_works
from headrace.model.program import Attend, Embed, Head, Linear, Norm, Op, Program
from headrace.wafer.cycles import Pace, time_of
from headrace.wafer.placement import Placement

HAND_OVER = "from region to region"


def simulated_phases(program: Program, placement: Placement, context: int) -> tuple[PhaseTime, ...]:
    """Of one token with `context` tokens to attend to, itself included."""
    machine = placement.machine
    pace = Pace.of(machine)
    found: dict[str, float] = {}
    ops = {stage.name: stage.ops for stage in stages_of(program)}
    for stage in token_works(program, placement, context):
        columns, rows = stage.rectangle.columns, stage.rectangle.rows
        names = [HAND_OVER] * len(stage.entry) + _names(stage, ops[stage.name])
        for work, name in zip((*stage.entry, *stage.works), names, strict=True):
            spent = time_of([work], columns=columns, rows=rows, pace=pace).total
            found[name] = found.get(name, 0.0) + spent
    clock_hz = machine.clock_hz.value
    return tuple(PhaseTime(name=name, seconds=c / clock_hz) for name, c in found.items())


def _names(stage: StageWork, ops: Sequence[Op]) -> list[str]:
    """The phase each work belongs to; a norm goes with what follows it."""
    if any(isinstance(op, Head) for op in ops):
        return [HEAD] * len(stage.works)
    if all(isinstance(op, Embed) for op in ops):
        return [EMBEDDING] * len(stage.works)
    after = {name: phase for names, phase in _products(ops) for name in names}
    found: list[str] = []
    pending = 0
    for work in stage.works:
        first = work.name.partition(",")[0]
        if first in after:
            found += [after[first]] * (pending + 1)
            pending = 0
        elif first in _ATTENDS:
            found += [ATTENTION] * (pending + 1)
            pending = 0
        else:
            pending += 1
    found += [found[-1] if found else EMBEDDING] * pending
    return _with_experts(stage, found)


def _with_experts(stage: StageWork, found: list[str]) -> list[str]:
    """`found`, but from the norm before the router to the experts' last sum it is the experts'."""
    works = [work.name for work in stage.works]
    if _ROUTE not in works:
        return found
    first = len(found) - found[::-1].index(OUTPUT)
    end = len(works) - works[::-1].index(_LAST_OF_EXPERTS)
    return found[:first] + [EXPERTS] * (end - first) + found[end:]


_ROUTE, _LAST_OF_EXPERTS = "scores of experts", "down"
_ATTENDS = ("scores", "softmax maximum", "softmax sum", "values")


def _products(ops: Sequence[Op]) -> list[tuple[list[str], str]]:
    """The names of a layer's products, by the phase they belong to."""
    attends = next((i for i, op in enumerate(ops) if isinstance(op, Attend)), len(ops))
    before = [op for op in ops[:attends] if isinstance(op, Linear)]
    behind = [op for op in ops[attends:] if isinstance(op, Linear | Norm)]
    norm = next((i for i, op in enumerate(behind) if isinstance(op, Norm)), len(behind))
    mlp = [op for op in behind[norm:] if isinstance(op, Linear)]
    return [
        (_short(before), PROJECTIONS),
        (_short([op for op in behind[:norm] if isinstance(op, Linear)]), OUTPUT),
        (_short(mlp[:-1]), GATE_UP),
        (_short(mlp[-1:]), DOWN),
    ]


def _short(ops: list[Linear]) -> list[str]:
    return [op.weight.name.removesuffix(".weight").rpartition(".")[2] for op in ops]
