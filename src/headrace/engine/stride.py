"""How many steps one call of the backend makes, while no row needs the host in between. Pure.

Between two calls the engine hears what was said to it and reports what was drawn; that costs 25 to
90 us, which several steps in one call share. What is said meanwhile waits for the call's end, and
its tokens come at once: a call therefore lasts no longer than a reader could notice.
"""

import math
from collections.abc import Sequence as Seq

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.engine.scheduler import Chunk

MAX_STEPS = 32  # chosen: what the host costs is then 1 us a token, of 60 for a small model
MAX_CALL_S = 2e-3  # chosen: a call of several steps takes at most what tokens may be held together


class Stride:
    """Bounds calls by what steps took lately."""

    def __init__(self, *, most: int = MAX_STEPS, longest_s: float = MAX_CALL_S) -> None:
        """`most` steps a call, and as many as `longest_s` seconds hold."""
        self._most = most
        self._longest_s = longest_s
        self._row_count = 1  # of the call last measured
        self._last_s = math.inf  # each of its steps took
        self._step_s = 0.0  # what a step takes; 0: not known

    @property
    def step_s(self) -> float:
        """What a step takes, by what was measured lately; 0: not known."""
        return self._step_s

    def note(self, plan: Seq[Chunk], steps: int, took_s: float) -> None:
        """A call that made `steps` steps of `plan` took `took_s` seconds.

        Of two calls of as many rows the quicker one counts: front and client share the cores, and
        what they take from one call is not the steps' own.
        """
        row_count, step_s = sum(chunk.count for chunk in plan), took_s / steps
        before_s = self._last_s if row_count == self._row_count else math.inf
        self._row_count, self._last_s = row_count, step_s
        self._step_s = min(step_s, before_s)

    def reserve(self, plan: Seq[Chunk], pool: BlockPool) -> int:
        """The steps `plan` may make in one call; its rows then have the blocks for them.

        Nobody gives way for a block: there are as many steps as there is room for. A row that needs
        the host between steps, or does not decode, allows one.
        """
        most = self._within_time(len(plan))
        for chunk in plan:
            if most < 2 or not _is_free_running(chunk):
                return 1
            most = min(most, chunk.sequence.num_left)
        while most > 1 and _missing(plan, pool, most) > pool.num_free:
            most -= 1
        for chunk in plan if most > 1 else ():
            has_grown = pool.grow(chunk.sequence.blocks, chunk.sequence.computed + most)
            assert has_grown, "the blocks were counted"
        return most

    def _within_time(self, row_count: int) -> int:
        """Steps that end in time. More rows than were measured are taken to cost as much more."""
        if self._step_s <= 0.0:
            return 1
        step_s = self._step_s * max(1.0, row_count / self._row_count)
        return min(self._most, int(self._longest_s / step_s))


def _is_free_running(chunk: Chunk) -> bool:
    sequence = chunk.sequence
    is_decoding = chunk.count == 1 and chunk.is_sampled and not sequence.is_reading
    is_free = sequence.adjustment is None and sequence.grammar is None
    return is_decoding and is_free and sequence.asked.logprobs < 0


def _missing(plan: Seq[Chunk], pool: BlockPool, steps: int) -> int:
    """Blocks that `steps` steps need beside those that are held."""
    return sum(
        max(0, blocks_for(c.sequence.computed + steps, pool.block_tokens) - len(c.sequence.blocks))
        for c in plan
    )
