"""What a token is on the machine, work by work, and how long that takes.

What is counted is what these kernels do: matrices that read the same vector are reduced together,
scores of all heads go over the whole line. Rotations, activations and residuals stay on a core and
are part of what a vector instruction costs. Sinks are what a sum begins with, and cost nothing. A
choice among experts is a pass of vector instructions over all scores for each that is chosen, and
two to find the best groups. Numbers of four bits are widened by a vector instruction before the one
that multiplies: an assumption, as nobody has published how a core would read them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from headrace.backends.wafer.stages import PlacedMatrix, ProgramStage, stages_of
from headrace.model.program import (
    Attend,
    Embed,
    Experts,
    Head,
    HeadLinear,
    Linear,
    Norm,
    Op,
    Program,
    Route,
)
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.events import Run
from headrace.wafer.kernels import simulated
from headrace.wafer.machine import Machine, whole
from headrace.wafer.placement import Placement
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.work import Multicast, Passage, Reduction, Vectors, Work, passage

_PAIR = 4  # 16-bit numbers of a value in float32 with its index


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWork:
    """What a stage's region does for a token."""

    name: str
    rectangle: Rectangle
    entry: tuple[Passage, ...]  # how the vector comes from the region before; none: it is there
    works: tuple[Work, ...]

    def cycles(self, pace: Pace) -> Cycles:
        """How long all of it takes."""
        sides = self.rectangle.columns, self.rectangle.rows
        return time_of((*self.entry, *self.works), columns=sides[0], rows=sides[1], pace=pace)


def token_works(program: Program, placement: Placement, context: int) -> list[StageWork]:
    """One decoded token with `context` tokens to attend to, itself included, stage by stage.

    Regions follow each other; the token drawn at last goes back to where the next one begins.
    """
    found: list[StageWork] = []
    stages = stages_of(program)
    # What has no matrix of its own, a tied embedding, lies with the head.
    places = [placement.region_of(s.name if s.matrices else "head").rectangle for s in stages]
    width = next(op.table.shape[1] for op in program.ops if isinstance(op, Embed))
    for number, (stage, rectangle) in enumerate(zip(stages, places, strict=True)):
        before = places[number - 1]  # of the first: the last, whose token it is
        entry: tuple[Passage, ...] = ()
        if before != rectangle:
            entry = (passage("hand-over", before, rectangle, width if number else _PAIR),)
        works = tuple(stage_works(stage, rectangle, context))
        found.append(StageWork(name=stage.name, rectangle=rectangle, entry=entry, works=works))
    return found


def token_cycles(program: Program, placement: Placement, context: int) -> dict[str, Cycles]:
    """What `token_works` take with the machine's own constants: cycles by stage."""
    pace = Pace.of(placement.machine)
    return {work.name: work.cycles(pace) for work in token_works(program, placement, context)}


def stage_works(stage: ProgramStage, rectangle: Rectangle, context: int) -> Iterator[Work]:
    """What one stage does on `rectangle`."""
    matrices = iter(stage.matrices)
    numbered = list(enumerate(stage.ops))
    for _, part in groupby(numbered, key=lambda one: _together(one[0], one[1])):
        number, op = first = next(part)
        match op:
            case Embed():
                if stage.matrices:
                    next(matrices)
                local = -(-op.table.shape[1] // rectangle.rows)
                yield Multicast(name="embedding", axis="x", elements=local)
            case Norm():
                yield Reduction(name="norm", axis=stage.norms[number].axis, elements=1)
            case Attend():
                yield from _attention(op, rectangle, context)
            case Route():
                yield from _choice(op, stage.experts)
            case Experts():
                yield from _mixture([next(matrices) for _ in range(3)], rectangle)
            case _:
                ops = [one for _, one in (first, *part)]
                placed = [next(matrices) for one in ops for _ in range(_matrices_of(one))]
                yield from _products(placed, rectangle)
                if isinstance(op, Head):
                    yield Reduction(name="likeliest", axis="x", elements=_PAIR)


def _together(number: int, op: Op) -> tuple[str, str | int]:
    """The same for neighbouring linears that read one vector."""
    return ("linear", op.inp) if isinstance(op, Linear) else ("", number)


def _matrices_of(op: Op) -> int:
    if isinstance(op, HeadLinear):
        return len(op.weights)
    return int(isinstance(op, Linear | Head))


def _products(placed: Sequence[PlacedMatrix], rectangle: Rectangle) -> Iterator[Work]:
    """Their multiply-adds one after the other, then one sum of all they made, if there are any."""
    names: list[str] = []
    elements = 0
    for one in placed:
        names.append(one.weights[0].name.removesuffix(".weight").rpartition(".")[2])
        inputs, local = _tile(one, rectangle)
        yield Vectors(name=names[-1], count=inputs, length=local)
        elements += local
    if placed:
        name = ", ".join(dict.fromkeys(names))
        yield Reduction(name=name, axis=placed[0].inputs.axis, elements=elements)


def _tile(placed: PlacedMatrix, rectangle: Rectangle) -> tuple[int, int]:
    """Inputs and outputs of one of the matrices on a core."""
    inputs, outputs = placed.inputs, placed.outputs
    return (
        -(-len(inputs.order) // rectangle.side(inputs.axis)),
        -(-len(outputs.order) // rectangle.side(outputs.axis)),
    )


def _choice(op: Route, experts: int) -> Iterator[Work]:
    """All scores to all cores, each of which gives its own; then each chooses."""
    yield Reduction(name="scores of experts", axis="x", elements=experts)
    passes = op.top if op.groups is None else op.top + 2
    yield Vectors(name="choice", count=passes, length=experts)


def _mixture(placed: Sequence[PlacedMatrix], rectangle: Rectangle) -> Iterator[Work]:
    """The chosen experts' gate and up, and one sum; their down added up, and another."""
    gate, _, down = placed
    for names, one in ((("gate", "up"), gate), (("down",), down)):
        inputs, local = _tile(one, rectangle)
        for name in names:
            if one.weights[0].scales is not None:
                yield Vectors(name=f"{name}, widened", count=one.used * inputs, length=local)
            yield Vectors(name=name, count=one.used * inputs, length=local)
        sums = 2 * one.used * local if one is gate else local
        yield Reduction(name=", ".join(names), axis=one.inputs.axis, elements=sums)


def _attention(op: Attend, rectangle: Rectangle, context: int) -> Iterator[Work]:
    columns, rows = rectangle.columns, rectangle.rows
    seen = context if op.window is None else min(context, op.window)
    tokens = -(-seen // rows)
    group = op.heads // op.kv_heads
    keys = -(-op.kv_heads * op.head_dim // columns)
    value_dim = op.head_dim if op.value_dim is None else op.value_dim
    values = -(-op.kv_heads * value_dim // columns)
    yield Vectors(name="scores", count=keys * group, length=tokens)
    yield Reduction(name="scores", axis="x", elements=tokens * op.heads)
    yield Reduction(name="softmax maximum", axis="y", elements=op.heads)
    yield Reduction(name="softmax sum", axis="y", elements=op.heads)
    yield Vectors(name="values", count=tokens, length=values * group)
    yield Reduction(name="values", axis="y", elements=values * group)


def by_events(stage: StageWork, machine: Machine) -> Run:
    """The stage's works word by word, with the machine's constants in whole cycles."""
    sides = stage.rectangle.columns, stage.rectangle.rows
    return simulated(whole(machine), *sides, stage.works)
