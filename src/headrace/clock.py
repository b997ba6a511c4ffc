"""Time comes in through the constructor: `SystemClock` in service, `ManualClock` in tests."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: `now_s` never runs backwards, `unix_s` is the wall clock."""

    def now_s(self) -> float:
        """Seconds on a monotonic clock of arbitrary origin."""
        ...

    def unix_s(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_s(self) -> float:
        """Seconds on the monotonic clock."""
        return time.perf_counter()

    def unix_s(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()  # noqa: TID251 (the one place)


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, start_s: float = 0.0, unix_s: float = 1_700_000_000.0) -> None:
        self._now_s = start_s
        self._unix_offset_s = unix_s - start_s

    def now_s(self) -> float:
        """Seconds, as last set."""
        return self._now_s

    def unix_s(self) -> float:
        """Seconds since 1970-01-01 UTC, moving with `now_s`."""
        return self._now_s + self._unix_offset_s

    def advance(self, by_s: float) -> None:
        """Move both readings forward by `by_s` seconds (>= 0)."""
        if by_s < 0:
            raise ValueError(f"time does not run backwards: {by_s}")
        self._now_s += by_s
