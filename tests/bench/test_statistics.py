"""Intervals cover what they say, differences are shown only where there are some."""

import numpy as np
import pytest

from headrace.bench.statistics import mean, paired, percentile


def test_intervals_of_the_mean_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        found = mean(rng.exponential(2.0, 120).tolist(), seed=seed)
        assert found is not None
        covered += found.low <= 2.0 <= found.high
    assert 0.89 <= covered / 200 <= 0.99  # 95 %, less what skew and resampling take


def test_values_that_follow_each_other_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    steps = rng.normal(0, 1, 512)
    drift = np.convolve(steps, np.ones(16), "valid")
    mixed = drift.copy()
    rng.shuffle(mixed)
    slow, quick = mean(drift.tolist()), mean(mixed.tolist())
    assert slow is not None
    assert quick is not None
    assert slow.high - slow.low > 1.7 * (quick.high - quick.low)


def test_percentiles_are_numpys_and_say_whether_samples_suffice() -> None:
    values = [float(v) for v in np.random.default_rng(7).permutation(499)]
    found = percentile(values, 0.99)
    assert found is not None
    assert found.value == pytest.approx(np.quantile(values, 0.99))
    assert found.low <= found.value <= found.high
    assert not found.is_enough
    more = percentile([*values, 1.0], 0.99)
    assert more is not None
    assert more.is_enough


def test_nothing_is_no_estimate() -> None:
    assert percentile([], 0.5) is None
    assert mean([]) is None
    assert paired({"a": 1.0}, {"b": 2.0}, of_means=True) is None


def test_a_difference_is_shown_where_there_is_one_and_only_there() -> None:
    rng = np.random.default_rng(8)
    tasks = rng.lognormal(0, 1, 60)  # tasks differ far more than endpoints do
    first = {str(i): float(t + rng.normal(0, 0.01)) for i, t in enumerate(tasks)}
    same = {str(i): float(t + rng.normal(0, 0.01)) for i, t in enumerate(tasks)}
    slower = {name: value + 0.05 for name, value in same.items()}
    none, some = paired(first, same, of_means=False), paired(first, slower, of_means=False)
    assert none is not None
    assert some is not None
    assert not none.is_shown
    assert some.is_shown
    assert some.value == pytest.approx(0.05, abs=0.01)
    assert some.pairs == 60


def test_few_pairs_show_nothing_however_far_apart() -> None:
    few = paired({str(i): 0.0 for i in range(5)}, {str(i): 9.0 for i in range(5)}, of_means=False)
    assert few is not None
    assert not few.is_shown
