"""A kernel with all it is given."""
# pyright: basic, reportMissingImports=false

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A kernel with all it is given."""

    phase: str
    kernel: Any
    grid: tuple[int, ...]
    arguments: Mapping[str, Any]
    warps: int = 4
    read_bytes: int = 0  # of weights

    def run(self, *, pdl: bool) -> None:
        """Put it on the current stream."""
        extra = {"launch_pdl": True} if pdl else {}
        self.kernel[self.grid](**self.arguments, PDL=pdl, num_warps=self.warps, **extra)
