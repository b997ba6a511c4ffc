"""One token's way across the mesh, step by step: what the console's wafer page plays.

Shapes and closed forms only; no weight is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.wafer.capacity import placed
from headrace.backends.wafer.timing import StageWork, token_works
from headrace.model.program import Program
from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.machine import Machine
from headrace.wafer.placement import Placement
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.shapes import Axis
from headrace.wafer.work import Multicast, Passage, Reduction, Vectors, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRegion:
    """A rectangle of cores and what it holds."""

    rectangle: Rectangle
    stages: tuple[str, ...]
    fill: float  # the fullest core's share of its usable bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One work: where, what, and how long."""

    stage: str
    region: int
    kind: str  # "vectors", "reduction", "multicast", "passage"
    name: str
    sizes: str  # in words, for people
    cycles: Cycles
    axis: Axis | None = None  # along which words go
    groups: int = 0  # of a line, in a reduction


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """A constant that nobody has published, or one informal source only."""

    name: str
    value: float
    unit: str
    certainty: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One decoded token."""

    machine: str
    columns: int
    rows: int
    clock_hz: float
    context_tokens: int
    regions: tuple[ReplayRegion, ...]
    steps: tuple[ReplayStep, ...]
    cycles: Cycles  # of all steps
    tok_s: float
    assumed: tuple[Assumed, ...]


def replay(program: Program, machine: Machine, context: int) -> Replay:
    """A token with `context` tokens to attend to, itself included.

    Raises PlacementError when the machine cannot hold the program and a cache of so many tokens.
    """
    placement = placed(program, machine, -(-context // BLOCK_TOKENS))
    regions = [region.rectangle for region in placement.regions]
    pace = Pace.of(machine)
    steps = tuple(
        _step(stage, regions.index(stage.rectangle), work, pace)
        for stage in token_works(program, placement, context)
        for work in (*stage.entry, *stage.works)
    )
    spent = sum((step.cycles for step in steps), Cycles())
    return Replay(
        machine=machine.name,
        columns=machine.columns.value,
        rows=machine.rows.value,
        clock_hz=machine.clock_hz.value,
        context_tokens=context,
        regions=_regions(placement, {step.region: step.stage for step in reversed(steps)}),
        steps=steps,
        cycles=spent,
        tok_s=machine.clock_hz.value / spent.total,
        assumed=tuple(_assumed(machine)),
    )


def _regions(placement: Placement, first: dict[int, str]) -> tuple[ReplayRegion, ...]:
    return tuple(
        ReplayRegion(
            rectangle=region.rectangle,
            # A tied embedding is placed with the head and has no stage of its own there.
            stages=tuple(dict.fromkeys((first[i], *(stage.name for stage in region.stages)))),
            fill=region.core_bytes.total / placement.machine.usable_bytes,
        )
        for i, region in enumerate(placement.regions)
    )


def _step(stage: StageWork, region: int, work: Work, pace: Pace) -> ReplayStep:
    columns, rows = stage.rectangle.columns, stage.rectangle.rows
    spent = time_of([work], columns=columns, rows=rows, pace=pace)
    axis: Axis | None = None
    groups = 0
    match work:
        case Vectors():
            kind = "vectors"
            sizes = f"{_counted(work.count, 'vector')} of {work.length:,} on every core"
        case Reduction():
            kind, axis = "reduction", work.axis
            side = columns if axis == "x" else rows
            groups = default_groups(side)
            sizes = f"{_counted(work.elements, 'number')} of each core, over {side} cores"
        case Multicast():
            kind, axis = "multicast", work.axis
            sizes = (
                f"{_counted(work.elements, 'number')} to {columns if axis == 'x' else rows} cores"
            )
        case Passage():
            kind = "passage"
            sizes = f"{_counted(work.words, 'word')}, {_counted(work.hops, 'router')} far"
    return ReplayStep(
        stage=stage.name,
        region=region,
        kind=kind,
        name=work.name,
        sizes=sizes,
        cycles=spent,
        axis=axis,
        groups=groups,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _assumed(machine: Machine) -> Sequence[Assumed]:
    return [
        Assumed(
            name=name.replace("_", " "),
            value=fact.value,
            unit=fact.unit,
            certainty=fact.certainty,
            source=fact.source,
        )
        for name, fact in machine.facts()
        if fact.certainty in ("A", "L")
    ]
