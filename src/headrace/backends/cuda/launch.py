"""What a step puts on the device: a kernel with all it is given, or operations one by one."""
# pyright: basic, reportMissingImports=false

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from headrace.backends.cuda.operations import Operations
from headrace.model.program import Op


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Operations no kernel fuses, run one by one."""

    phase: str
    operations: Operations
    ops: tuple[Op, ...]
    buffers: Mapping[str, torch.Tensor]
    read_bytes: int = 0

    def run(self, *, pdl: bool) -> None:
        """Put them on the current stream."""
        del pdl
        for op in self.ops:
            self.operations.run(op, self.buffers, None)
