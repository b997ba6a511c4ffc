"""What somebody may use: numbers, and how far they are used up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from headrace.admission.windows import NANO

Unit = Literal["requests", "tokens", "uncached tokens"]
Span = Literal["minute", "hour", "day"]

UNITS: tuple[Unit, ...] = ("requests", "tokens", "uncached tokens")
SPAN_NS = {"minute": 60 * NANO, "hour": 3_600 * NANO}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of an organisation and model, or of a key; None: no such limit."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_hour: int | None = None
    tokens_per_day: int | None = None
    uncached_tokens_per_minute: int | None = None  # those not found in the prefix cache
    concurrent_requests: int | None = None
    queued_requests: int | None = None  # of them, those whose answer has not begun

    def of_windows(self) -> Iterator[tuple[Unit, Span, int]]:
        """The limits over time that there are."""
        for unit, span in _WINDOWS:
            limit: int | None = getattr(self, f"{unit.replace(' ', '_')}_per_{span}")
            if limit is not None:
                yield unit, span, limit


_WINDOWS: tuple[tuple[Unit, Span], ...] = (
    ("requests", "minute"),
    ("requests", "hour"),
    ("requests", "day"),
    ("tokens", "minute"),
    ("tokens", "hour"),
    ("tokens", "day"),
    ("uncached tokens", "minute"),
)

NO_LIMITS = Limits()


class Cost(NamedTuple):
    """What something takes of each kind of limit, in the order of `UNITS`."""

    requests: int
    tokens: int
    uncached_tokens: int


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How one limit stands."""

    name: str  # as headers call it
    span: Span
    whose: str  # "organisation" or "key"
    limit: int
    used: int
    reset_s: float  # until nothing is used, if nothing more is

    @property
    def remaining(self) -> int:
        """Units left, never below 0."""
        return max(0, self.limit - self.used)


def name_of(unit: Unit, span: Span) -> str:
    """What headers call a limit."""
    return f"tokens-{span}-uncached" if unit == "uncached tokens" else f"{unit}-{span}"
