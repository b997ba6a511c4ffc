"""Whole runs in virtual time: every number equals what the script says."""

import heapq
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.bench.client import Exchange
from headrace.bench.comparison import comparisons
from headrace.bench.load import Budget, Player, poisson_times
from headrace.bench.metrics import Attempt
from headrace.bench.race import places, race
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import Outcome, scenario_named
from headrace.bench.scenarios.words import words
from headrace.bench.summary import Cell, cells, totals
from headrace.errors import EngineError
from tests.bench.agent import good_agent
from tests.bench.virtual import LoopClock, Scripted, answered, play, scripted

TEN = "one two three four five six seven eight nine ten"
CLOSED = ("short", "summary-10k", "summary-30k", "tool-call", "dialogue")


def run(
    *names: str, endpoints: list[Any], budget: Budget | None = None, **settings: Any
) -> tuple[Run, list[Cell]]:
    async def main() -> Run:
        runner = Runner(
            player=Player(clock=LoopClock(), seed=0, budget=budget or Budget()),
            endpoints=endpoints,
            settings=RunSettings(scenarios=[scenario_named(n) for n in names], **settings),
            cpu_s=lambda: 0.0,
        )
        return await runner.go()

    done = play(main())
    return done, cells(done.attempts, {})


@pytest.mark.parametrize("name", CLOSED)
def test_each_scenario_measures_what_the_script_says(name: str) -> None:
    place = scripted("e", lambda _: TEN, first_s=0.25, gap_s=0.04)
    _, (cell,) = run(name, endpoints=[place], tasks=4)
    assert cell.tasks == 4
    for quantile in ("p50", "p99"):
        assert cell.ttft[quantile].value == pytest.approx(0.25)  # type: ignore[union-attr]
        assert cell.e2e[quantile].value == pytest.approx(0.25 + 9 * 0.04)  # type: ignore[union-attr]
        assert cell.tpot[quantile].value == pytest.approx(0.04)  # type: ignore[union-attr]
        assert cell.speed[quantile].value == pytest.approx(25.0)  # type: ignore[union-attr]
    assert cell.gap_p50_s == pytest.approx(0.04)
    calls = 8 if name == "dialogue" else 1
    assert cell.output_tokens == 4 * calls * 10
    assert cell.counts == ["events"]
    assert cell.flags == []


def test_a_total_is_of_all_tasks_pooled() -> None:
    place = scripted("e", lambda _: TEN, uneven=0.3)
    done, _ = run("short", "dialogue", "mix", endpoints=[place], tasks=3, stage_s=4.0)
    (total,) = totals(done.attempts, {})
    answers = [answer for a in done.attempts if not a.stage for answer in a.answers]
    firsts = [answer.pieces[0].at_s - answer.start_s for answer in answers]
    assert total.ttft["p50"] is not None
    assert total.ttft["p50"].value == pytest.approx(np.quantile(firsts, 0.5))
    assert (total.scenario, total.stage, total.tasks) == ("total", "", 3 + 3)
    assert total.output_tokens == (3 + 3 * 8) * 10
    alone = [a for a in done.attempts if a.scenario in ("short", "mix")]
    assert totals(alone, {}) == []  # the cell of the one scenario says it


def test_success_and_its_cost_count_all_attempts() -> None:
    # Canberra is right for one of the questions only; each third answer is cut (the second task
    # asked is the warm-up, and the first call of all is the probe).
    place = scripted("e", lambda _: "It is Canberra.", fault_every=3)
    done, (cell,) = run("short", endpoints=[place], tasks=9)
    by_hand = [a for a in done.attempts if "Australia" in _asked(a.task) and not a.answers[0].fault]
    assert cell.passed is not None
    assert cell.outcomes.get("passed", 0) == len(by_hand)
    assert cell.outcomes["failed call"] == sum(bool(a.answers[0].fault) for a in done.attempts)
    tokens = sum(
        (a.answers[0].prompt_tokens or 0) + a.answers[0].output_tokens for a in done.attempts
    )
    assert cell.tokens_per_success == (tokens / len(by_hand) if by_hand else None)


def _asked(task: str) -> str:
    number = int(task.split("/")[1])
    return words().questions[number % len(words().questions)][0]


def test_endpoints_get_the_same_bodies_in_random_order_and_are_compared_in_pairs() -> None:
    first = scripted("a", lambda _: TEN, first_s=0.2)
    second = scripted("b", lambda _: TEN, first_s=0.3)
    done, _ = run("short", endpoints=[first, second], tasks=20)
    bodies = [
        [{k: v for k, v in body.items() if k != "model"} for body in place.transport.bodies]  # type: ignore[attr-defined]
        for place in (first, second)
    ]
    assert bodies[0] == bodies[1]
    order = [a.endpoint for a in sorted(done.attempts, key=lambda a: a.start_s)]
    assert {"".join(order[i : i + 2]) for i in range(0, 40, 2)} == {"ab", "ba"}
    found = {c.metric: c for c in comparisons(done.attempts)}
    assert found["TTFT, s"].difference.value == pytest.approx(0.1)
    assert found["TTFT, s"].difference.is_shown
    assert not found["output speed, tok/s"].difference.is_shown
    assert found["TTFT, s"].difference.pairs == 20


def test_faulty_answers_are_counted_and_in_no_average() -> None:
    def attempt(number: int, at_s: float, fault: str) -> Attempt:
        answer = answered("yes", at_s=at_s, fault=fault)
        outcome = Outcome.FAILED_CALL if fault else Outcome.PASSED
        return Attempt(
            endpoint="e", scenario="short", task=f"short/{number}", start_s=0.0, end_s=at_s,
            answers=(answer,), outcome=outcome,
        )  # fmt: skip

    tried = [attempt(0, 0.5, ""), attempt(1, 99.0, "cut"), attempt(2, 0.7, "")]
    (cell,) = cells(tried, {})
    ttft = cell.ttft["p99"]
    assert ttft is not None
    assert ttft.value < 0.71
    assert ttft.samples == 2
    assert cell.faults == {"cut": 1}
    assert cell.passed is not None
    assert cell.passed.value == pytest.approx(2 / 3)


def test_load_is_offered_in_shares_of_what_was_measured() -> None:
    # Four lanes, one second a request: four a second, whatever is asked.
    place = scripted("e", lambda _: "yes", first_s=1.0, lanes=4)
    done, found = run("mix", endpoints=[place], stage_s=60.0, concurrency=8)
    assert done.capacity["e"] == pytest.approx(4.0, rel=0.05)
    by_stage = {cell.stage: cell for cell in found}
    assert list(by_stage) == ["50%", "80%", "100%", "120%"]
    for stage, (share, cell) in enumerate(zip((0.5, 0.8, 1.0, 1.2), found, strict=True)):
        times = poisson_times(share * done.capacity["e"], 60.0, stage)
        for quantile in (0.5, 0.99):
            measured = cell.ttft[f"p{quantile * 100:g}"]
            assert measured is not None
            assert measured.value == pytest.approx(np.quantile(_waits(times, 4), quantile))
    assert by_stage["50%"].tokens_per_s == pytest.approx(2.0, rel=0.25)
    assert all(attempt.woke_s is not None for attempt in done.attempts)


def _waits(times: list[float], lanes: int) -> list[float]:
    """Of a queue with so many lanes of one second each: from each arrival to its end."""
    free = [0.0] * lanes
    waits: list[float] = []
    for at_s in times:
        end_s = max(at_s, heapq.heappop(free)) + 1.0
        heapq.heappush(free, end_s)
        waits.append(end_s - at_s)
    return waits


def test_prompts_are_cut_to_the_context_and_a_note_says_so() -> None:
    place = scripted("e", lambda _: "yes")
    done, _ = run("summary-30k", endpoints=[place], tasks=2, context_tokens=4_000)
    assert re.search(r"summary-30k: prompts cut to [\d,]+ of 30,000 words", done.notes[0])
    for attempt in done.attempts:
        prompt = attempt.answers[0].prompt_tokens
        assert prompt is not None
        assert 3_000 < prompt <= 4_000 - 400
    done, _ = run("summary-10k", "short", endpoints=[place], tasks=1, context_tokens=500)
    assert "summary-10k: not run, the context is too small" in done.notes
    assert {a.scenario for a in done.attempts} == {"short"}


def test_full_lengths_are_asked_where_the_endpoint_takes_it() -> None:
    class Strict(Scripted):
        async def post(self, body: bytes, on_piece: Any = None) -> Exchange:
            if b"ignore_eos" in body:
                return Exchange(sent_s=0.0, ended_s=0.0, status=422)
            return await super().post(body, on_piece)

    lenient = scripted("lenient", lambda _: "yes")
    strict = replace(scripted("strict", lambda _: ""), transport=Strict(reply=lambda _: "yes"))
    done, _ = run("shape-100", "short", endpoints=[lenient, strict], tasks=2)
    assert done.notes == ["strict: does not take ignore_eos, lengths as they come"]
    bodies = lenient.transport.bodies  # type: ignore[attr-defined]
    asked = [("ignore_eos" in body, body["max_tokens"]) for body in bodies]
    assert {(True, 300), (False, 64)} < set(asked)
    assert (False, 300) not in asked
    assert len(strict.transport.bodies) == len(bodies) - 1  # type: ignore[attr-defined]


def test_usage_in_each_event_is_asked_where_the_endpoint_takes_it() -> None:
    plain = scripted("plain", lambda _: TEN, words_an_event=4)
    tells = scripted("tells", lambda _: TEN, words_an_event=4, takes_event_usage=True)
    done, found = run("short", "mix", endpoints=[plain, tells], tasks=2, stage_s=4.0)
    asked = {
        place.name: [body["stream_options"] for body in place.transport.bodies]  # type: ignore[attr-defined]
        for place in (plain, tells)
    }
    usual, more = {"include_usage": True}, {"continuous_usage_stats": True}
    assert usual | more not in asked["plain"]
    assert asked["tells"].count(usual) == 1  # the probe of words needs it not, every task does
    assert asked["tells"].count(usual | more) == len(asked["tells"]) - 1 > 10
    assert {(cell.endpoint, *cell.counts) for cell in found} == {
        ("plain", "share"),
        ("tells", "usage"),
    }
    assert done.notes == []


def test_an_endpoint_without_usage_is_counted_otherwise_and_noted() -> None:
    silent = scripted("silent", lambda _: TEN, has_usage=False)
    counted = replace(
        scripted("counted", lambda _: TEN, has_usage=False),
        counter=lambda text: range(0, len(text), 2),
    )
    done, found = run("short", endpoints=[silent, counted], tasks=3)
    assert sorted(done.notes) == [
        f"{name}: reports no usage; 1.5 tokens a word assumed" for name in ("counted", "silent")
    ]
    by_name = {cell.endpoint: cell for cell in found}
    assert by_name["silent"].output_tokens == 3 * 10
    assert by_name["silent"].flags == ["no usage reported: tokens are events"]
    assert by_name["counted"].output_tokens == 3 * len(range(0, len(TEN), 2))
    assert by_name["counted"].flags == ["no usage reported: tokens are those of the common counter"]


def test_a_capacity_is_measured_though_nothing_ends_while_it_is() -> None:
    # Eight are begun at once, and end together after 30 s, when the stage of 5 s is long over.
    place = scripted("e", lambda _: "yes", first_s=30.0)
    done, _ = run("mix", endpoints=[place], stage_s=5.0, concurrency=8, shares=(1.0,))
    assert done.capacity["e"] == pytest.approx(8 / 30)


def test_a_race_out_of_budget_ends_with_what_was_done() -> None:
    async def main() -> Any:
        player = Player(clock=LoopClock(), seed=0, budget=Budget(max_tokens=700))
        lanes: list[Any] = []
        place = scripted("e", good_agent)
        attempts = await race(player, [place], 9, on_start=lanes.extend)
        return lanes[0], attempts

    lane, attempts = play(main())
    assert lane.doing == "out of budget"
    assert 0 < len(attempts) < 2 * 9


def test_a_spent_budget_ends_the_run_with_a_note() -> None:
    place = scripted("e", lambda _: "yes")
    done, _ = run("short", "dialogue", endpoints=[place], budget=Budget(max_tokens=450))
    assert "short: cut short, the budget is spent" in done.notes
    assert "dialogue: not run, the budget is spent" in done.notes


def test_an_endpoint_that_refuses_is_one_sentence() -> None:
    class Refuses:
        async def post(self, body: bytes, on_piece: object = None) -> Exchange:
            return Exchange(sent_s=0.0, ended_s=0.1, status=404)

        async def close(self) -> None:
            """Nothing to close."""

    place = replace(scripted("far", lambda _: ""), transport=Refuses())
    with pytest.raises(EngineError, match="far does not answer: status 404"):
        run("short", endpoints=[place])


def test_a_race_is_run_side_by_side_and_ranked() -> None:
    quick = scripted("quick", good_agent, first_s=0.1, gap_s=0.01)
    slow = scripted("slow", good_agent, first_s=0.5, gap_s=0.4)
    lost = scripted("lost", lambda _: "I cannot.", first_s=0.01)

    async def main() -> Any:
        player = Player(clock=LoopClock(), seed=0)
        return await race(player, [slow, lost, quick], 3)

    attempts = play(main())
    assert {min(a.start_s for a in attempts if a.endpoint == n) for n in ("quick", "slow")} == {0.0}
    ranked = places(attempts, {})
    assert [place.endpoint for place in ranked] == ["quick", "slow", "lost"]
    first, second, last = ranked
    assert first.passed is not None
    assert first.passed.value == 1.0
    # A call of a tool is one event: it takes the time to the first token.
    assert first.errand_s is not None
    assert second.errand_s is not None
    assert second.errand_s.value == pytest.approx(5 * first.errand_s.value)
    assert 5 <= first.calls <= 10
    # "Well. Seven words more and it is over." The first sentence is whole with the second word.
    assert first.sentence_s is not None
    assert second.sentence_s is not None
    assert first.sentence_s.value == pytest.approx(0.1 + 0.01)
    assert second.sentence_s.value == pytest.approx(0.5 + 0.4)
    assert (first.in_budget, second.in_budget) == (1.0, 0.0)
    assert last.errand_s is None
    assert last.tokens_per_success is None
