"""A program as stages of shapes, for the placement: the embedding, each layer, the head.

The residual stream lies along y. A linear takes a vector from one axis to the other. What attention
needs, pairs that turn together and queries beside the keys they meet, is asked of the linears that
write q and k. A vector that lies along the wrong axis is dealt anew on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.backends.wafer.deal import Deal, Indices, plain
from headrace.backends.wafer.vectors import pairs
from headrace.errors import PlacementError
from headrace.model.program import (
    MXFP4_BLOCK,
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
    writes,
)
from headrace.wafer.placement import VALUE_BYTES
from headrace.wafer.shapes import Axis, Cache, Matrix, Stage, Vector


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlacedMatrix:
    """Weight matrices [outputs, inputs] of one shape, one or an expert's each, and their deals."""

    weights: tuple[Weight, ...]
    inputs: Deal
    outputs: Deal
    transposed: bool = False  # in the checkpoint
    used: int = 1  # by a token

    @property
    def shape(self) -> Matrix:
        """For the placement."""
        weight = self.weights[0]
        return Matrix(
            name=f"{weight.name}[{weight.rows.start}:{weight.rows.stop}]",
            inputs=len(self.inputs.order),
            outputs=len(self.outputs.order),
            reduce=self.inputs.axis,
            input_unit=self.inputs.unit,
            output_unit=self.outputs.unit,
            count=len(self.weights),
            used=self.used,
            block=0 if weight.scales is None else MXFP4_BLOCK,
        )


@dataclass(slots=True)
class ProgramStage:
    """Operations that are placed together."""

    name: str
    ops: list[Op] = field(default_factory=list[Op])
    matrices: list[PlacedMatrix] = field(default_factory=list[PlacedMatrix])
    norms: dict[int, Deal] = field(default_factory=dict[int, Deal])  # by place in `ops`
    vectors: list[Vector] = field(default_factory=list[Vector])
    cache: Cache | None = None
    query_heads: int = 0
    experts: int = 0

    @property
    def shape(self) -> Stage:
        """For the placement."""
        return Stage(
            name=self.name,
            matrices=tuple(matrix.shape for matrix in self.matrices),
            vectors=tuple(self.vectors),
            cache=self.cache,
            query_heads=self.query_heads,
            experts=self.experts,
        )


def stages_of(program: Program) -> list[ProgramStage]:
    """The stages of `program` in order; an embedding that is the head's matrix lies with the head.

    Raises PlacementError where heads cannot be dealt, a stage has two caches, or what is no expert
    has numbers of four bits.
    """
    for op in program.ops:
        if not isinstance(op, Experts) and any(w.scales is not None for w in op_weights(op)):
            raise PlacementError(
                f"the wafer backend has no {type(op).__name__} with weights in MXFP4, of experts "
                "only: run this model with --backend cpu"
            )
    walk = _Walk(program)
    for op in program.ops:
        walk.take(op)
    return [stage for stage in walk.stages if stage.ops]


class _Walk:
    """Follows a program's buffers, and where they lie, from operation to operation."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._asked: dict[str, Deal] = {}
        for op in program.ops:
            if isinstance(op, Attend):
                self._asked |= attention_deals(op, program.ops)
        self._now: dict[str, Deal] = {}
        self.stages = [ProgramStage("embedding")]

    def take(self, op: Op) -> None:
        stage = self.stages[-1]
        stage.ops.append(op)
        match op:
            case Embed():
                self._embed(op, stage)
            case Norm():
                deal = self._now[op.inp]
                stage.norms[len(stage.ops) - 1] = deal
                self._vector(op.weight.name, deal, stage)
                self._now[op.out] = deal
            case Linear():
                self._linear(op, stage)
            case HeadLinear():
                self._head_linear(op, stage)
            case AppendKv() | Attend():
                self._attention(op, stage)
            case Route() | Experts():
                self._mixture(op, stage)
            case Tap():
                self._next_stage()
            case Head():
                vocab = plain(op.weight.shape[0], "x")
                inputs = plain(op.weight.shape[1], "y")
                head = PlacedMatrix(weights=(op.weight,), inputs=inputs, outputs=vocab)
                stage.matrices.append(head)
            case _:
                written = writes(op)
                if written is not None:
                    self._now[written] = self._now[reads(op)[0]]

    def _embed(self, op: Embed, stage: ProgramStage) -> None:
        self._now[op.out] = plain(op.table.shape[1], "y")
        heads = [head.weight for head in self._program.ops if isinstance(head, Head)]
        if op.table not in heads:
            vocab = plain(op.table.shape[0], "x")
            stage.matrices.append(
                PlacedMatrix(weights=(op.table,), inputs=self._now[op.out], outputs=vocab)
            )
        self._next_stage()

    def _linear(self, op: Linear, stage: ProgramStage) -> None:
        inputs, outputs = self._ends(op)
        stage.matrices.append(PlacedMatrix(weights=(op.weight,), inputs=inputs, outputs=outputs))
        if op.bias is not None:
            self._vector(op.bias.name, outputs, stage)
        self._now[op.out] = outputs

    def _ends(self, op: Linear) -> tuple[Deal, Deal]:
        """How a linear finds its input and leaves its output."""
        now = self._now[op.inp]
        axis: Axis = "x" if now.axis == "y" else "y"
        outputs = self._asked.get(op.out, plain(self._program.buffers[op.out], axis))
        if outputs.axis == now.axis:  # the input is dealt anew, along the axis across
            now = plain(self._program.buffers[op.inp], axis)
        return now, outputs

    def _head_linear(self, op: HeadLinear, stage: ProgramStage) -> None:
        for weight in op.weights:
            outputs, inputs = reversed(weight.shape) if op.transposed else weight.shape
            stage.matrices.append(
                PlacedMatrix(
                    weights=(weight,),
                    inputs=plain(inputs, "y"),
                    outputs=plain(outputs, "x"),
                    transposed=op.transposed,
                )
            )
        self._now[op.out] = plain(self._program.buffers[op.out], "x")

    def _attention(self, op: AppendKv | Attend, stage: ProgramStage) -> None:
        if isinstance(op, Attend):
            stage.query_heads = op.heads
            if op.sinks is not None:
                self._vector(op.sinks.name, _whole(op.heads), stage)
            self._now[op.out] = self._asked[op.out]
            return
        spec = self._program.kv[op.layer]
        if stage.cache is not None:
            raise PlacementError(f"stage '{stage.name}' has two caches: layers end at a tap")
        stage.cache = Cache(
            width=spec.kv_heads * spec.head_dim,
            stored=2 if op.v is not None else 1,
            unit=self._asked[op.k].unit,
        )

    def _mixture(self, op: Route | Experts, stage: ProgramStage) -> None:
        if isinstance(op, Experts):
            self._experts(op, stage)
            return
        stage.experts = self._program.buffers[op.out]
        if op.correction is not None:
            self._vector(op.correction.name, _whole(stage.experts), stage)
        self._now[op.out] = self._now[op.inp]

    def _experts(self, op: Experts, stage: ProgramStage) -> None:
        """Each over all cores: gate and up from y to x, down back to y."""
        outputs, inner = op.down[0].shape
        ends = plain(self._program.buffers[op.inp], "y"), plain(inner, "x"), plain(outputs, "y")
        for weights, inp, out in (
            (op.gate, ends[0], ends[1]),
            (op.up, ends[0], ends[1]),
            (op.down, ends[1], ends[2]),
        ):
            stage.matrices.append(
                PlacedMatrix(weights=weights, inputs=inp, outputs=out, used=op.top)
            )
        if op.biases:
            for bias, deal in zip(op.biases[0], (ends[1], ends[1], ends[2]), strict=True):
                self._vector(bias.name, deal, stage, count=len(op.biases))
        self._now[op.out] = ends[2]

    def _vector(self, name: str, deal: Deal, stage: ProgramStage, count: int = 0) -> None:
        stage.vectors.append(
            Vector(
                name=name,
                length=len(deal.order),
                axis=deal.axis,
                unit=deal.unit,
                value_bytes=VALUE_BYTES,
                count=count,
            )
        )

    def _next_stage(self) -> None:
        layers = sum(isinstance(op, Tap) for op in self._program.ops)
        done = sum(isinstance(op, Tap) for stage in self.stages for op in stage.ops)
        self.stages.append(ProgramStage(f"layer {done}" if done < layers else "head"))


def _whole(width: int) -> Deal:
    """All numbers on one core: what every core has whole, as far as bytes go."""
    return Deal("x", np.arange(width), width)


def attention_deals(op: Attend, ops: Sequence[Op]) -> dict[str, Deal]:
    """How q, k, v and the output of `op` are dealt along x, by buffer.

    Pairs that turn lie on one core, a query's numbers where those of its key lie. Raises
    PlacementError where the numbers of a head that turn are in pairs and the others are not.
    """
    append = next(a for a in ops if isinstance(a, AppendKv) and a.layer == op.layer)
    inside, unit = _paired(append.k, op.head_dim, ops)
    keys = (np.arange(op.kv_heads)[:, None] * op.head_dim + inside).reshape(-1)
    value_dim = op.head_dim if op.value_dim is None else op.value_dim
    values = np.arange(op.kv_heads * value_dim)
    group = op.heads // op.kv_heads
    found = {
        op.q: Deal("x", _queries(keys, op.head_dim, group), unit * group),
        append.k: Deal("x", keys, unit),
        op.out: Deal("x", _queries(values, value_dim, group), group),
    }
    if append.v is not None:
        found[append.v] = Deal("x", values)
    return found


def _queries(keys: Indices, head_dim: int, group: int) -> Indices:
    """The numbers of the `group` query heads that go with each number of the keys."""
    head, inside = np.divmod(keys, head_dim)
    heads = head[:, None] * group + np.arange(group)
    return (heads * head_dim + inside[:, None]).reshape(-1)


def _paired(buffer: str, head_dim: int, ops: Sequence[Op]) -> tuple[Indices, int]:
    """The numbers of a head, those that turn together side by side, and how many stay together."""
    rope = next((r for r in ops if isinstance(r, Rope) and r.buffer == buffer), None)
    if rope is None:
        return np.arange(head_dim), 1
    if head_dim % 2:
        raise PlacementError(f"heads of {head_dim} numbers cannot be dealt in pairs")
    turning = np.stack(pairs(rope), axis=1).reshape(-1)
    return np.concatenate([turning, np.setdiff1d(np.arange(head_dim), turning)]), 2
