"""Which tokens of which sequences the next step computes. Pure: no device, no clock.

A plan is a list of (sequence, count): its next `count` uncomputed tokens. Decode is count 1,
prefill more, a chunk of a prompt something between; there is no other case. Streams go first, one
token each, so a long prompt never holds them up; what is left of the step's budget reads prompts,
in the order of `turns`. A sequence that finds no free block makes another give its blocks back
(`shares` says whose): that one is preempted, keeps its place, and later recomputes what it had,
which gives the same tokens, since a row's result does not depend on its neighbours.

Priority is strict but for one thing: each time PATIENCE sequences have started while a lower
priority had something to read, or before one whose turn it was but for which there was no room,
the one left behind becomes URGENT and goes before all others, to its end.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import count

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.engine.fairness import Tenants
from headrace.engine.prefix_cache import matching_blocks
from headrace.engine.sequence import Sequence
from headrace.engine.shares import Need, Shares
from headrace.engine.tenant import Tenant
from headrace.engine.turns import Turns
from headrace.errors import EngineError

PATIENCE = 32  # sequences that may start before one that is left behind
URGENT = 1 << 30  # a priority above all
MAX_SCORED_TOKENS = 32  # chosen: of one sequence in a step, since each row is the host's work too


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next `count` uncomputed tokens of `sequence`."""

    sequence: Sequence
    count: int
    is_sampled: bool  # whether it ends at the last known token, so that a new one is drawn


class Scheduler:
    """Continuous batching: sequences join and leave between steps."""

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_sequences: int,
        max_step_tokens: int,
        has_prefix_cache: bool = True,
    ) -> None:
        self.tenants = Tenants()
        self.num_preempted = 0
        self._pool = pool
        self._shares = Shares(self.tenants, pool, max_sequences)
        self._max_sequences = max_sequences
        self._max_step_tokens = max(max_step_tokens, max_sequences)
        self._has_prefix_cache = has_prefix_cache
        self._running: list[Sequence] = []
        self._arrivals = count()
        self._levels = Counter[int]()  # sequences of each priority
        self._passed = Counter[int]()  # priority -> starts of higher ones while it had to read
        self._dealt: set[Sequence] = set()  # in this step: planned, or preempted

    @property
    def num_waiting(self) -> int:
        """Sequences without blocks."""
        return sum(len(tenant.waiting) for tenant in self.tenants)

    @property
    def num_running(self) -> int:
        """Sequences with blocks."""
        return len(self._running)

    @property
    def is_crowded(self) -> bool:
        """Whether some wait for their turn, and not for their elder."""
        return any(not s.is_held for tenant in self.tenants for s in tenant.waiting)

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn."""
        sequence.number = next(self._arrivals)
        tenant = self.tenants.find(sequence.asked)
        self.tenants.join(tenant, sequence.asked)
        tenant.wait(sequence)
        self._count_level(sequence.level, 1)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence that was added, and take its blocks back at once."""
        self._pool.release(sequence.blocks)
        sequence.has_ended = True
        tenant = self.tenants[sequence.asked.tenant]
        tenant.leave(sequence)
        if not tenant.running and not tenant.waiting:
            self.tenants.leave(tenant)
        if sequence in self._running:
            self._running.remove(sequence)
        self._count_level(sequence.level, -1)

    def clear(self) -> None:
        """Forget all sequences and make every block free."""
        self.tenants.clear()
        self._running.clear()
        self._levels.clear()
        self._passed.clear()
        self._pool.clear()

    def schedule(self) -> list[Chunk]:
        """The next step's chunks; empty when there is nothing to do."""
        self._dealt.clear()
        plan = self._decode()
        backlogged = self.tenants.backlogged()
        if backlogged:
            plan += self._read(backlogged, self._max_step_tokens - sum(c.count for c in plan))
        return [chunk for chunk in plan if chunk.sequence.blocks]

    def check_integrity(self) -> None:
        """Raise EngineError unless every block is free or held by running sequences."""
        if any(s.blocks for tenant in self.tenants for s in tenant.waiting):
            raise EngineError("a waiting sequence holds KV blocks")
        self._pool.check_integrity(s.blocks for s in self._running)

    def _decode(self) -> list[Chunk]:
        """What each stream drew last, and what was forced after it."""
        return [
            self._plan(self.tenants[sequence.asked.tenant], sequence, sequence.num_pending)
            for sequence in [s for s in self._running if not s.is_behind]
            if sequence.blocks and self._make_room(sequence, len(sequence.tokens))
        ]

    def _read(self, backlogged: list[Tenant], budget: int) -> list[Chunk]:
        """Chunks of prompts, `budget` tokens at most."""
        plan: list[Chunk] = []
        turns = Turns(backlogged, self._dealt)
        left_behind: Sequence | None = None  # the first whose turn it was but who found no room
        while budget > 0 and (turn := turns.next()):
            tenant, sequence = turn
            num_tokens = _next_chunk(sequence, budget)
            if sequence.blocks:
                if not self._make_room(sequence, sequence.computed + num_tokens):
                    continue
            elif self._start(tenant, sequence, budget):
                num_tokens = _next_chunk(sequence, budget)
                self._note_start(sequence, left_behind)
            else:
                turns.close(tenant)
                turns.again(tenant)
                left_behind = left_behind or sequence
                continue
            plan.append(self._plan(tenant, sequence, num_tokens))
            turns.again(tenant)
            budget -= num_tokens
        return plan

    def _plan(self, tenant: Tenant, sequence: Sequence, num_tokens: int) -> Chunk:
        self._dealt.add(sequence)
        tenant.charge(sequence, num_tokens)
        return Chunk(sequence, num_tokens, is_sampled=num_tokens == sequence.num_pending)

    def _make_room(self, sequence: Sequence, num_tokens: int) -> bool:
        """Blocks for a running sequence to hold `num_tokens`; False: it gave way itself."""
        while not self._pool.grow(sequence.blocks, num_tokens):
            leaving = self._shares.for_growth()
            self._preempt(leaving)
            if leaving is sequence:
                return False
        return True

    def _start(self, tenant: Tenant, sequence: Sequence, budget: int) -> bool:
        """A slot, and blocks for the first chunk, of `budget` tokens at most; False: no room."""
        pool = self._pool
        missing_slots = len(self._running) + 1 - self._max_sequences
        if missing_slots > 0 and len(self.tenants) == len(self._levels) == 1:
            return False  # nobody would give way
        if self._has_prefix_cache:
            pool.share(sequence.blocks, matching_blocks(pool, sequence))
        cached = len(sequence.blocks) * pool.block_tokens
        missing = blocks_for(len(sequence.tokens) + 1, pool.block_tokens) - len(sequence.blocks)
        spare = sum(self._shares.spare_for(s) for s in self._running)
        need = Need(
            blocks=missing,
            missing_slots=missing_slots,
            missing_blocks=missing + spare - pool.num_free,
        )
        leaving = self._shares.for_start(tenant, sequence, need)
        if not need.is_met:
            pool.release(sequence.blocks)
            return False
        for other in leaving:
            self._preempt(other)
        has_grown = pool.grow(sequence.blocks, min(len(sequence.tokens), cached + budget))
        assert has_grown, "those who gave way had fewer blocks than was thought"
        sequence.computed = cached
        tenant.start(sequence)
        self._running.append(sequence)
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self._pool.release(sequence.blocks)
        sequence.computed = 0
        tenant = self.tenants[sequence.asked.tenant]
        self._running.remove(sequence)
        tenant.leave(sequence)
        self.tenants.join(tenant, sequence.asked)
        tenant.wait(sequence)
        self._dealt.add(sequence)
        self.num_preempted += 1

    def _note_start(self, sequence: Sequence, left_behind: Sequence | None) -> None:
        """Count a start against those it went before."""
        if left_behind is not None:
            left_behind.passed += 1
            if left_behind.passed >= PATIENCE:
                self._make_urgent(left_behind)
        for level in [level for level in self._levels if level < sequence.level]:
            first = self._first_to_read(level)
            self._passed[level] += first is not None
            if first is not None and self._passed[level] >= PATIENCE:
                self._make_urgent(first)
                self._passed[level] = 0

    def _first_to_read(self, level: int) -> Sequence | None:
        """Whose turn it would be among those of one priority."""
        reading = [
            (tenant.counter, s.number, s)
            for tenant in self.tenants
            for s in (*tenant.running, *tenant.waiting)
            if s.level == level and (s.is_behind or not s.blocks) and not s.is_held
        ]
        return min(reading)[-1] if reading else None

    def _make_urgent(self, sequence: Sequence) -> None:
        self._count_level(sequence.level, -1)
        self.tenants[sequence.asked.tenant].raise_to(sequence, URGENT)
        self._count_level(URGENT, 1)

    def _count_level(self, level: int, by: int) -> None:
        self._levels[level] += by
        if self._levels[level] == 0:
            del self._levels[level]
            self._passed.pop(level, None)


def _next_chunk(sequence: Sequence, budget: int) -> int:
    """Tokens of `sequence` that a step with room for `budget` reads."""
    if sequence.asked.scores_prompt and sequence.is_reading:
        budget = min(budget, MAX_SCORED_TOKENS)
    return min(sequence.num_pending, budget)
