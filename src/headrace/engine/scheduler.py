"""Which tokens of which sequences the next step computes. Pure: no device, no clock.

A plan is a list of (sequence, count): its next `count` uncomputed tokens. Decode is count 1,
prefill more, a chunk of a prompt something between; there is no other case. Running sequences go
first, oldest first, so a long prompt never holds up a stream; what is left of the step's budget
reads prompts. A sequence that finds no free block makes the youngest one give its blocks back: that
one is preempted, keeps its place in the queue by age, and later recomputes what it had, which gives
the same tokens, since a row's result does not depend on its neighbours.
"""

from collections import deque
from dataclasses import dataclass

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.engine.prefix_cache import matching_blocks
from headrace.engine.sequence import Sequence
from headrace.errors import EngineError, QueueFull


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `count` uncomputed tokens of `sequence`."""

    sequence: Sequence
    count: int

    @property
    def is_sampled(self) -> bool:
        """Whether the chunk ends at the last known token, so that a new one is drawn."""
        return self.count == self.sequence.num_pending


class Scheduler:
    """Continuous batching: sequences join and leave between steps."""

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_sequences: int,
        max_step_tokens: int,
        max_waiting: int,
        has_prefix_cache: bool = True,
    ) -> None:
        self.pool = pool
        self._max_sequences = max_sequences
        self._max_step_tokens = max(max_step_tokens, max_sequences)
        self._max_waiting = max_waiting
        self._has_prefix_cache = has_prefix_cache
        self._waiting: deque[Sequence] = deque()  # oldest first
        self._running: list[Sequence] = []  # oldest first
        self.num_preempted = 0

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Sequences with blocks."""
        return len(self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises QueueFull beyond `max_waiting`.

        One that could start at once does not count as waiting.
        """
        if len(self._waiting) >= self._max_waiting + self._max_sequences - len(self._running):
            raise QueueFull(
                f"{len(self._waiting)} requests are waiting already; try again in a moment"
            )
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence and take its blocks back at once; unknown ones are ignored."""
        self.pool.release(sequence.blocks)
        if sequence in self._running:
            self._running.remove(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks; empty when there is nothing to do."""
        budget = self._max_step_tokens
        plan: list[Chunk] = []
        decoding = [s for s in self._running if s.num_pending == 1]
        reading = [s for s in self._running if s.num_pending > 1]
        for sequence in decoding + reading:
            count = min(sequence.num_pending, budget)
            if count == 0 or not sequence.blocks:
                continue  # no budget left, or preempted a moment ago
            if self._make_room(sequence, sequence.computed + count):
                plan.append(Chunk(sequence, count))
                budget -= count
        plan = [chunk for chunk in plan if chunk.sequence.blocks]
        return plan + self._admit(budget)

    def check_integrity(self) -> None:
        """Raise EngineError unless every block is free or held by one running sequence."""
        if any(s.blocks for s in self._waiting):
            raise EngineError("a waiting sequence holds KV blocks")
        self.pool.check_integrity(s.blocks for s in self._running)

    def _make_room(self, sequence: Sequence, num_tokens: int) -> bool:
        while not self.pool.grow(sequence.blocks, num_tokens):
            youngest = self._running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.computed = 0
        self._running.remove(sequence)
        self._waiting.appendleft(sequence)  # older than all that wait: it ran before them
        self.num_preempted += 1

    def _admit(self, budget: int) -> list[Chunk]:
        admitted: list[Chunk] = []
        while self._waiting and budget > 0 and len(self._running) < self._max_sequences:
            sequence = self._waiting[0]
            count = self._reserve(sequence, budget)
            if count == 0:
                break
            self._running.append(self._waiting.popleft())
            admitted.append(Chunk(sequence, count))
            budget -= count
        return admitted

    def _reserve(self, sequence: Sequence, budget: int) -> int:
        """Blocks for the first chunk of a waiting sequence: its size, or 0 and no blocks."""
        pool = self.pool
        if self._has_prefix_cache:
            pool.share(sequence.blocks, matching_blocks(pool, sequence))
        cached = len(sequence.blocks) * pool.block_tokens
        missing = blocks_for(len(sequence.tokens) + 1, pool.block_tokens) - len(sequence.blocks)
        count = min(len(sequence.tokens) - cached, budget)
        # Others' next tokens come first: keep one block spare for each of them.
        is_crowded = self._running and missing + len(self._running) > pool.num_free
        if is_crowded or not pool.grow(sequence.blocks, cached + count):
            pool.release(sequence.blocks)
            return 0
        sequence.computed = cached
        return count
