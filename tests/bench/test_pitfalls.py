"""Each pitfall of timing streams, in every scenario: what is measured is what the script says."""

from typing import Any

import pytest

from headrace.bench.load import Player
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import SCENARIOS, scenario_named
from headrace.bench.statistics import Estimate
from headrace.bench.summary import Cell, cells, comparisons
from tests.bench.virtual import LoopClock, play, scripted

TWENTY = " ".join(f"word{number}" for number in range(20))
FIRST_S, GAP_S = 0.25, 0.04
NAMES = [name for name, scenario in SCENARIOS.items() if not scenario.is_load]


def run(name: str, *endpoints: Any) -> Run:
    async def main() -> Run:
        player = Player(clock=LoopClock(), seed=0)
        settings = RunSettings(scenarios=[scenario_named(name)], tasks=6)
        runner = Runner(player=player, endpoints=endpoints, settings=settings, cpu_s=lambda: 0.0)
        return await runner.go()

    return play(main())


def measured(name: str, **script: Any) -> Cell:
    options = {"first_s": FIRST_S, "gap_s": GAP_S} | script
    (cell,) = cells(run(name, scripted("e", lambda _: TWENTY, **options)).attempts, {})
    return cell


def all_are(quantiles: Any, value: float) -> None:
    for estimate in quantiles.values():
        assert isinstance(estimate, Estimate)
        assert estimate.value == pytest.approx(value)


@pytest.mark.parametrize("name", NAMES)
class TestEveryScenario:
    def test_a_slow_server_is_slow_and_nothing_else_changes(self, name: str) -> None:
        cell = measured(name, first_s=30.0)
        all_are(cell.ttft, 30.0)
        all_are(cell.e2e, 30.0 + 19 * GAP_S)
        all_are(cell.speed, 1 / GAP_S)
        assert cell.flags == []

    def test_batched_events_hold_what_usage_says(self, name: str) -> None:
        # Seven events: six of three words, one of two; three came with the first.
        cell = measured(name, words_an_event=3)
        all_are(cell.ttft, FIRST_S)
        all_are(cell.tpot, 6 * GAP_S / 17)
        all_are(cell.speed, 17 / (6 * GAP_S))
        assert cell.gap_p50_s == pytest.approx(GAP_S / 3)  # ITL: shared among an event's tokens
        assert cell.counts == ["usage"]

    def test_a_proxy_that_holds_events_is_noted_and_its_delay_counts(self, name: str) -> None:
        # Two groups of ten: the first is let go when its tenth word is there.
        cell = measured(name, held=10)
        all_are(cell.ttft, FIRST_S + 9 * GAP_S)
        all_are(cell.e2e, FIRST_S + 19 * GAP_S)
        all_are(cell.speed, 10 / (10 * GAP_S))
        assert any("bursts" in flag for flag in cell.flags)

    def test_reasoning_is_a_first_token_and_no_first_answer(self, name: str) -> None:
        cell = measured(name, thoughts=4)
        all_are(cell.ttft, FIRST_S)
        all_are(cell.ttfa, FIRST_S + 4 * GAP_S)
        all_are(cell.speed, 1 / GAP_S)

    def test_cut_streams_are_failures_and_in_no_average(self, name: str) -> None:
        cell = measured(name, fault_every=1)
        assert cell.outcomes == {"failed call": 6}
        assert set(cell.faults) == {"the connection broke off"}
        assert set(cell.ttft.values()) == set(cell.speed.values()) == {None}
        assert cell.tokens_per_success is None

    def test_answers_of_other_lengths_change_no_comparison_but_those_of_whole_tasks(
        self, name: str
    ) -> None:
        options = {"first_s": FIRST_S, "gap_s": GAP_S}
        long, brief = (
            scripted("long", lambda _: TWENTY, **options),
            scripted("brief", lambda _: "two words", **options),
        )
        found = {c.metric: c.difference for c in comparisons(run(name, long, brief).attempts)}
        assert "whole task, s" not in found
        assert found["TTFT, s"].value == pytest.approx(0)
        assert found["output speed, tok/s"].value == pytest.approx(0)
