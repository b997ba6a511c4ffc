"""Each pitfall of timing streams, in every scenario: all that is measured is what the script says.

The script notes what it let go and when; `truth.py` works every metric out from that, by the
definitions. Load is judged too: its capacity, its sends, its steady windows, stage by stage.
"""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from headrace.bench.comparison import comparisons
from headrace.bench.load import Player, poisson_times
from headrace.bench.prices import Price
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import SCENARIOS, scenario_named
from headrace.bench.scenarios.words import words
from headrace.bench.summary import Cell, cells
from tests.bench.pupil import Pupil
from tests.bench.truth import Done, all_true, capacity, counter, one_by_one, sent_at, steady
from tests.bench.virtual import LoopClock, Scripted, play, scripted

# Odd ones, so that nothing falls on the edge of a second.
FIRST_S, GAP_S, UNEVEN = 0.2517, 0.0413, 0.13
TASKS, STAGE_S, SHARES = 7, 40.0, (0.5, 0.8, 1.0, 1.2)
CONCURRENCY, LANES = 8, 4  # of the client while capacity is measured, and of the server
PRICE = Price(input=2.0, output=7.0, currency="EUR", date=date(2026, 1, 1), source="a test")
CALLS = {"dialogue": 8}
CUT_EVERY = {"dialogue": 11}  # else no dialogue would come to its end
# What the script does, by pitfall of timing.
PITFALLS: dict[str, dict[str, Any]] = {
    "an even stream": {},
    "batched events": {"words_an_event": 3, "takes_event_usage": True},
    "first events without content": {"empty": 3},
    "a slow server": {"first_s": 5.0},
    "a proxy that holds events": {"held": 10},
    "cut streams": {"fault_every": 3},
    "reasoning": {"thoughts": 4},
    "other lengths": {"lengths": (12, 31, 17, 45)},
}
REPLY = {"first_s": FIRST_S, "gap_s": GAP_S, "uneven": UNEVEN}
REPLY |= {"calls_in_parts": True, "connect_every": 3, "cached_words": 2}


class Played:
    """A scenario played once against a script."""

    def __init__(self, name: str, script: dict[str, Any]) -> None:
        self.scenario = scenario_named(name)
        options = REPLY | script
        self.pupil = Pupil([asked for asked, _ in words().questions], options.pop("lengths", (20,)))
        if "fault_every" in options:
            options["fault_every"] = CUT_EVERY.get(name, 3)
        if self.scenario.is_load:
            options["lanes"] = LANES
        self.run = play(self._play(options))
        self.cells = cells(self.run.attempts, {"e": PRICE})

    async def _play(self, options: dict[str, Any]) -> Run:
        self.script = Scripted(reply=self.pupil, **options)
        place = replace(
            scripted("e", self.pupil), transport=self.script, price=PRICE, counter=counter
        )
        settings = RunSettings(
            scenarios=[self.scenario],
            tasks=TASKS,
            stage_s=STAGE_S,
            shares=SHARES,
            concurrency=CONCURRENCY,
        )
        player = Player(clock=LoopClock(), seed=0)
        runner = Runner(player=player, endpoints=[place], settings=settings, cpu_s=lambda: 0.0)
        return await runner.go()

    def stages(self) -> dict[str, list[Done]]:
        """The tasks that count, by stage, in the truth of the script."""
        told, outcomes = self.script.told, self.pupil.outcomes
        probes = 1 + self.scenario.is_full_length + self.script.takes_event_usage
        if not self.scenario.is_load:
            calls = CALLS.get(self.scenario.name, 1)
            tasks = one_by_one(told, outcomes, first=probes + 1, calls=calls)
            return {"": tasks[1:]}  # the first is the warm-up
        begin_s = told[probes + 1].sent_s
        sent = {n: one.sent_s for n, one in told.items() if n > probes}
        closed = {n: at_s for n, at_s in sent.items() if at_s < begin_s + STAGE_S}
        assert list(closed.values()).count(begin_s) == CONCURRENCY
        done = sent_at(told, outcomes, closed)
        self.capacity = capacity(done)
        found: dict[str, list[Done]] = {}
        number = max(closed) + 1
        for stage, share in enumerate(SHARES):
            begin_s = max(task.end_s for task in done)
            times = poisson_times(share * self.capacity, STAGE_S, stage)
            starts = {number + i: begin_s + at_s for i, at_s in enumerate(times)}
            done = found[f"{share:.0%}"] = sent_at(told, outcomes, starts)
            number += len(times)
        assert number == len(told) + 1  # nothing else was sent
        return found


@pytest.mark.parametrize("pitfall", PITFALLS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_metric_is_what_the_script_says(name: str, pitfall: str) -> None:
    played = Played(name, PITFALLS[pitfall])
    stages = played.stages()
    assert [cell.stage for cell in played.cells] == list(stages)
    for cell in played.cells:
        assert_true(cell, stages[cell.stage])
        assert any("bursts" in flag for flag in cell.flags) == (pitfall.startswith("a proxy"))
        assert cell.counts == (["usage"] if pitfall == "batched events" else ["events"])
    if played.scenario.is_load:
        assert played.run.capacity == {"e": pytest.approx(played.capacity)}
    assert all(lag.is_valid for lag in played.run.lags.values())


def assert_true(cell: Cell, done: list[Done]) -> None:
    """All numbers of a cell against the tasks that it is about."""
    true = all_true(done, (PRICE.input, PRICE.output))
    for name in ("ttft", "ttfa", "e2e", "tpot", "speed", "common_speed"):
        found = {q: one.value for q, one in getattr(cell, name).items() if one is not None}
        assert found == pytest.approx(true[name] or {}), name
    for name in (
        "tasks", "outcomes", "structured_errors", "prompt_tokens", "output_tokens",
        "common_tokens", "tokens_per_success", "micro_per_success",
    ):  # fmt: skip
        assert getattr(cell, name) == pytest.approx(true[name]), name
    assert cell.passed is not None
    assert cell.passed.value == pytest.approx(true["passed"])
    assert sum(cell.faults.values()) == true["faults"]
    assert cell.gap_p50_s == pytest.approx(np.quantile(true["gaps"], 0.5))
    assert cell.gap_p99_s == pytest.approx(np.quantile(true["gaps"], 0.99))
    connect = np.quantile(true["connect"], 0.5) if true["connect"] else None
    assert cell.connect_p50_s == pytest.approx(connect)
    whole = [told for task in done for told in task.answers if not told.is_cut]
    assert cell.cached_tokens == 2 * len(whole)
    if cell.stage:
        assert_true_window(cell, done)


def assert_true_window(cell: Cell, done: list[Done]) -> None:
    """What only load has."""
    window = steady(done)
    assert cell.window is not None
    found = (cell.window.begin_s, cell.window.end_s, cell.window.is_steady)
    assert found == pytest.approx((window.begin_s, window.end_s, window.is_steady))
    assert any("never settled" in flag for flag in cell.flags) == (not window.is_steady)
    if window.length_s <= 0:
        assert cell.tokens_per_s is cell.goodput is None
        return
    assert cell.tokens_per_s == pytest.approx(window.tokens / window.length_s)
    assert cell.goodput == pytest.approx(window.good / window.length_s)


@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if not one.is_load])
def test_other_lengths_change_no_comparison_but_those_of_whole_tasks(name: str) -> None:
    async def main() -> Run:
        places = [
            scripted(told, lambda _, count=count: "so " * count + "on", **REPLY)
            for told, count in (("long", 19), ("brief", 1))
        ]
        settings = RunSettings(scenarios=[scenario_named(name)], tasks=TASKS)
        player = Player(clock=LoopClock(), seed=0)
        return await Runner(
            player=player, endpoints=places, settings=settings, cpu_s=lambda: 0.0
        ).go()

    found = {one.metric: one.difference for one in comparisons(play(main()).attempts)}
    assert "whole task, s" not in found
    assert found["TTFT, s"].value == pytest.approx(0)
    assert found["output speed, tok/s"].value == pytest.approx(0)
