"""How long a token takes on the machine: closed forms of these kernels, operation by operation.

What is counted is what these kernels do: each matrix is reduced by itself, and scores of all heads
go over the whole line. Rotations, activations and residuals stay on a core and are part of what a
vector instruction costs; going from one region to the next, and from one axis to the other, is not
counted.
"""

from collections.abc import Iterator

from headrace.backends.wafer.stages import ProgramStage, stages_of
from headrace.model.program import Attend, Embed, Head, HeadLinear, Linear, Norm, Program
from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Cycles, Pace, all_reduce, vectors
from headrace.wafer.placement import Placement
from headrace.wafer.rectangle import Rectangle

_PAIR = 4  # 16-bit numbers of a value in float32 with its index


def token_cycles(program: Program, placement: Placement, context: int) -> dict[str, Cycles]:
    """One decoded token with `context` tokens to attend to, itself included: cycles by stage."""
    pace = Pace.of(placement.machine)
    found: dict[str, Cycles] = {}
    for stage in stages_of(program):
        # What has no matrix of its own, a tied embedding, lies with the head.
        name = stage.name if stage.matrices else "head"
        rectangle = placement.region_of(name).rectangle
        found[stage.name] = stage_cycles(stage, rectangle, context, pace)
    return found


def stage_cycles(stage: ProgramStage, rectangle: Rectangle, context: int, pace: Pace) -> Cycles:
    """What one stage takes on `rectangle`."""
    return sum(_of_stage(stage, rectangle, context, pace), Cycles())


def _of_stage(
    stage: ProgramStage, rectangle: Rectangle, context: int, pace: Pace
) -> Iterator[Cycles]:
    matrices = iter(stage.matrices)
    for number, op in enumerate(stage.ops):
        match op:
            case Embed():
                if stage.matrices:
                    next(matrices)
                yield _multicast(-(-op.table.shape[1] // rectangle.rows), rectangle.columns)
            case Norm():
                side = rectangle.side(stage.norms[number].axis)
                yield all_reduce(side, default_groups(side), 1, pace)
            case Linear() | HeadLinear() | Head():
                for _ in range(len(op.weights) if isinstance(op, HeadLinear) else 1):
                    placed = next(matrices)
                    reduce = rectangle.side(placed.inputs.axis)
                    across = rectangle.side(placed.outputs.axis)
                    local = -(-len(placed.outputs.order) // across)
                    inputs = -(-len(placed.inputs.order) // reduce)
                    yield vectors(inputs, local, pace)
                    yield all_reduce(reduce, default_groups(reduce), local, pace)
                if isinstance(op, Head):
                    columns = rectangle.columns
                    yield all_reduce(columns, default_groups(columns), _PAIR, pace)
            case Attend():
                yield from _attention(op, rectangle, context, pace)
            case _:
                pass


def _attention(op: Attend, rectangle: Rectangle, context: int, pace: Pace) -> Iterator[Cycles]:
    columns, rows = rectangle.columns, rectangle.rows
    seen = context if op.window is None else min(context, op.window)
    tokens = -(-seen // rows)
    group = op.heads // op.kv_heads
    keys = -(-op.kv_heads * op.head_dim // columns)
    value_dim = op.head_dim if op.value_dim is None else op.value_dim
    values = -(-op.kv_heads * value_dim // columns)
    yield vectors(keys * group, tokens, pace)  # scores
    yield all_reduce(columns, default_groups(columns), tokens * op.heads, pace)
    yield all_reduce(rows, default_groups(rows), op.heads, pace)  # their maximum
    yield all_reduce(rows, default_groups(rows), op.heads, pace)  # their sum
    yield vectors(tokens, values * group, pace)
    yield all_reduce(rows, default_groups(rows), values * group, pace)


def _multicast(elements: int, cores: int) -> Cycles:
    """`elements` 16-bit numbers from one core of a line to all."""
    return Cycles(hops=float(cores), words=float(-(-elements // 2)))
