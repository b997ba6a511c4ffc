"""The number formats weights are stored in, and rounding to bf16.

NumPy has no bfloat16: an array of uint16 holds its 16 bits.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# A tensor as its file has it: bf16 bits (uint16), fp16 (float16), fp32 (float32), or the bytes that
# MXFP4 is made of (uint8).
Stored = NDArray[np.uint8 | np.uint16 | np.float16 | np.float32]

_ROUNDED_AT_ONCE = 1 << 20  # values; chosen: bounds the scratch memory of rounding to some 20 MB


class Tensor(Protocol):
    """A tensor that may not be in memory: what it is costs nothing, its rows are read when sliced.

    Every array is one.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows: uint16 is bf16."""
        ...

    def __getitem__(self, rows: slice, /) -> Stored:
        """Those rows, as an array."""
        ...


class Rounded:
    """A stored tensor as bf16: rows are rounded, ties to even, when they are sliced."""

    dtype = np.dtype(np.uint16)

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    @property
    def shape(self) -> tuple[int, ...]:
        """As the checkpoint has it."""
        return self._stored.shape

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint16]:
        """Those rows, rounded piece by piece."""
        stored = self._stored[rows]
        result = np.empty(stored.shape, np.uint16)
        source, target = stored.reshape(-1), result.reshape(-1)
        for start in range(0, source.size, _ROUNDED_AT_ONCE):
            piece = slice(start, start + _ROUNDED_AT_ONCE)
            target[piece] = round_to_bf16(widen(source[piece]))
        return result


def widen(stored: Stored) -> NDArray[np.float32]:
    """The exact float32 values of `stored`, same shape; a NaN stays a NaN."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32)


def round_to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Nearest bf16 of each value, ties to even; infinities stay, a NaN stays a (quiet) NaN."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16)
