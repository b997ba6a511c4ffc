"""Percentiles and differences with 95 % intervals: block bootstrap, because neighbours in time are
alike (Künsch 1989; circular blocks after Politis and Romano 1992), 2,000 resamples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
MIN_SAMPLES = {0.5: 5, 0.9: 50, 0.95: 100, 0.99: 500}  # below: told, and marked
MIN_PAIRS = 6  # fewer cannot exclude zero at 95 % by signs alone: 2 / 2^6
_PART = 2_000_000  # values resampled at once, to bound memory
_Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # [R, N] -> [R]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
    samples: int
    is_enough: bool  # samples for this percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of pairs: second minus first."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval excludes zero, and there are pairs enough to say so."""
        return self.pairs >= MIN_PAIRS and (self.low > 0 or self.high < 0)


def percentile(values: Sequence[float], q: float, *, seed: int = 0) -> Estimate | None:
    """The `q` quantile (0..1) of values in order of time; None without any."""
    if not values:
        return None
    array = np.asarray(values, np.float64)
    low, high = _interval(array, lambda drawn: np.quantile(drawn, q, axis=1), seed)
    return Estimate(
        value=float(np.quantile(array, q)),
        low=low,
        high=high,
        samples=len(values),
        is_enough=len(values) >= MIN_SAMPLES.get(q, 1),
    )


def mean(values: Sequence[float], *, seed: int = 0) -> Estimate | None:
    """The mean of values in order of time; None without any."""
    if not values:
        return None
    array = np.asarray(values, np.float64)
    low, high = _interval(array, lambda drawn: drawn.mean(axis=1), seed)
    return Estimate(
        value=float(array.mean()), low=low, high=high, samples=len(values), is_enough=True
    )


def paired(
    first: Mapping[str, float], second: Mapping[str, float], *, of_means: bool, seed: int = 0
) -> Difference | None:
    """Mean (else median) of the differences of what both have, in the order of `first`."""
    names = [name for name in first if name in second]
    if not names:
        return None
    array = np.asarray([second[name] - first[name] for name in names], np.float64)

    def middle(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        return drawn.mean(axis=1) if of_means else np.median(drawn, axis=1)

    low, high = _interval(array, middle, seed)
    return Difference(value=float(middle(array[None])[0]), low=low, high=high, pairs=len(names))


def _interval(values: NDArray[np.float64], statistic: _Statistic, seed: int) -> tuple[float, float]:
    """Where 95 % of the resampled statistics lie."""
    rng = np.random.default_rng(seed)
    count = len(values)
    block = max(1, round(count ** (1 / 3)))
    blocks = -(-count // block)
    found: list[NDArray[np.float64]] = []
    part = max(1, _PART // count)
    for begin in range(0, RESAMPLES, part):
        rows = min(part, RESAMPLES - begin)
        starts = rng.integers(0, count, (rows, blocks, 1))
        index = (starts + np.arange(block)) % count  # [R, blocks, block]
        found.append(statistic(values[index.reshape(rows, -1)[:, :count]]))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)
