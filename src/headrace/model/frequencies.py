"""Rotary frequencies in float32, with the roundings of transformers: pure formulas.

At position 131,071 an angle of float32 is off by the frequency's own rounding times the position:
1 unit in the last place turns a fast pair by 0.008 radians. So every step here is the step that
transformers takes, in float32; powers are taken in float64 and rounded once, because NumPy's own
float32 powers are several units off and differ between processors.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3Scaling:
    """The numbers of the Llama 3.1 release."""

    factor: float
    low: float  # turns over the original context below which a pair is slowed down in full ...
    high: float  # ... and above which it is not
    original: int  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class YarnScaling:
    """The numbers of YaRN (Peng et al. 2023), and DeepSeek's two factors of the scores."""

    factor: float
    original: int  # tokens
    fast: float = 32.0  # turns over the original context from which a pair is kept
    slow: float = 1.0  # turns to which it is slowed down in full
    truncate: bool = True  # the two pairs are whole numbers


def periods(theta: float, width: int) -> F32:
    """theta^(2i / width), positions per radian, for each of `width / 2` pairs (Su et al. 2021)."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    return np.array([math.pow(np.float32(theta), e) for e in exponents.tolist()], np.float32)


def llama3(plain: F32, scaling: Llama3Scaling) -> F32:
    """Long wavelengths divided by `factor`, short ones kept, a linear blend between."""
    factor, original = np.float32(scaling.factor), np.float32(scaling.original)
    wavelengths = np.float32(2 * math.pi) / plain
    turns = original / wavelengths
    blend = (turns - np.float32(scaling.low)) / np.float32(scaling.high - scaling.low)
    blended = (np.float32(1) - blend) * plain / factor + blend * plain
    is_long = wavelengths > np.float32(scaling.original / scaling.low)
    is_short = wavelengths < np.float32(scaling.original / scaling.high)
    return np.where(is_long, plain / factor, np.where(is_short, plain, blended))


def yarn(theta: float, width: int, scaling: YarnScaling) -> F32:
    """Slow pairs divided by `factor`, fast ones kept, a linear ramp over the pairs between."""

    def pair(turns: float) -> float:
        """Which pair turns so often over the original context."""
        return width * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair(scaling.fast), pair(scaling.slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    span = high - low if high != low else 0.001
    ramp = (np.arange(width // 2, dtype=np.float32) - np.float32(low)) / np.float32(span)
    kept = np.float32(1) - np.clip(ramp, np.float32(0), np.float32(1))
    stretched = periods(theta, width)
    slowed = np.float32(1) / (np.float32(scaling.factor) * stretched)
    blended = slowed * (np.float32(1) - kept) + np.float32(1) / stretched * kept
    return blended.astype(np.float32)


def yarn_mscale(factor: float, weight: float = 1.0) -> float:
    """How much sharper scores are for a context `factor` times as long; `weight`: "mscale"."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def longrope_scale(factor: float, original: int) -> float:
    """The scale of cos and sin for a context `factor` times as long (Ding et al. 2024)."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
