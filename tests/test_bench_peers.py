"""What the comparison with other engines concludes from its runs, and what it accepts as equal."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("bench_peers")


def row(bench: ModuleType, name: str, rate: float, number: int = 0, **conditions: Any) -> Any:
    """One run between CPUs that are 50 ns apart, unless said otherwise, with nobody else there."""
    trips = conditions.get("trips", (50.0, 50.0))
    before, after = (
        bench.Conditions(round_trip_ns=trip, read_bandwidth_gb_s=100.0) for trip in trips
    )
    return bench.Row(
        round=number,
        name=name,
        decode_tok_s=rate,
        prefill_tok_s=1.0,
        roofline_share=rate / 1000,
        foreign_cpu=conditions.get("foreign_cpu", 0.0),
        took_s=1.0,
        around=bench.Around(before=before, after=after),
    )


def test_ratios_compare_runs_of_one_regime_with_the_best_peer(bench: ModuleType) -> None:
    apart = (400.0, 400.0)
    rows = [
        row(bench, "headrace", 300.0, 0),
        row(bench, "a", 100.0, 0),
        row(bench, "b", 50.0, 0),
        row(bench, "headrace", 280.0, 1),
        row(bench, "a", 70.0, 1),
        row(bench, "b", 60.0, 1),
        row(bench, "headrace", 900.0, 2, trips=apart),
        row(bench, "b", 90.0, 2, trips=apart),
    ]
    regimes = bench.summarise(rows)["regimes"]
    assert set(regimes) == {"near", "far"}
    assert regimes["near"]["best_peer"] == "a"
    assert regimes["near"]["ratio"] == pytest.approx(290 / 85)
    assert regimes["near"]["ratio_rounds"] == [3.0, 4.0]
    assert regimes["far"]["best_peer"] == "b"
    assert regimes["far"]["ratio"] == pytest.approx(10.0)


def test_runs_that_flipped_or_were_disturbed_are_left_out(bench: ModuleType) -> None:
    rows = [
        row(bench, "headrace", 300.0),
        row(bench, "a", 100.0),
        row(bench, "a", 900.0, 1, trips=(50.0, 400.0)),
        row(bench, "a", 1.0, 2, foreign_cpu=0.3),
    ]
    found = bench.summarise(rows)
    assert found["regimes"]["near"]["ratio"] == pytest.approx(3.0)
    assert sum(found["left_out"].values()) == 2


def test_after_the_first_round_slow_variants_end_but_none_for_a_disturbed_run(
    bench: ModuleType,
) -> None:
    rows = [
        row(bench, "headrace", 900.0),
        row(bench, "a fast", 100.0),
        row(bench, "a faster", 110.0),
        row(bench, "a fair", 99.0),
        row(bench, "b", 80.0, foreign_cpu=0.5),
        row(bench, "b", 84.0),
        row(bench, "c", 50.0),
        row(bench, "d", 1.0, foreign_cpu=0.5),
    ]
    assert bench.slow_variants(rows, 2) == {"a fair", "c"}
    assert bench.slow_variants(rows, 1) == {"a fair", "a fast", "c"}


def test_a_peer_with_other_weights_is_told_from_one_that_rounds(
    monkeypatch: pytest.MonkeyPatch, bench: ModuleType
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    verify = importlib.import_module("peer").verify
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((4, 1000)).astype(np.float32)

    class Answers:
        def __init__(self, logits: np.ndarray) -> None:
            self._logits = logits

        def logits(self, _prompt: list[int], rows: int) -> np.ndarray:
            return self._logits[-rows:]

    def difference(logits: np.ndarray) -> float:
        return verify(Answers(logits), [1, 2, 3, 4], expected)["mean_difference"]

    assert difference(expected - 7) < bench.EXACT_DIFFERENCE  # log probabilities are shifted
    rounded = expected * (1 + 2.0**-8 * rng.uniform(-1, 1, expected.shape))
    assert bench.EXACT_DIFFERENCE < difference(rounded) < bench.ROUNDED_DIFFERENCE
    assert difference(rng.permutation(expected, axis=1)) > 10 * bench.ROUNDED_DIFFERENCE
