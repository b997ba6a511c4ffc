"""Fair parts of slots and blocks, and who gives way when there are none left.

A tenant's share is its part of the whole by weight, among the tenants that have sequences. Whoever
gives way is preempted: it loses its blocks, keeps its place, and is computed again later.

Why this ends: for fairness' sake nobody loses a tenant's first running sequence, or one of a tenant
within its share, and whoever comes in stays within its own; where a running sequence finds no block
the first of all of the highest priority is never the one to go. So there is always one that gets
nearer to its end with every step, and each tenant's first becomes that one.
"""

from dataclasses import dataclass

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.engine.fairness import Tenants
from headrace.engine.sequence import Sequence
from headrace.engine.tenant import Tenant

_ONE = 1 + 1e-6  # shares are floats, what is held are whole numbers


@dataclass(slots=True, kw_only=True)
class Need:
    """What a waiting sequence needs to start."""

    blocks: int  # beside those it found in the cache
    missing_slots: int  # zero or less: there are enough
    missing_blocks: int  # likewise; those kept spare for others count as taken

    @property
    def is_met(self) -> bool:
        """Whether it can start."""
        return self.missing_slots <= 0 and self.missing_blocks <= 0


class Shares:
    """Decides who gives way; changes nothing."""

    def __init__(self, tenants: Tenants, pool: BlockPool, max_sequences: int) -> None:
        self._tenants = tenants
        self._pool = pool
        self._max_sequences = max_sequences

    def spare_for(self, sequence: Sequence) -> int:
        """Blocks kept free for a running sequence: for its unread tokens and a next one."""
        known = blocks_for(len(sequence.tokens) + 1, self._pool.block_tokens)
        return max(1, known - len(sequence.blocks))

    def for_growth(self) -> Sequence:
        """Who gives way when a running sequence finds no block.

        The lowest priority; there the youngest of the tenant furthest above its share of blocks,
        if it has an older one; else the youngest of all.
        """
        running = [tenant for tenant in self._tenants if tenant.running]
        youngest = max((tenant.running[-1] for tenant in running), key=lambda s: s.place)
        above = [
            (self._block_part(tenant, tenant.running), tenant.running[-1])
            for tenant in running
            if len(tenant.running) > 1 and tenant.running[-1].level == youngest.level
        ]
        part, found = max(above, key=lambda pair: pair[0], default=(0.0, youngest))
        return found if part > _ONE else youngest

    def for_start(self, tenant: Tenant, sequence: Sequence, need: Need) -> list[Sequence]:
        """Who gives way so that `sequence` of `tenant`, which waits, can start; empty: it waits on.

        Lower priorities first. Then, as long as the tenant stays within its share, the youngest of
        the tenant furthest above its own, if that was served more. Uses `need` up.
        """
        leaving: list[Sequence] = []
        while not need.is_met:
            gone = self._lower(sequence, leaving)
            if gone is None and self._stays_within(tenant, sequence, need):
                gone = self._above_share(tenant, sequence.level, need, leaving)
            if gone is None:
                return []
            leaving.append(gone)
            need.missing_slots -= 1
            need.missing_blocks -= self._pool.num_sole(gone.blocks) + self.spare_for(gone)
        return leaving

    def _lower(self, sequence: Sequence, leaving: list[Sequence]) -> Sequence | None:
        lower = (
            s
            for tenant in self._tenants
            for s in tenant.running
            if s.level < sequence.level and s not in leaving
        )
        return max(lower, key=lambda s: s.place, default=None)

    def _stays_within(self, tenant: Tenant, sequence: Sequence, need: Need) -> bool:
        running = [*tenant.running, sequence]
        if need.missing_slots > 0 and self._slot_part(tenant, running) > _ONE:
            return False
        return need.missing_blocks <= 0 or self._block_part(tenant, running, need.blocks) <= _ONE

    def _above_share(
        self, tenant: Tenant, level: int, need: Need, leaving: list[Sequence]
    ) -> Sequence | None:
        """The youngest of the tenant furthest above its share of what is missing.

        Of those only that were served more than `tenant`: else the two would change places soon.
        """
        part_of = self._slot_part if need.missing_slots > 0 else self._block_part
        furthest, found = _ONE, None
        for other in self._tenants:
            staying = [s for s in other.running if s not in leaving]
            if other.counter <= tenant.counter or len(staying) < 2 or staying[-1].level > level:
                continue
            part = part_of(other, staying)
            if part > furthest:
                furthest, found = part, staying[-1]
        return found

    def _slot_part(self, tenant: Tenant, running: list[Sequence]) -> float:
        """What `running` take of the tenant's share of slots; 1 is just all of it."""
        return len(running) * self._tenants.total_weight / tenant.weight / self._max_sequences

    def _block_part(self, tenant: Tenant, running: list[Sequence], more: int = 0) -> float:
        """What `running` and `more` blocks take of the tenant's share of blocks."""
        held = len({block for s in running for block in s.blocks}) + more
        return held * self._tenants.total_weight / tenant.weight / self._pool.total
