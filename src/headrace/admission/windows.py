"""What one limit remembers: a bucket that refills all the time, or a day that turns.

Integers throughout: a bucket counts in units times nanoseconds of its period, so nothing is ever
rounded away. Time is a monotonic reading in nanoseconds; only where a day ends is asked of the wall
clock, once a day.
"""

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Protocol

NANO = 1_000_000_000


class Window(Protocol):
    """A limit and what is used of it. Used may pass the limit: what runs is never cut."""

    limit: int

    def used(self, now_ns: int) -> int:
        """Units used, rounded up."""
        ...

    def enter(self, cost: int, now_ns: int) -> bool:
        """Use `cost` units if they fit now, or the whole limit does if that is less."""
        ...

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """Until `cost` units (at most the limit) would fit; 0: they do now."""
        ...

    def take(self, cost: int, now_ns: int) -> None:
        """Use `cost` units; negative: give them back, to an empty window at most."""
        ...

    def standing(self, now_ns: int) -> tuple[int, int]:
        """Units used, and nanoseconds until nothing is used any more, if nothing more is."""
        ...


class Bucket:
    """`limit` units in `period_ns`, refilled evenly (generic cell rate algorithm, ITU-T I.371).

    In any stretch of one period at most twice the limit pass: what was left, and what came in.

    What is spent, in units times nanoseconds, falls by `limit` a nanosecond, so its sum with
    `limit * now_ns` stays as it is until more is taken: that one number is all that is kept.
    """

    __slots__ = ("_level", "_period_ns", "limit")

    def __init__(self, limit: int, period_ns: int, now_ns: int) -> None:
        self.limit = limit
        self._period_ns = period_ns
        self._level = limit * now_ns  # units times nanoseconds

    def used(self, now_ns: int) -> int:
        """Units used, rounded up."""
        return -(-self._spent(now_ns) // self._period_ns)

    def enter(self, cost: int, now_ns: int) -> bool:
        """Use `cost` units if they fit now, or the whole limit does if that is less."""
        limit, period_ns = self.limit, self._period_ns
        empty = limit * now_ns
        level = self._level if self._level > empty else empty
        if level - empty > (limit - cost if cost < limit else 0) * period_ns or not limit:
            return False
        self._level = level + cost * period_ns
        return True

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """Until `cost` units would fit."""
        excess = self._spent(now_ns) - (self.limit - cost) * self._period_ns
        return max(0, -(-excess // self.limit)) if self.limit else 1 << 62

    def take(self, cost: int, now_ns: int) -> None:
        """Use `cost` units, or give them back."""
        empty = self.limit * now_ns
        level = (self._level if self._level > empty else empty) + cost * self._period_ns
        self._level = level if level > empty else empty

    def standing(self, now_ns: int) -> tuple[int, int]:
        """Units used, rounded up, and nanoseconds until it is full again."""
        spent = self._spent(now_ns)
        reset_ns = -(-spent // self.limit) if self.limit else 0
        return -(-spent // self._period_ns), reset_ns

    def _spent(self, now_ns: int) -> int:
        return max(0, self._level - self.limit * now_ns)


class Day:
    """`limit` units from midnight to midnight, by `turns`."""

    __slots__ = ("_turn_ns", "_turns", "_used", "limit")

    def __init__(self, limit: int, turns: Callable[[int], int], now_ns: int) -> None:
        """`turns(now)`: the reading at which the day of `now` ends."""
        self.limit = limit
        self._turns = turns
        self._used = 0
        self._turn_ns = turns(now_ns)

    def used(self, now_ns: int) -> int:
        """Units used today."""
        self._turn(now_ns)
        return self._used

    def enter(self, cost: int, now_ns: int) -> bool:
        """Use `cost` units if they fit today, or the whole limit does if that is less."""
        self._turn(now_ns)
        if self._used + min(cost, self.limit) > self.limit or not self.limit:
            return False
        self._used += cost
        return True

    def wait_ns(self, cost: int, now_ns: int) -> int:
        """Until `cost` units would fit: now, or when the day turns."""
        self._turn(now_ns)
        return 0 if self._used + cost <= self.limit else self._turn_ns - now_ns

    def take(self, cost: int, now_ns: int) -> None:
        """Use `cost` units, or give them back; what was taken yesterday is not given back today."""
        self._turn(now_ns)
        self._used = max(0, self._used + cost)

    def standing(self, now_ns: int) -> tuple[int, int]:
        """Units used today, and nanoseconds until the day turns."""
        self._turn(now_ns)
        return self._used, self._turn_ns - now_ns

    def _turn(self, now_ns: int) -> None:
        if now_ns >= self._turn_ns:
            self._used = 0
            self._turn_ns = self._turns(now_ns)


class Calendar:
    """Where days end, for a time zone: civil time counted on from one look at the wall clock.

    A wall clock that is set forward or back later gives nobody another day.
    """

    def __init__(self, zone: tzinfo, *, unix_s: float, now_ns: int) -> None:
        self._zone = zone
        self._offset_ns = round(unix_s * NANO) - now_ns

    def at_ns(self, unix_s: float) -> int:
        """The reading of a time on the wall clock; negative before this clock began."""
        return round(unix_s * NANO) - self._offset_ns

    def day_end_ns(self, now_ns: int) -> int:
        """The reading of the next midnight, which may be 23 or 25 hours after the last."""
        at = datetime.fromtimestamp((now_ns + self._offset_ns) / NANO, self._zone)
        tomorrow = at.date() + timedelta(days=1)
        midnight = datetime.combine(tomorrow, datetime.min.time(), self._zone)
        return max(now_ns + 1, round(midnight.timestamp() * NANO) - self._offset_ns)
