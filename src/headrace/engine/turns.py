"""Whose turn it is to read, within one step.

Higher priority first, then the tenant with the lowest counter, then the older sequence. Each
tenant offers its first sequence that the step has not dealt with, running or waiting, so within a
tenant the order is kept: nobody overtakes one that waits for room. Other tenants may. A sequence
that waits for its elder has no turn, whatever its place: the elder may stand behind it.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from headrace.engine.sequence import Sequence
from headrace.engine.tenant import Tenant

_Entry = tuple[int, float, int, Sequence, Tenant]


class Turns:
    """The turns of one step."""

    def __init__(self, tenants: Iterable[Tenant], dealt: set[Sequence]) -> None:
        """`dealt`: sequences this step has nothing more to do for."""
        self._dealt = dealt
        self._closed: set[Tenant] = set()
        self._heap = [entry for tenant in tenants if (entry := self._entry(tenant))]
        heapify(self._heap)

    def next(self) -> tuple[Tenant, Sequence] | None:
        """Who reads next; None when nobody is left."""
        while self._heap:
            entry = heappop(self._heap)
            *_, sequence, tenant = entry
            if self._entry(tenant) == entry:
                return tenant, sequence
            self.again(tenant)  # its sequence gave way meanwhile
        return None

    def again(self, tenant: Tenant) -> None:
        """Give a tenant another turn, by its counter as it is now."""
        entry = self._entry(tenant)
        if entry is not None:
            heappush(self._heap, entry)

    def close(self, tenant: Tenant) -> None:
        """Those of the tenant that wait go on waiting for this step."""
        self._closed.add(tenant)

    def _entry(self, tenant: Tenant) -> _Entry | None:
        sequence = self._first(tenant)
        if sequence is None:
            return None
        return (-sequence.level, tenant.counter, sequence.number, sequence, tenant)

    def _first(self, tenant: Tenant) -> Sequence | None:
        dealt = self._dealt
        reading = (s for s in tenant.running if s.is_behind and s not in dealt)
        first = next(reading, None)
        if tenant not in self._closed:
            waiting = next((s for s in tenant.waiting if not s.is_held), None)
            if waiting and waiting not in dealt and (not first or waiting.place < first.place):
                return waiting
        return first
