"""Whether one more may wait: bounded in requests, in prompt tokens, and in time.

What cannot be served in time is refused at once, not left to wait in vain. Places are shared by a
dynamic threshold (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", 1998): a tenant may hold as many places as are left free. So one alone may fill half of
them, and whoever comes next still finds as many again. Places that a group of tenants has reserved
are nobody else's.
"""

import math

from headrace.engine.fairness import Tenants
from headrace.engine.messages import Submit
from headrace.engine.pace import Pace
from headrace.engine.queue_times import QueueTimes
from headrace.engine.tenant import Tenant
from headrace.errors import QueueFull, QueueSlow

LONGEST_RETRY_S = 60  # clients ignore a longer one


class WaitingRoom:
    """The bounds, and what is measured to judge a wait by.

    All tenants together may hold twice what one may.
    """

    def __init__(self, *, max_requests: int, max_tokens: int, max_sequences: int) -> None:
        """`max_requests` and `max_tokens` that wait, of one tenant."""
        self.pace = Pace()
        self.queue_times = QueueTimes()
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._max_sequences = max_sequences

    def check(self, asked: Submit, tenants: Tenants, now_s: float) -> None:
        """Raise QueueFull if there is no room for `asked`, or if it would wait in vain.

        Raises QueueSlow while requests wait longer than `asked` allows. What could start at once
        does not count as waiting, and is never refused for its wait.
        """
        tenant = tenants.find(asked)
        wait_s = _expected_wait_s(asked, tenant, tenants, self.pace.tokens_per_s)
        retry_after_s = max(1, math.ceil(min(wait_s, LONGEST_RETRY_S)))
        free_slots = self._max_sequences - sum(len(t.running) for t in tenants)
        all_waiting = sum(len(t.waiting) for t in tenants)
        if not self._has_place(len(tenant.waiting), all_waiting, free_slots, asked.kept):
            raise QueueFull(
                f"{all_waiting} requests are waiting already; try again in a moment",
                retry_after_s=retry_after_s,
            )
        all_tokens = sum(t.waiting_tokens for t in tenants)
        if _is_full(tenant.waiting_tokens, all_tokens, self._max_tokens, asked.kept):
            raise QueueFull(
                f"prompts of {all_tokens} tokens are waiting already; try again in a moment",
                retry_after_s=retry_after_s,
            )
        if all_waiting < free_slots:
            return
        queue_s = max(wait_s, self.queue_times.mean_s(now_s))
        if asked.max_queue_s is not None and queue_s > asked.max_queue_s:
            raise QueueSlow(
                f"requests wait some {queue_s:.1f} s now, longer than this one may; "
                "try again in a moment",
                retry_after_s=retry_after_s,
            )
        if asked.deadline_s is not None and wait_s > asked.deadline_s:
            raise QueueFull(
                f"this request would wait some {wait_s:.0f} s, longer than it may take",
                retry_after_s=retry_after_s,
            )

    def _has_place(self, own: int, total: int, free_slots: int, kept: float) -> bool:
        own, total = max(0, own - free_slots), total - free_slots
        return total < 0 or not _is_full(own, total, self._max_requests, kept)


def _is_full(own: int, total: int, bound: int, kept: float) -> bool:
    """`kept`: the part of all places that this tenant leaves to others."""
    return own >= min(bound, 2 * bound * (1 - kept) - total)


def _expected_wait_s(
    asked: Submit, tenant: Tenant, tenants: Tenants, tokens_per_s: float | None
) -> float:
    """Until its prompt is read: what is unread already, or its tenant's own part of that at its
    tenant's share of the speed, whichever is sooner."""
    if not tokens_per_s:
        return 0.0
    own = tenant.num_unread
    total = sum(other.num_unread for other in tenants)
    others_weight = sum(other.weight for other in tenants if other is not tenant)
    before = min(total, own * (1 + others_weight / asked.weight))
    return (before + (1 if asked.after else len(asked.prompt))) / tokens_per_s
