"""On what terms a request is served: its service tier, its time limits, its account's weight.

`flex` goes last, `priority` first and is for accounts entitled to it; `auto` is served as
`default`. Other vendors' words mean the same: `on_demand` is `default`, `performance` is
`priority`. Limits of time come with the request's headers: `Prefer: wait=N` (seconds, RFC 7240) may
shorten the server's own, and `queue_threshold` (milliseconds) has a `flex` or `auto` request
refused while others wait longer than that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headrace.config import TierConfig
from headrace.errors import Forbidden, InvalidRequest
from headrace.types import Terms

ServiceTier = Literal["auto", "default", "flex", "priority", "on_demand", "performance"]

LONGEST_QUEUE_MS = 20_000
SHORTEST_QUEUE_MS = 50

_PRIORITY: Mapping[str | None, int] = {"flex": -1, "priority": 1, "performance": 1}
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the headers of a request say about time, as they came."""

    prefer: str = ""
    queue_threshold: str = ""


def terms_of(
    entitled: TierConfig,
    tier: ServiceTier | None,
    wishes: Wishes,
    timeout_s: float,
    *,
    group: str = "",
    kept: float = 0.0,
) -> Terms:
    """The terms of one request; `timeout_s` is the server's limit, 0 for none.

    `group`: who shares what is reserved for the account; `kept`: what others have reserved, of 1.

    Raises Forbidden for a tier that is not the account's to ask for, InvalidRequest for a
    threshold out of range.
    """
    priority = _PRIORITY.get(tier, 0)
    if priority > 0 and not entitled.may_go_first:
        raise Forbidden(
            f"service_tier '{tier}' is for accounts of the enterprise tier: "
            "leave it out, or ask for 'auto'",
            param="service_tier",
        )
    return Terms(
        weight=entitled.weight,
        group=group,
        reserved=entitled.reserved_percent / 100,
        kept=kept,
        priority=priority,
        timeout_s=_timeout_s(wishes.prefer, timeout_s),
        max_queue_s=_max_queue_s(wishes.queue_threshold) if tier in ("flex", "auto") else None,
    )


def patience_s(wishes: Wishes) -> float:
    """How long a caller would rather wait than be refused: as long as it waits for the answer."""
    found = _WAIT.search(wishes.prefer)
    return float(found[1]) if found else 0.0


def _timeout_s(prefer: str, server_s: float) -> float | None:
    """The sooner of the caller's limit and the server's. A preference we cannot read is none."""
    found = _WAIT.search(prefer)
    asked_s = float(found[1]) if found else 0.0
    return min((limit for limit in (asked_s, server_s) if limit > 0), default=None)


def _max_queue_s(threshold: str) -> float | None:
    if not threshold:
        return None
    milliseconds = int(threshold) if re.fullmatch(r"[0-9]{1,9}", threshold) else 0
    if not SHORTEST_QUEUE_MS <= milliseconds <= LONGEST_QUEUE_MS:
        raise InvalidRequest(
            f"queue_threshold: must be a number of milliseconds, {SHORTEST_QUEUE_MS} to "
            f"{LONGEST_QUEUE_MS}",
            param="queue_threshold",
        )
    return milliseconds / 1000
