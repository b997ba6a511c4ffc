"""Loops in virtual time: what is measured equals a queue worked by hand."""

import asyncio
import datetime
import itertools
from dataclasses import replace

import pytest

from headrace.bench.load import Budget, LagWatch, Player, closed_loop, open_loop, poisson_times
from headrace.bench.metrics import Attempt, ttft_s
from headrace.bench.prices import Price
from headrace.bench.scenarios import Outcome
from headrace.bench.scenarios.dialogue import dialogue
from headrace.bench.scenarios.short import OneCall, question
from tests.bench.virtual import LoopClock, play, scripted


def player(**options: object) -> Player:
    return Player(clock=LoopClock(), seed=0, **options)  # type: ignore[arg-type]


def due(times: list[float]) -> list[tuple[float, int]]:
    return [(at_s, number) for number, at_s in enumerate(times)]


def ttfts(attempts: list[Attempt]) -> list[float]:
    return [t for a in attempts if (t := ttft_s(a.answers[0])) is not None]


def test_an_open_loop_counts_the_wait_that_a_closed_one_hides() -> None:
    # One lane that takes 1 s a request (first word at its end); one is sent each 0.5 s, ten times:
    # the k-th leaves at k/2 and has its word at k + 1.
    times = [0.5 * k for k in range(10)]

    async def main() -> tuple[list[Attempt], list[Attempt]]:
        slow = scripted("slow", lambda _: "yes", first_s=1.0, lanes=1)
        opened = await open_loop(
            player(), slow, due(times), lambda i: question("s", 0, i), stage="100%"
        )
        tasks = (question("s", 0, i) for i in itertools.count())
        closed = await closed_loop(
            player(), slow, tasks, concurrency=1, until_s=LoopClock().now_s() + 10
        )
        return opened, closed

    opened, closed = play(main())
    assert ttfts(opened) == pytest.approx([0.5 * k + 1 for k in range(10)])
    assert ttfts(closed) == pytest.approx([1.0] * 10)


def test_sends_keep_their_times_while_answers_are_slow() -> None:
    times = poisson_times(5.0, 4.0, seed=3)

    async def main() -> list[Attempt]:
        never = scripted("slow", lambda _: "yes", first_s=100.0)
        return await open_loop(
            player(), never, due(times), lambda i: question("s", 0, i), stage="x"
        )

    attempts = play(main())
    assert [a.answers[0].sent_s for a in attempts] == pytest.approx(times)
    assert [a.woke_s for a in attempts] == pytest.approx(times)


def test_a_client_that_is_late_counts_from_when_it_should_have_sent() -> None:
    held = {"s": 0.0}

    class Held(LoopClock):
        def now_s(self) -> float:
            return super().now_s() + held["s"]

    def slowly(number: int) -> OneCall:
        held["s"] += 0.2  # as if making the task took so long
        return question("s", 0, number)

    async def main() -> list[Attempt]:
        late = Player(clock=Held(), seed=0)
        return await open_loop(late, scripted("e", lambda _: "yes"), due([1.0]), slowly, stage="x")

    (attempt,) = play(main())
    assert attempt.start_s == pytest.approx(1.0)
    assert attempt.woke_s == pytest.approx(1.2)


def test_poisson_times_have_their_rate_and_repeat() -> None:
    times = poisson_times(50.0, 100.0, seed=1)
    assert times == poisson_times(50.0, 100.0, seed=1)
    assert times == sorted(times)
    assert len(times) == pytest.approx(5_000, rel=0.06)  # four standard deviations
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert sum(g > 0.02 for g in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)  # 1 / e


def test_a_closed_loop_keeps_so_many_running() -> None:
    async def main() -> list[Attempt]:
        place = scripted("e", lambda _: "yes", first_s=1.0)
        tasks = (question("s", 0, i) for i in itertools.count())
        return await closed_loop(player(), place, tasks, concurrency=4, until_s=5)

    attempts = play(main())
    assert len(attempts) == 20
    for at_s in (0.5, 2.5, 4.5):
        assert sum(a.start_s <= at_s < a.end_s for a in attempts) == 4


def test_a_task_ends_with_the_first_faulty_call() -> None:
    async def main() -> Attempt | None:
        return await player().play(
            scripted("e", lambda _: "one two three", fault_every=3), dialogue("d", 0, 0)
        )

    attempt = play(main())
    assert attempt is not None
    assert len(attempt.answers) == 3
    assert attempt.outcome is Outcome.FAILED_CALL


def test_a_budget_of_tokens_ends_a_run_and_counts_what_was_under_way() -> None:
    budget = Budget(max_tokens=40)

    async def main() -> list[Attempt | None]:
        place = scripted("e", lambda _: "a b c d e")
        play_one = player(budget=budget).play
        return [await play_one(place, question("s", 0, i)) for i in range(9)]

    attempts = play(main())
    done = [a for a in attempts if a is not None]
    assert attempts[len(done) :] == [None] * (9 - len(done))
    spent = sum((a.answers[0].prompt_tokens or 0) + a.answers[0].output_tokens for a in done)
    assert budget.tokens == spent
    last = (done[-1].answers[0].prompt_tokens or 0) + done[-1].answers[0].output_tokens
    assert spent - last < 40 <= spent


def test_money_ends_a_run_too() -> None:
    price = Price(
        input=2.0, output=10.0, currency="USD", date=datetime.date(2026, 1, 1), source="a test"
    )
    budget = Budget(max_micro=1.0)

    async def main() -> list[Attempt | None]:
        place = replace(scripted("e", lambda _: "a b"), price=price)
        play_one = player(budget=budget).play
        return [await play_one(place, question("s", 0, i)) for i in range(3)]

    first, *others = play(main())
    assert first is not None
    answer = first.answers[0]
    assert budget.micro == pytest.approx((answer.prompt_tokens or 0) * 2.0 + 2 * 10.0)
    assert others == [None, None]


def test_a_loop_that_is_held_up_is_seen() -> None:
    now = {"held_s": 0.0}

    class Held(LoopClock):
        def now_s(self) -> float:
            return super().now_s() + now["held_s"]

    async def main() -> tuple[bool, bool]:
        async with LagWatch(LoopClock(), lambda: 0.0) as idle:
            await asyncio.sleep(1)
        async with LagWatch(Held(), lambda: 0.0) as late:
            for _ in range(20):
                await asyncio.sleep(0.05)
                now["held_s"] += 0.02  # as if something had run for so long
        return idle.lag([]).is_valid, late.lag([]).is_valid

    assert play(main()) == (True, False)


def test_a_busy_client_invalidates() -> None:
    used = iter([0.0, 0.8])

    async def main() -> LagWatch:
        async with LagWatch(LoopClock(), lambda: next(used)) as watch:
            await asyncio.sleep(1)
        return watch

    lag = play(main()).lag([])
    assert lag.cpu_share == pytest.approx(0.8)
    assert not lag.is_valid
