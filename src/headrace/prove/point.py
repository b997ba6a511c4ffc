"""One promise, and what was seen of it."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_FAULTS = 5  # that are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Green when nothing spoke against it, and enough was tried."""

    name: str  # as `--only` calls it
    claim: str  # a sentence
    faults: Sequence[str]  # what speaks against it; (): it is green
    facts: Sequence[tuple[str, str]]  # what was tried and measured
    command: str  # that does it again

    @property
    def is_green(self) -> bool:
        """Whether it holds."""
        return not self.faults


def first_of(faults: Sequence[str]) -> list[str]:
    """Some of them, and how many more there are."""
    left = len(faults) - MOST_FAULTS
    return [*faults[:MOST_FAULTS], *([f"and {left:,} more"] if left > 0 else [])]
