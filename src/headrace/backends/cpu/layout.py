"""Which checkpoint tensors are packed together, and in which order of blocks.

The packed format itself is native (native/include/headrace/weights.hpp): blocks of 16 outputs
across vector lanes, dealt to the workers in contiguous ranges.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.model.program import Weight

LANES = 16  # outputs per block


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMatrix:
    """Checkpoint tensors [rows, inputs] that one phase reads as one matrix.

    `interleaved`: blocks of two tensors of the same shape alternate, so that one worker owns gate
    and up of the same outputs; otherwise the tensors stand one after the other.
    """

    sources: tuple[Weight, ...]
    interleaved: bool = False

    @property
    def inputs(self) -> int:
        """Columns, the same for every source."""
        return self.sources[0].shape[1]

    @property
    def rows(self) -> tuple[int, ...]:
        """Outputs of each source."""
        return tuple(source.shape[0] for source in self.sources)

    def order(self) -> NDArray[np.uint32]:
        """Source and first row of each block, [blocks, 2], in packed order."""
        parts: list[NDArray[np.uint32]] = []
        for source, rows in enumerate(self.rows):
            starts = np.arange(0, rows, LANES, dtype=np.uint32)
            parts.append(np.stack([np.full_like(starts, source), starts], axis=1))
        if self.interleaved:
            return np.ascontiguousarray(np.stack(parts, axis=1).reshape(-1, 2))
        return np.concatenate(parts)
