"""Service shared among tenants by tokens: virtual counters.

After Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024). Each tenant's counter
grows by the tokens computed for it, over its weight; who has the lowest is served first, so the
counters of all that have work stay close together. Whoever comes to have work again is lifted to
the lowest counter of those that have: idling earns nothing, but for a burst. A tenant that took
less than its share keeps up to BURST_TOKENS of what it left, so that its next prompt is read at
once and not in turns with a tenant that never stops asking; over any time it gets its share and
that burst at most.
"""

from collections.abc import Iterator

from headrace.engine.messages import Submit
from headrace.engine.reserves import Group, rescale
from headrace.engine.tenant import Tenant

BURST_TOKENS = 8192.0  # of weight 1: eight prompts of the usual length
MAX_AT_REST = 4096  # counters kept of tenants without work


class Tenants:
    """All tenants that have sequences, and the counters of those that had some lately."""

    def __init__(self) -> None:
        self._active: dict[str, Tenant] = {}
        self._groups: dict[str, Group] = {}
        self._at_rest: dict[str, float] = {}
        self._now = 0.0  # virtual time: the lowest counter of those with work; never falls

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._active.values())

    def __len__(self) -> int:
        return len(self._active)

    def __getitem__(self, name: str) -> Tenant:
        return self._active[name]

    @property
    def total_weight(self) -> float:
        """Of all that have sequences."""
        return sum(group.own_weight * group.scale for group in self._groups.values())

    def find(self, asked: Submit) -> Tenant:
        """The tenant of a request; a new one, in no list yet, if it has no sequences."""
        known = self._active.get(asked.tenant)
        return known or Tenant(name=asked.tenant, counter=self._at_rest.get(asked.tenant, 0.0))

    def join(self, tenant: Tenant, asked: Submit) -> None:
        """It is about to wait with one more sequence, whose terms are its own from now on."""
        if tenant.name in self._active:
            self._ungroup(tenant)
        self._group(tenant, asked)
        if not tenant.is_backlogged:
            tenant.counter = max(tenant.counter, self._least(tenant))
        self._active[tenant.name] = tenant
        self._at_rest.pop(tenant.name, None)

    def leave(self, tenant: Tenant) -> None:
        """It has no sequence left: remember its counter if that makes a difference."""
        del self._active[tenant.name]
        if tenant.counter > self._least(tenant):
            self._at_rest[tenant.name] = tenant.counter
        self._ungroup(tenant)
        rescale(self._groups.values())
        if len(self._at_rest) > MAX_AT_REST:
            kept = sorted(self._at_rest.items(), key=lambda item: -item[1])[: MAX_AT_REST // 2]
            self._at_rest = dict(kept)

    def backlogged(self) -> list[Tenant]:
        """Those that have something to read; virtual time moves up to the lowest of them."""
        found = [tenant for tenant in self if tenant.is_backlogged]
        if found:
            self._now = max(self._now, min(tenant.counter for tenant in found))
        return found

    def clear(self) -> None:
        """Forget all sequences; counters start anew."""
        self._active.clear()
        self._groups.clear()
        self._at_rest.clear()
        self._now = 0.0

    def _group(self, tenant: Tenant, asked: Submit) -> None:
        group = self._groups.setdefault(asked.group, Group())
        group.reserved = asked.reserved
        group.tenants += 1
        group.own_weight += asked.weight
        tenant.own_weight, tenant.group = asked.weight, group
        rescale(self._groups.values())

    def _ungroup(self, tenant: Tenant) -> None:
        group = tenant.group
        group.tenants -= 1
        group.own_weight -= tenant.own_weight
        if not group.tenants:
            group.own_weight = 0.0  # what rounding has left

    def _least(self, tenant: Tenant) -> float:
        return self._now - BURST_TOKENS / tenant.weight
