"""Which checkpoint tensors are packed together, and in which order of blocks.

The packed format itself is native (native/include/headrace/weights.hpp): blocks of 16 outputs
across vector lanes, dealt to the workers in contiguous ranges.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.model.program import Weight

LANES = 16  # outputs per block


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedMatrix:
    """Checkpoint tensors [rows, inputs] that one phase reads as one matrix.

    The tensors are cut into `turns` parts each, which stand in turn: with 1, one tensor after the
    other; with a turn per block, gate and up alternate, so that one worker has both for the same
    output; with a turn per kv head, one worker has a head's queries, keys and values. `apart`: no
    panel holds blocks of two tensors, each of which has inputs of its own. `transposed`: the
    tensors are [inputs, rows].
    """

    sources: tuple[Weight, ...]
    turns: int = 1
    whole_turns: bool = False  # a turn stays with one worker
    grain: int = 1  # blocks that stay in one panel
    apart: bool = False
    transposed: bool = False

    @property
    def inputs(self) -> int:
        """Columns, the same for every source."""
        return self.sources[0].shape[0 if self.transposed else 1]

    @property
    def rows(self) -> tuple[int, ...]:
        """Outputs of each source."""
        return tuple(source.shape[1 if self.transposed else 0] for source in self.sources)

    @property
    def unit(self) -> int:
        """Blocks that stay with one worker."""
        blocks = sum(-(-rows // LANES) for rows in self.rows)
        return blocks // self.turns if self.whole_turns else self.grain

    def order(self) -> NDArray[np.uint32]:
        """Source and first row of each block, [blocks, 2], in packed order."""
        return np.array(list(self._blocks()), np.uint32)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        for turn in range(self.turns):
            for source, rows in enumerate(self.rows):
                blocks = -(-rows // LANES)
                for block in range(blocks * turn // self.turns, blocks * (turn + 1) // self.turns):
                    yield source, block * LANES


def stacked(*weights: Weight) -> PackedMatrix:
    """One tensor after the other."""
    return PackedMatrix(sources=weights)


def by_source(weights: tuple[Weight, ...], *, transposed: bool) -> PackedMatrix:
    """One tensor after the other, each for inputs of its own."""
    return PackedMatrix(sources=weights, apart=True, transposed=transposed)


def alternating(gate: Weight, up: Weight) -> PackedMatrix:
    """Blocks of two tensors of one shape in turn."""
    turns = -(-gate.shape[0] // LANES)
    return PackedMatrix(sources=(gate, up), turns=turns, whole_turns=True, grain=2)


def by_head(q: Weight, k: Weight, v: Weight, *, kv_heads: int, workers: int) -> PackedMatrix:
    """Head by head, whole heads to each worker; or one after the other where that is uneven."""
    even = all(weight.shape[0] % (kv_heads * LANES) == 0 for weight in (q, k, v))
    if not even or kv_heads % workers:
        return stacked(q, k, v)
    return PackedMatrix(sources=(q, k, v), turns=kv_heads, whole_turns=True)
