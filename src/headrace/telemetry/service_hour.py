"""What an hour of service was like: counts, and times in buckets that add up over hours.

A bucket's bounds are STEP apart, so a percentile is within 5 % of the time it stands for, and a
month of hours takes as little room as its busiest buckets.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

STEP = 1.1  # from one bound to the next
_LEAST_S = 1e-6


class Spread:
    """How times are spread: how many in each bucket."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    def add(self, seconds: float) -> None:
        """One more time; what is shorter than a microsecond counts as one."""
        self._counts[math.ceil(math.log(max(seconds, _LEAST_S) / _LEAST_S, STEP))] += 1

    def join(self, other: "Spread") -> None:
        """All of another's times, too."""
        self._counts.update(other.counts)

    @property
    def counts(self) -> Mapping[int, int]:
        """How many times are in bucket k, above 1.1^(k-1) µs and up to 1.1^k µs."""
        return self._counts

    @property
    def total(self) -> int:
        """How many times there are."""
        return self._counts.total()

    def quantile(self, share: float) -> float | None:
        """The time, seconds, that a `share` (0..1) of them do not exceed; None of none."""
        if not self.total:
            return None
        rank = max(1, math.ceil(share * self.total))
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return _LEAST_S * STEP ** (bucket - 0.5)
        raise AssertionError("the last bucket has the last rank")


@dataclass(slots=True, kw_only=True)
class ServiceHour:
    """Adds up; of the server `up_s` alone counts."""

    up_s: float = 0.0  # requests were taken
    answered: int = 0
    failed: int = 0  # of those that could have been: a fault of ours, or no room
    restarts: int = 0  # of the engine, after a failure
    tokens: int = 0  # generated for callers
    first_token: Spread = field(default_factory=Spread)  # received to first token known
    gap: Spread = field(default_factory=Spread)  # mean between the tokens of a stream
    total: Spread = field(default_factory=Spread)  # received to last byte sent

    def join(self, other: "ServiceHour") -> None:
        """All of another's, too."""
        self.up_s += other.up_s
        self.answered += other.answered
        self.failed += other.failed
        self.restarts += other.restarts
        self.tokens += other.tokens
        for name in _SPREADS:
            getattr(self, name).join(getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        spreads = {name: getattr(self, name).counts for name in _SPREADS}
        return {name: getattr(self, name) for name in _NUMBERS} | spreads

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        """As it was kept; what an older version did not count is 0."""
        hour = cls()
        for name in _NUMBERS:
            setattr(hour, name, kept.get(name, 0))
        for name in _SPREADS:
            counts = {int(k): int(v) for k, v in kept.get(name, {}).items()}
            setattr(hour, name, Spread(counts))
        return hour


_NUMBERS = ("up_s", "answered", "failed", "restarts", "tokens")
_SPREADS = ("first_token", "gap", "total")
