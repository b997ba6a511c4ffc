"""Load over several processes: what is sent is what one would send, and all of it comes back."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.bench.load import (
    Address,
    Budget,
    ClientLag,
    ClosedLoop,
    Crew,
    Loaded,
    Numbered,
    OpenLoop,
    Order,
    Player,
    Together,
    poisson_times,
)
from headrace.bench.metrics import Attempt
from headrace.bench.null_script import NullScript
from headrace.bench.null_server import NullServer
from headrace.bench.scenarios import Extensions, scenario_named
from headrace.clock import SystemClock
from headrace.errors import EngineError
from tests.bench.virtual import LoopClock, play, scripted

TASKS = Numbered(scenario_named("mix").make, 0, 200)


def opened(count: int = 12, **options: Any) -> OpenLoop:
    times = poisson_times(40.0, 60.0, 1)[:count]
    due = [(at_s, number) for number, at_s in enumerate(times)]
    return OpenLoop(endpoint=0, make=TASKS, due=due, stage="80%", **options)


def played(*orders: Order) -> list[Attempt]:
    async def main() -> list[Attempt]:
        player = Player(clock=LoopClock(), seed=0)
        place = [scripted("e", lambda _: "yes", first_s=0.3)]
        found = await asyncio.gather(*(order.play(player, place) for order in orders))
        return sorted((a for attempts in found for a in attempts), key=lambda a: a.start_s)

    return play(main())


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("whole", [opened(), Together((opened(), opened()))])
def test_the_parts_of_a_schedule_are_the_schedule(whole: Order, count: int) -> None:
    parts = whole.split(count)
    assert len(parts) == count
    alone, shared = played(whole), played(*parts)
    assert [(a.start_s, a.task) for a in shared] == [(a.start_s, a.task) for a in alone]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_parts_of_a_closed_loop_keep_as_many_running_and_repeat_no_task(count: int) -> None:
    whole = ClosedLoop(endpoint=0, make=TASKS, first=100, concurrency=5, duration_s=3.0)
    attempts = played(*whole.split(count))
    assert len(attempts) == len(played(whole))
    assert len({a.task for a in attempts}) == len(attempts)
    assert min(int(a.task.split("/")[1]) for a in attempts) == 100
    assert sum(a.start_s <= 1.0 < a.end_s for a in attempts) == 5


def with_crew(*orders: Order, player: Player, script: NullScript) -> Sequence[Loaded]:
    async def main() -> Sequence[Loaded]:
        server = NullServer(script)
        url = await server.start()
        address = Address(name="null", url=url, model="null")
        try:
            async with Crew(player, [address], 2) as crew:
                return [await crew.load(order) for order in orders]
        finally:
            await server.close()

    return asyncio.run(main())


def test_two_processes_send_one_schedule_and_their_measurements_are_merged() -> None:
    heard: list[str] = []
    player = Player(
        clock=SystemClock(),
        seed=0,
        record=[],
        on_attempt=lambda attempt: heard.append(attempt.task),
    )
    order = opened(extensions=Extensions(event_usage=True))
    script = NullScript(first_s=0.02, gap_s=0.001, tokens=5, tokens_an_event=2)
    first, again = with_crew(order, opened(count=3), player=player, script=script)
    assert [a.task for a in first.attempts] == [f"mix/{number}" for number in range(12)]
    begin_s = first.attempts[0].start_s - order.due[0][0]
    sent = [a.start_s - begin_s for a in first.attempts]
    assert sent == pytest.approx([at_s for at_s, _ in order.due])
    assert all(a.answers[0].output_tokens == 5 and not a.answers[0].fault for a in first.attempts)
    # What the endpoint takes is known in every process: events of two tokens are counted.
    assert {a.answers[0].counts for a in first.attempts} == {"usage"}
    assert {a.answers[0].counts for a in again.attempts} == {"share"}
    assert set(first.lags) == {"process 1", "process 2"}
    assert all(isinstance(lag, ClientLag) for lag in first.lags.values())
    assert len(again.attempts) == 3
    assert len(heard) == 15
    assert player.record is not None
    assert sorted(json.loads(line)["id"] for line in player.record) == sorted(heard)
    answers = [answer for a in (*first.attempts, *again.attempts) for answer in a.answers]
    assert player.budget.tokens == sum(a.output_tokens + (a.prompt_tokens or 0) for a in answers)


def test_a_budget_is_shared_among_processes() -> None:
    player = Player(clock=SystemClock(), seed=0, budget=Budget(max_tokens=200))
    script = NullScript(first_s=0.0, gap_s=0.0, tokens=2)
    (found,) = with_crew(opened(count=60), player=player, script=script)
    assert player.budget.is_spent
    assert 0 < len(found.attempts) < 60


def test_a_process_that_dies_is_one_sentence() -> None:
    order = OpenLoop(endpoint=0, make=_deadly, due=[(0.0, 0), (0.0, 1)], stage="80%")
    player = Player(clock=SystemClock(), seed=0)
    with pytest.raises(EngineError, match="a client process ended"):
        with_crew(order, player=player, script=NullScript())


def _deadly(_: int) -> Any:
    raise SystemExit(0)
