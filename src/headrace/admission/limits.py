"""What somebody may use: numbers, and how far they are used up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from headrace.admission.windows import NANO

Unit = Literal["requests", "tokens"]
Span = Literal["minute", "hour", "day"]

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
    concurrent_requests: int | None = None

    def of_windows(self) -> Iterator[tuple[Unit, Span, int]]:
        """The limits over time that there are."""
        units: tuple[Unit, ...] = ("requests", "tokens")
        spans: tuple[Span, ...] = ("minute", "hour", "day")
        for unit in units:
            for span in spans:
                limit: int | None = getattr(self, f"{unit}_per_{span}")
                if limit is not None:
                    yield unit, span, limit


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one limit stands."""

    unit: Unit
    span: Span
    whose: str  # "organisation" or "key"
    limit: int
    used: int
    reset_s: float  # until nothing is used, if nothing more is

    @property
    def remaining(self) -> int:
        """Units left, never below 0."""
        return max(0, self.limit - self.used)

    @property
    def name(self) -> str:
        """As headers call it."""
        return f"{self.unit}-{self.span}"
