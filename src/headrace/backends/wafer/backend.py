"""The wafer backend: weights are dealt to cores once, then every step is run as the cores would.

Matrices and cache are stored in 16 bits, computed with in float32, in the order of each core and of
the tree between them. What a row adds in which order depends on its own position alone, so prompts
go row by row, like decoding. The shifted product, which a wafer would prefill with, adds in an
order that depends on how many rows there are: it is for a sequence by itself, on demand. How long a
step would take is another module's question; here it takes as long as NumPy does.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS, BackendReport, Batch, StepResult, Weights
from headrace.backends.phase_times import PhaseTime
from headrace.backends.repeat import repeat
from headrace.backends.sampling import adjusted, check_bias, check_masks, sample
from headrace.backends.wafer.attention import AttentionCores, attended
from headrace.backends.wafer.capacity import placed
from headrace.backends.wafer.deal import Indices, plain
from headrace.backends.wafer.mixture import ExpertTiles, mixed, routed
from headrace.backends.wafer.simulated_phases import simulated_phases
from headrace.backends.wafer.stages import (
    PlacedMatrix,
    ProgramStage,
    attention_deals,
    stages_of,
)
from headrace.backends.wafer.tiles import CodeTiles, NumberTiles, Tiles
from headrace.backends.wafer.vectors import Buffers, normed, run_local
from headrace.errors import BackendError
from headrace.model.lowering import Single, lower
from headrace.model.precision import Stored, round_to_bf16, widen
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
)
from headrace.model.weight_part import cut, numbers, quantised
from headrace.wafer.collectives import best_pairs
from headrace.wafer.machine import Machine
from headrace.wafer.placement import Placement
from headrace.wafer.rectangle import Rectangle

F32 = NDArray[np.float32]


class WaferBackend:
    """Runs a program on a simulated mesh of cores."""

    def __init__(
        self,
        program: Program,
        weights: Weights,
        *,
        num_blocks: int,
        machine: Machine,
        shifts_prompts: bool = False,
        round_kv: bool = True,
    ) -> None:
        """Place and load. Raises PlacementError when the machine cannot hold it.

        MXFP4 experts stay at four bits.

        `shifts_prompts`: several rows go through matrices by shifted products, after which a row's
        last bits depend on the rows beside it. `round_kv=False` keeps the cache in float32, to
        compare with the reference's.
        """
        self._shifts_prompts = shifts_prompts
        self._program = program
        self._num_blocks = num_blocks
        self.placement: Placement = placed(program, machine, num_blocks)
        self._vectors = {
            name: widen(weights[name][:])
            for name, weight in program.weights().items()
            if len(weight.shape) == 1
        }
        self._tiles: dict[Weight, NumberTiles] = {}
        self._experts: dict[int, tuple[ExpertTiles, ...]] = {}  # by operation
        self._norms: dict[int, Indices] = {}  # by operation
        self._watched: list[int] | None = None  # how far tokens looked back since it is watched
        self._attention: dict[int, AttentionCores] = {}  # by layer
        place = 0
        for stage in stages_of(program):
            if stage.matrices:
                rectangle = self.placement.region_of(stage.name).rectangle
                self._load(stage, rectangle, weights, place)
            place += len(stage.ops)
        slots = num_blocks * BLOCK_TOKENS
        stored = np.uint16 if round_kv else np.float32
        self._keys: list[Stored] = [
            np.zeros((slots, spec.kv_heads * spec.head_dim), stored) for spec in program.kv
        ]
        self._values: list[Stored | None] = [
            None if spec.value_dim is not None else np.zeros_like(keys)
            for spec, keys in zip(program.kv, self._keys, strict=True)
        ]

    @property
    def program(self) -> Program:
        """The program it was loaded with."""
        return self._program

    @property
    def num_blocks(self) -> int:
        """KV blocks it owns."""
        return self._num_blocks

    def step(self, batch: Batch) -> StepResult:
        """Run the program over all rows, then sample.

        Raises BackendError on a non-number and on a batch that is not valid.
        """
        return repeat(batch, self._step_once)

    def report(self) -> BackendReport:
        """Where it lies, and which operations have no phase."""
        machine = self.placement.machine
        phases = lower(self._program)
        alone = [phase.op for phase in phases if isinstance(phase, Single)]
        return BackendReport(
            name="wafer",
            device=(
                f"simulated {machine.name}: {machine.cores:,} cores, "
                f"{len(self.placement.regions)} regions, fullest core {self.placement.fill:.0%}"
            ),
            weight_bytes=sum(tiles.nbytes for tiles in self._all_tiles()),
            kv_bytes=sum(a.nbytes for a in (*self._keys, *self._values) if a is not None),
            phases=dict(Counter(type(p).__name__ for p in phases if not isinstance(p, Single))),
            fallback_ops=dict(Counter(type(op).__name__ for op in alone)),
        )

    def watch_phases(self, on: bool) -> None:
        """Take down from now on how far tokens look back, or no more."""
        self._watched = [] if on else None

    def phase_times(self) -> tuple[PhaseTime, ...]:
        """How long these tokens would have taken the machine that is simulated, by closed forms."""
        if not self._watched:
            return ()
        mean = round(sum(self._watched) / len(self._watched))
        return simulated_phases(self._program, self.placement, mean)

    def close(self) -> None:
        """Free the weights and the cache."""
        self._tiles.clear()
        self._experts.clear()
        self._vectors.clear()
        self._keys.clear()
        self._values.clear()

    def _load(
        self, stage: ProgramStage, rectangle: Rectangle, weights: Weights, first_op: int
    ) -> None:
        of_experts = {w for op in stage.ops if isinstance(op, Experts) for w in op_weights(op)}
        tiles: dict[Weight, Tiles] = {}
        for placed_matrix in stage.matrices:
            for weight in placed_matrix.weights:
                made = _tiles_of(placed_matrix, weight, rectangle, weights)
                if weight in of_experts:
                    tiles[weight] = made
                else:
                    assert isinstance(made, NumberTiles), "the placement refuses others"
                    self._tiles[weight] = made
        for i, deal in stage.norms.items():
            self._norms[first_op + i] = deal.over(rectangle)
        for i, op in enumerate(stage.ops):
            if isinstance(op, Attend):
                sinks = None if op.sinks is None else self._vectors[op.sinks.name]
                cores = _attention_cores(op, self._program.ops, rectangle, sinks)
                self._attention[op.layer] = cores
            if isinstance(op, Experts):
                self._experts[first_op + i] = _expert_tiles(op, tiles, weights)

    def _all_tiles(self) -> Iterator[Tiles]:
        yield from self._tiles.values()
        for expert in (expert for experts in self._experts.values() for expert in experts):
            yield from (expert.gate, expert.up, expert.down)

    def _step_once(self, batch: Batch) -> StepResult:
        check_bias(batch.sampling, len(batch.sample_rows), self._program.vocab_size)
        check_masks(batch.sampling, len(batch.sample_rows), self._program.vocab_size)
        rows = len(batch.token_ids)
        buffers = {
            name: np.full((rows, width), np.nan, np.float32)
            for name, width in self._program.buffers.items()
        }
        logits = np.zeros((0, self._program.vocab_size), np.float32)
        hidden: dict[int, F32] = {}
        for i, op in enumerate(self._program.ops):
            match op:
                case Head():
                    logits = self._tiles[op.weight].times(buffers[op.inp][batch.sample_rows])
                case Tap():
                    if op.layer in batch.taps:
                        hidden[op.layer] = buffers[op.inp].copy()
                case Norm():
                    weight = self._vectors[op.weight.name][op.weight.rows]
                    buffers[op.out] = normed(op, buffers[op.inp], weight, self._norms[i])
                case Experts():
                    rows, counts = buffers[op.inp], buffers[op.routed]
                    buffers[op.out] = mixed(op, rows, counts, self._experts[i])
                case _:
                    self._run(op, buffers, batch)
        if not np.isfinite(logits).all():
            raise BackendError("the model produced logits that are not numbers")
        if self._watched is not None and rows == len(batch.block_tables):  # not a prompt
            self._watched += [int(position) + 1 for position in batch.positions]
        return StepResult(
            token_ids=self._drawn(logits, batch),
            logits=logits if batch.want_logits else None,
            hidden=np.stack([hidden[layer] for layer in batch.taps]) if batch.taps else None,
        )

    def _run(self, op: Op, buffers: Buffers, batch: Batch) -> None:
        match op:
            case Embed():
                columns = [self._tiles[op.table].column(int(token)) for token in batch.token_ids]
                buffers[op.out] = np.stack(columns) * np.float32(op.scale)
            case Linear():
                tiles, rows = self._tiles[op.weight], buffers[op.inp]
                shifts = self._shifts_prompts and len(rows) > 1
                product = tiles.shifted(rows) if shifts else tiles.times(rows)
                if op.bias is not None:
                    product += self._vectors[op.bias.name][op.bias.rows]
                buffers[op.out] = product
            case HeadLinear():
                buffers[op.out] = self._head_linear(op, buffers)
            case Rope() | Activate() | Add():
                run_local(op, buffers, batch.positions)
            case AppendKv():
                self._append(op, buffers, batch)
            case Attend():
                buffers[op.out] = self._attend(op, buffers[op.q], batch)
            case Route():
                correction = None if op.correction is None else self._vectors[op.correction.name]
                buffers[op.out] = routed(op, buffers[op.inp], correction)
            case Norm() | Tap() | Head() | Experts():
                raise AssertionError("handled by step")

    def _head_linear(self, op: HeadLinear, buffers: Buffers) -> F32:
        shape = len(buffers[op.inp]), len(op.weights), -1
        inp = buffers[op.inp].reshape(shape)
        out = buffers[op.out].reshape(shape).copy()
        for head, weight in enumerate(op.weights):
            outputs, inputs = reversed(weight.shape) if op.transposed else weight.shape
            out[:, head, :outputs] = self._tiles[weight].times(inp[:, head, :inputs])
            out[:, head, outputs:] = inp[:, head, inputs:]
        return out.reshape(buffers[op.out].shape)

    def _append(self, op: AppendKv, buffers: Buffers, batch: Batch) -> None:
        blocks = batch.block_tables[batch.row_sequence, batch.positions // BLOCK_TOKENS]
        slots = blocks * BLOCK_TOKENS + batch.positions % BLOCK_TOKENS
        for cache, name in ((self._keys[op.layer], op.k), (self._values[op.layer], op.v)):
            if name is not None and cache is not None:
                rows = buffers[name]
                cache[slots] = round_to_bf16(rows) if cache.dtype == np.uint16 else rows

    def _attend(self, op: Attend, queries: F32, batch: Batch) -> F32:
        found: list[F32] = []
        for q, at, sequence in zip(queries, batch.positions, batch.row_sequence, strict=True):
            position = int(at)
            first = 0 if op.window is None else max(0, position - op.window + 1)
            seen = np.arange(first, position + 1)
            blocks = batch.block_tables[sequence, seen // BLOCK_TOKENS]
            slots = blocks * BLOCK_TOKENS + seen % BLOCK_TOKENS
            keys, cached = widen(self._keys[op.layer][slots]), self._values[op.layer]
            if cached is None:
                heads = keys.reshape(len(keys), op.kv_heads, op.head_dim)
                values = heads[:, :, : op.value_dim].reshape(len(keys), -1)
            else:
                values = widen(cached[slots])
            found.append(attended(op, q, keys, values, first, self._attention[op.layer]))
        return np.stack(found)

    def _drawn(self, logits: F32, batch: Batch) -> NDArray[np.int32]:
        """The likeliest token, or the `top_k` that are drawn among, are found on the fabric.

        Draws among all tokens are made where the logits meet: top-p needs all of them in order.
        """
        sampling = batch.sampling
        if sampling.await_masks is not None:
            rows, vocab_size = logits.shape
            check_masks(sampling, rows, vocab_size, is_last_chance=True)
            sampling = replace(sampling, await_masks=None)
        head = next(op for op in self._program.ops if isinstance(op, Head))
        vocab = self._tiles[head.weight].output_indices
        among = logits.copy()
        for m, top_k in enumerate(sampling.top_k.tolist()):
            count = 1 if sampling.temperature[m] == 0 else top_k
            if count <= 0:
                continue
            row = adjusted(logits[m], sampling, m)
            best = best_pairs(np.where(vocab >= 0, row[vocab], -np.inf), vocab, count)
            kept = [index for _, index in best]
            among[m] = -np.inf
            among[m, kept] = logits[m, kept]
        return sample(among, sampling, batch.positions[batch.sample_rows] + 1)


def _tiles_of(
    placed_matrix: PlacedMatrix, weight: Weight, rectangle: Rectangle, weights: Weights
) -> Tiles:
    inputs, outputs = placed_matrix.inputs, placed_matrix.outputs
    if weight.scales is not None:
        return CodeTiles(*quantised(weight, weights), inputs, outputs, rectangle)
    matrix = cut(weight, weights[weight.name])
    matrix = matrix.T if placed_matrix.transposed else matrix
    return NumberTiles(matrix, inputs, outputs, rectangle)


def _expert_tiles(
    op: Experts, tiles: dict[Weight, Tiles], weights: Weights
) -> tuple[ExpertTiles, ...]:
    found: list[ExpertTiles] = []
    for e, (gate, up, down) in enumerate(zip(op.gate, op.up, op.down, strict=True)):
        biases = None
        if op.biases:
            to_gate, to_up, to_down = (numbers(bias, weights) for bias in op.biases[e])
            biases = to_gate, to_up, to_down
        found.append(ExpertTiles(gate=tiles[gate], up=tiles[up], down=tiles[down], biases=biases))
    return tuple(found)


def _attention_cores(
    op: Attend, ops: tuple[Op, ...], rectangle: Rectangle, sinks: F32 | None
) -> AttentionCores:
    append = next(a for a in ops if isinstance(a, AppendKv) and a.layer == op.layer)
    keys = attention_deals(op, ops)[append.k].over(rectangle)
    if op.value_dim is None:
        values = plain(op.kv_heads * op.head_dim, "x").over(rectangle)
    else:  # a value lies where its key does
        head, inside = np.divmod(keys, op.head_dim)
        held = (keys >= 0) & (inside < op.value_dim)
        values = np.where(held, head * op.value_dim + inside, -1)
    return AttentionCores(keys=keys, values=values, rows=rectangle.rows, sinks=sinks)
