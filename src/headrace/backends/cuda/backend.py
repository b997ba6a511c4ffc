"""The cuda backend: a step of up to sixteen rows as one recorded list of fused kernels.

What is computed: weights are bf16, the cache is bf16 as everywhere, the residual stream and every
other buffer float32, and sums float32. In such a step activations enter a product as two bf16
numbers each (`products`), so it agrees with the reference to about 2^-16; a row's bits are the same
among one to sixteen rows, however its sequence was cut into steps of that size.

A step of more rows, a prompt, runs operation by operation on library kernels, whose products take
their inputs rounded to bf16; there a row's bits may depend on how many rows there are, because the
library chooses its kernels by that. What no phase matches, and programs with attention of a kind
the kernel does not know, run so too (`BackendReport.fallback_ops`), a few rows as two bf16 each.
"""
# pyright: basic, reportMissingImports=false

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS, BackendReport, Batch, StepResult, Weights
from headrace.backends.cuda import sampler
from headrace.backends.cuda.device import open_device
from headrace.backends.cuda.launch import Call, Launch
from headrace.backends.cuda.launches import ROWS, SPLITS, Planner, Tilings, can_fuse
from headrace.backends.cuda.memory import Fill, Memory, fill_from
from headrace.backends.cuda.mixture import ExpertTilings, joined
from headrace.backends.cuda.operations import (
    Operations,
    Rows,
    Sequence,
    check_known,
    slots_of,
    times,
)
from headrace.backends.cuda.persistent_chains import Chains
from headrace.backends.cuda.state import State
from headrace.backends.cuda.tiling import tiling
from headrace.backends.footprint import DEVICE_SPARE_BYTES, stored_bytes
from headrace.backends.repeat import check_repeatable, repeat
from headrace.errors import BackendError
from headrace.model.lowering import Single, lower
from headrace.model.program import Head, Program, Tap

_ROW_COUNTS = (1, 2, 4, 8, 16)
_SPLIT_TOKENS = 64  # attention.TILE: the least a split has
_STEPS = 64  # of one call on the device; more are made in pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """The launches of a step, and the graph they were recorded in, if this device has any."""

    launches: list[Launch | Call]
    graph: torch.cuda.CUDAGraph | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ahead:
    """A call that the device is already at work on: what it must be, and its first step there."""

    batch: Batch
    first: int

    @classmethod
    def after(cls, batch: Batch, drawn: NDArray[np.int32], first: int) -> "_Ahead":
        """The call that follows `batch` if nothing but time goes on."""
        positions = batch.positions + np.int32(batch.steps)
        return cls(batch=replace(batch, token_ids=drawn, positions=positions), first=first)

    def is_start_of(self, batch: Batch) -> bool:
        """Whether `batch` asks for just that."""
        own, sampling = self.batch, batch.sampling
        used = int(batch.positions.max()) // BLOCK_TOKENS + 1  # the others' entries are not read
        return (
            own.steps == batch.steps
            and np.array_equal(own.token_ids, batch.token_ids)
            and np.array_equal(own.positions, batch.positions)
            and np.array_equal(own.row_sequence, batch.row_sequence)
            and np.array_equal(own.sample_rows, batch.sample_rows)
            and np.array_equal(own.block_tables[:, :used], batch.block_tables[:, :used])
            and np.array_equal(own.sampling.temperature, sampling.temperature)
            and np.array_equal(own.sampling.seed, sampling.seed)
        )


class CudaBackend:
    """A program loaded on a GPU."""

    def __init__(
        self,
        program: Program,
        weights: Weights | None,
        *,
        num_blocks: int,
        fill: Fill | None = None,
        tilings: Tilings = tiling,
        is_persistent: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Copy `weights` to the device, or let `fill` write them there.

        `tilings` cuts the products. With `is_persistent` the products between two attentions are
        one kernel where that fits (`persistent`: not the faster way yet). `progress` hears of bytes
        copied and of all. Raises KernelMissing without a GPU or for a program with operations that
        are not built here, and BackendError when a tensor does not have the shape the program asks
        for, is no bf16 matrix or MXFP4 beyond the kernels' range, or the device has no room.
        """
        self._device = open_device()
        check_known(program)
        self._name = self._device.torch_name
        self._pdl = self._device.has_pdl
        self._program = program
        self._num_blocks = num_blocks
        self._phases = joined(lower(program))
        self._fused = can_fuse(program, self._phases)
        total = stored_bytes(program)
        fill = fill or fill_from(weights or {}, total, progress)
        needed = total + num_blocks * BLOCK_TOKENS * program.kv_bytes_per_token + DEVICE_SPARE_BYTES
        try:
            self._memory = Memory(
                program,
                self._phases,
                fill,
                num_blocks=num_blocks,
                device=self._name,
                is_embedding_on_host=self._device.free_bytes < needed,
            )
            self._state = State(program, self._name, _STEPS)
        except torch.cuda.OutOfMemoryError as error:
            raise BackendError(
                f"{self._device.name} has no room for {needed >> 20} MiB of weights and cache: "
                "lower 'engine.kv_tokens' or serve a smaller model"
            ) from error
        self._operations = Operations(program, self._memory)
        self._planner = Planner(
            program,
            self._phases,
            self._memory,
            self._state,
            device=self._name,
            tilings=tilings,
        )
        self._chains: Chains | None = None
        if self._device.has_pdl and is_persistent:
            self._chains = Chains(self._device.multiprocessors, self._name)
        self._recorded: dict[tuple[int, int, bool], _Recorded] = {}
        self._pool: tuple[int, int] | None = None
        is_pinned = self._name == "cuda"
        self._words = torch.zeros_like(self._state.words, device="cpu", pin_memory=is_pinned)
        self._tables = torch.zeros_like(self._state.tables, device="cpu", pin_memory=is_pinned)
        self._answer = torch.zeros_like(self._state.drawn, device="cpu", pin_memory=is_pinned)
        self._sent_tables = np.zeros((0, 0), np.int32)
        self._ahead: _Ahead | None = None

    @property
    def program(self) -> Program:
        """The program it was loaded with."""
        return self._program

    @property
    def num_blocks(self) -> int:
        """KV blocks it owns, of `BLOCK_TOKENS` tokens each."""
        return self._num_blocks

    def step(self, batch: Batch) -> StepResult:
        """Run the whole program over the rows of `batch`, sampling included, `batch.steps` times.

        Raises BackendError when a logit is not finite, or, before anything is written, when the
        batch is not valid.
        """
        self._check(batch)
        if not self._fused or len(batch.token_ids) > ROWS or batch.taps:
            return repeat(batch, self._rows_step)
        if batch.steps > 1:
            check_repeatable(batch)
            if not sampler.is_plain(batch.sampling):
                return repeat(batch, self._few_rows_step)
        return self._few_rows_step(batch)

    def report(self) -> BackendReport:
        """What it is and how it runs the program."""
        kinds = Counter(type(p).__name__ for p in self._phases if not isinstance(p, Single))
        alone = Counter(type(p.op).__name__ for p in self._phases if isinstance(p, Single))
        if not self._fused:
            kinds, alone = Counter(), Counter(type(op).__name__ for op in self._program.ops)
        return BackendReport(
            name="cuda",
            device=self._device.name,
            weight_bytes=self._memory.weight_bytes,
            kv_bytes=self._memory.kv_bytes,
            phases=dict(kinds),
            fallback_ops=dict(alone),
        )

    def close(self) -> None:
        """Free the device's memory. May be called twice; no other call may follow."""
        self._recorded.clear()
        for name in ("_planner", "_operations", "_memory", "_state"):
            if hasattr(self, name):
                delattr(self, name)
        if self._device.has_graphs:
            torch.cuda.empty_cache()

    # --- for who measures it -------------------------------------------------------------------

    def launches(self, row_count: int, context_tokens: int) -> list[Launch | Call]:
        """What a step of so many rows, at such a context, puts on the device."""
        return self._record(row_count, _splits_for(context_tokens + 1), True).launches

    def graph(self, row_count: int, context_tokens: int) -> torch.cuda.CUDAGraph:
        """The same, as recorded. Replayed, it goes on from where the last step ended."""
        recorded = self._record(row_count, _splits_for(context_tokens + 1), True)
        assert recorded.graph is not None
        return recorded.graph

    def forget(self, *, expert_tilings: ExpertTilings | None = None) -> None:
        """Plan and record anew from now on: `tilings` may say something else, or experts' do."""
        self._ahead = None
        if expert_tilings is not None:
            self._planner.expert_tilings = expert_tilings
        self._recorded.clear()

    # --- a few rows: the recorded step ---------------------------------------------------------

    def _few_rows_step(self, batch: Batch) -> StepResult:
        is_plain = sampler.is_plain(batch.sampling)
        if is_plain and not batch.want_logits:
            return StepResult(token_ids=self._drawn_steps(batch).reshape(-1))
        self._ahead = None
        recorded = self._record_for(batch, is_plain=is_plain)
        self._send(batch)
        self._replay(recorded)
        samples = torch.from_numpy(batch.sample_rows.astype(np.int64)).to(self._name)
        logits = self._state.logits[samples]
        return StepResult(
            token_ids=self._draw(logits, batch),
            logits=logits.cpu().numpy() if batch.want_logits else None,
        )

    def _drawn_steps(self, batch: Batch) -> NDArray[np.int32]:
        """The tokens of `batch.steps` steps whose rows the device draws itself: [steps, M]."""
        drawn = np.empty((batch.steps, len(batch.sample_rows)), np.int32)
        for first in range(0, batch.steps, _STEPS):
            count = min(_STEPS, batch.steps - first)
            piece = batch
            if first:
                tokens, positions = drawn[first - 1].copy(), batch.positions + np.int32(first)
                piece = replace(batch, token_ids=tokens, positions=positions)
            drawn[first : first + count] = self._device_steps(replace(piece, steps=count))
            if (drawn[first : first + count] < 0).any():
                self._ahead = None
                raise BackendError("the model produced logits that are not numbers")
        return drawn

    def _device_steps(self, batch: Batch) -> NDArray[np.int32]:
        """At most `_STEPS` steps, and as many more after them that nobody has asked for yet.

        While the host hands on what was drawn, the device goes on with what it will be asked for
        next, if nothing changes; if something does, those steps are forgotten: all they wrote is
        the cache of tokens that are not there yet, in blocks of their sequences.
        """
        ahead, first = self._ahead, 0
        if ahead is not None and ahead.is_start_of(batch):
            first = ahead.first
        else:
            recorded = self._record_for(batch, is_plain=True)
            self._send(batch)
            for _ in range(batch.steps):
                self._replay(recorded)
        end = first + batch.steps
        self._answer[first:end].copy_(self._state.drawn[first:end], non_blocking=True)
        arrived = torch.cuda.Event() if self._device.has_graphs else None
        if arrived is not None:
            arrived.record()
        goes_on = self._go_on(batch, end)
        if arrived is not None:
            arrived.synchronize()
        drawn = self._answer.numpy()[first:end, batch.sample_rows].copy()
        self._ahead = _Ahead.after(batch, drawn[-1], end) if goes_on else None
        return drawn

    def _go_on(self, batch: Batch, end: int) -> bool:
        """Put the steps that may be asked for next on the device, if they are safe."""
        positions = batch.positions + np.int32(batch.steps)
        last = positions + np.int32(batch.steps - 1)
        in_order = np.array_equal(batch.sample_rows, np.arange(len(positions)))
        same_blocks = (last // BLOCK_TOKENS == (positions - 1) // BLOCK_TOKENS).all()
        has_room = end + batch.steps <= _STEPS and int(last.max()) < self._program.max_positions
        one_each = (np.diff(batch.row_sequence) != 0).all()
        key = self._key_of(len(positions), int(last.max()), is_plain=True)
        recorded = self._recorded.get(key)
        if not (in_order and same_blocks and one_each and has_room) or recorded is None:
            return False
        for _ in range(batch.steps):
            self._replay(recorded)
        return True

    def _key_of(self, count: int, last: int, *, is_plain: bool) -> tuple[int, int, bool]:
        """Which recorded step serves `count` rows that come to position `last`."""
        return next(n for n in _ROW_COUNTS if n >= count), _splits_for(last + 1), is_plain

    def _record_for(self, batch: Batch, *, is_plain: bool) -> _Recorded:
        last = int(batch.positions.max()) + batch.steps - 1
        return self._record(*self._key_of(len(batch.token_ids), last, is_plain=is_plain))

    def _record(self, rows: int, splits: int, is_plain: bool) -> _Recorded:
        key = rows, splits, is_plain
        if key not in self._recorded:
            launches = self._planner.launches(rows, splits)
            if self._chains is not None:
                launches = self._chains.chained(launches)
            launches = launches if is_plain else launches[:-1]  # without the kernel that draws
            self._recorded[key] = _Recorded(launches=launches, graph=self._graph(launches))
        return self._recorded[key]

    def _graph(self, launches: list[Launch | Call]) -> torch.cuda.CUDAGraph | None:
        if not self._device.has_graphs:
            return None
        self._ahead = None
        self._state.words.zero_()
        self._state.positions.fill_(-1)  # no rows: nothing is written to the cache
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # compiles what is not compiled yet
            for launch in launches:
                launch.run(pdl=self._pdl)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            for launch in launches:
                launch.run(pdl=self._pdl)
        self._pool = self._pool or graph.pool()
        return graph

    def _replay(self, recorded: _Recorded) -> None:
        if recorded.graph is not None:
            recorded.graph.replay()
            return
        for launch in recorded.launches:
            launch.run(pdl=self._pdl)

    def _send(self, batch: Batch) -> None:
        """Copy what the step must know to the device; rows that are none get position -1."""
        count, samples = len(batch.token_ids), batch.sample_rows
        words = self._words.numpy()
        words[:] = 0
        fields = words[: 6 * ROWS].reshape(6, ROWS)
        fields[0, :count] = batch.token_ids
        fields[1, :] = -1
        fields[1, :count] = batch.positions
        starts = np.flatnonzero(np.diff(batch.row_sequence, prepend=-1))
        lengths = np.diff(np.append(starts, count))
        fields[2, :] = np.arange(ROWS)
        fields[2, :count] = np.repeat(starts, lengths)
        fields[3, :count] = batch.row_sequence
        fields[5].view(np.float32)[samples] = batch.sampling.temperature
        words[6 * ROWS :].view(np.uint64)[samples] = batch.sampling.seed
        self._state.words.copy_(self._words, non_blocking=True)
        tables = batch.block_tables
        if not np.array_equal(tables, self._sent_tables):
            height, width = tables.shape
            width = min(width, self._tables.shape[1])
            self._tables.numpy()[:height, :width] = tables[:, :width]
            target = self._state.tables[:height, :width]
            target.copy_(self._tables[:height, :width], non_blocking=True)
            self._sent_tables = tables.copy()

    # --- many rows: operation by operation -----------------------------------------------------

    def _rows_step(self, batch: Batch) -> StepResult:
        self._ahead = None
        rows = self._rows_of(batch)
        count = len(batch.token_ids)
        buffers = {
            name: torch.full((count, width), float("nan"), device=self._name)
            for name, width in self._program.buffers.items()
        }
        samples = torch.from_numpy(batch.sample_rows.astype(np.int64)).to(self._name)
        hidden: dict[int, torch.Tensor] = {}
        logits = torch.zeros((0, self._program.vocab_size), device=self._name)
        for op in self._program.ops:
            if isinstance(op, Head):
                logits = times(buffers[op.inp][samples], self._memory.matrix(op.weight))
            elif isinstance(op, Tap):
                if op.layer in batch.taps:
                    hidden[op.layer] = buffers[op.inp].clone()
            else:
                self._operations.run(op, buffers, rows)
        taps = [hidden[layer].cpu().numpy() for layer in batch.taps]
        return StepResult(
            token_ids=self._draw(logits, batch),
            logits=logits.cpu().numpy() if batch.want_logits else None,
            hidden=np.stack(taps) if taps else None,
        )

    def _rows_of(self, batch: Batch) -> Rows:
        starts = np.flatnonzero(np.diff(batch.row_sequence, prepend=-1))
        ends = np.append(starts[1:], len(batch.token_ids))
        sequences: list[Sequence] = []
        for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
            length = int(batch.positions[end - 1]) + 1
            blocks = batch.block_tables[batch.row_sequence[first], : -(-length // BLOCK_TOKENS)]
            table = torch.from_numpy(np.ascontiguousarray(blocks)).to(self._name)
            sequence = Sequence(
                first=first,
                end=end,
                position=int(batch.positions[first]),
                slots=slots_of(table, length),
            )
            sequences.append(sequence)
        return Rows(
            token_ids=torch.from_numpy(batch.token_ids.astype(np.int64)).to(self._name),
            positions=torch.from_numpy(batch.positions.astype(np.int64)).to(self._name),
            sequences=tuple(sequences),
        )

    # --- both ----------------------------------------------------------------------------------

    def _draw(self, logits: torch.Tensor, batch: Batch) -> np.ndarray:
        if not bool(torch.isfinite(logits).all()):
            raise BackendError("the model produced logits that are not numbers")
        if len(logits) == 0:
            return np.zeros(0, np.int32)
        positions = batch.positions[batch.sample_rows] + 1
        return sampler.draw(logits, batch.sampling, positions).cpu().numpy().astype(np.int32)

    def _check(self, batch: Batch) -> None:
        """Raise BackendError unless ids, positions, rows and blocks are in range."""
        program, count = self._program, len(batch.token_ids)
        last = int(batch.positions.max(initial=0)) + batch.steps - 1
        needed = last // BLOCK_TOKENS + 1
        valid = (
            count > 0
            and batch.steps > 0
            and len(batch.positions) == len(batch.row_sequence) == count
            and _within(batch.token_ids, program.vocab_size)
            and _within(batch.positions, program.max_positions)
            and _within(batch.row_sequence, len(batch.block_tables))
            and _within(batch.sample_rows, count)
            and last < program.max_positions
            and batch.block_tables.shape[1] >= needed
        )
        if not valid:
            raise BackendError("the batch is not valid: ids, positions, rows or blocks")
        used = (batch.positions + (batch.steps - 1)) // BLOCK_TOKENS + 1  # blocks, by row
        tables = batch.block_tables[batch.row_sequence]
        is_used = np.arange(tables.shape[1]) < used[:, None]
        if not _within(tables[is_used], self._num_blocks):
            raise BackendError("the batch is not valid: a block that is not there")
        sampler.check(batch.sampling, len(batch.sample_rows), program.vocab_size)


def _within(values: np.ndarray, end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _splits_for(context_tokens: int) -> int:
    """The most splits a context of so many tokens is cut into, a power of two."""
    splits = min(SPLITS, -(-context_tokens // _SPLIT_TOKENS))
    return 1 << max(0, splits - 1).bit_length()
