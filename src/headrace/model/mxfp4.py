"""MXFP4: 32 numbers of four bits share a scale (OCP Microscaling Formats 1.0, 5.3 and 6.3).

A code is a sign (bit 3) and an e2m1 magnitude. Two lie in a byte, the first in its low half. A
scale s stands for 2^(s - 127), and 255 for no number. Every value is exact in bf16 but at the far
ends of the scales.
"""

import numpy as np
from numpy.typing import NDArray

from headrace.model.program import MXFP4_BLOCK

BIAS = 127  # of scales
NAN_SCALE = 255
_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
VALUES = np.array([*_MAGNITUDES, *(-value for value in _MAGNITUDES)], np.float32)  # by code


def dequantise(codes: NDArray[np.uint8], scales: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The numbers [..., 32 B] of codes [..., B, 16] and scales [..., B]."""
    both = np.stack([codes & np.uint8(15), codes >> np.uint8(4)], axis=-1)
    values = VALUES[both].reshape(*scales.shape, MXFP4_BLOCK)
    with np.errstate(over="ignore"):
        scaled = np.ldexp(values, scales[..., None].astype(np.int32) - BIAS)
    scaled[scales == NAN_SCALE] = np.nan
    return scaled.reshape(*scales.shape[:-1], -1)
