"""Waiting is bounded in requests, tokens and time; what is over is refused at once."""

import random
import re

import pytest

from headrace.engine.messages import Accepted, Cancel, Failed, Tokens
from headrace.engine.pace import Pace
from headrace.engine.queue_times import QueueTimes
from tests.engine.simulation import (
    ROW_S,
    STEP_S,
    Arrival,
    Simulation,
    expected,
    percentile,
    poisson,
    request,
)
from tests.engine.test_engine import make_engine, submit

SEED = 20_261_121


def fill(simulation: Simulation, tenant: str, length: int, tries: int) -> int:
    """How many of `tries` requests of a tenant are taken."""
    rng = random.Random(tenant)
    answers = [
        simulation.engine.handle(request(rng, f"{tenant}{i}", length, 4, tenant=tenant))[0]
        for i in range(tries)
    ]
    assert all(isinstance(a, Accepted) or a.error == "QueueFull" for a in answers)  # pyright: ignore[reportAttributeAccessIssue]
    return sum(isinstance(answer, Accepted) for answer in answers)


def occupied(**bounds: int) -> Simulation:
    """A simulation whose one slot is taken."""
    simulation = Simulation(max_sequences=1, **bounds)
    simulation.engine.handle(submit("first", (1,), 1_000, tenant="first"))
    simulation.engine.step()
    return simulation


def test_each_tenant_may_hold_as_many_places_as_are_left_free() -> None:
    simulation = occupied(max_waiting=64)
    assert fill(simulation, "a", 10, 1_000) == 64
    assert fill(simulation, "b", 10, 1_000) == 32
    assert fill(simulation, "c", 10, 1_000) == 16
    assert fill(simulation, "d", 10, 1_000) == 8


def test_a_place_that_is_left_can_be_taken_again() -> None:
    simulation = occupied(max_waiting=8)
    assert fill(simulation, "a", 10, 100) == 8
    simulation.engine.handle(Cancel(id="a3"))
    assert fill(simulation, "b", 10, 100) == 5, "of 16 places 9 were free: 5 taken, 4 left"


def test_prompt_tokens_are_bounded_likewise() -> None:
    simulation = occupied(max_waiting_tokens=4_000)
    assert fill(simulation, "a", 1_000, 100) == 4
    assert fill(simulation, "b", 1_000, 100) == 2
    assert fill(simulation, "c", 8_000, 100) == 1, "one prompt of any length finds a place"


def test_what_starts_at_once_does_not_wait() -> None:
    engine = make_engine(max_sequences=3, max_waiting=0)
    answers = [engine.handle(submit(str(i), (1,)))[0] for i in range(4)]
    assert [type(answer) for answer in answers] == [Accepted, Accepted, Accepted, Failed]


def test_the_speed_is_that_of_the_time_in_which_some_wait() -> None:
    pace = Pace()
    pace.note(0.0, 100, is_short=False)
    pace.note(50.0, 100, is_short=True)  # the time before does not count: all was read at once
    assert pace.tokens_per_s is None
    for second in range(51, 60):
        pace.note(float(second), 100, is_short=True)
    assert pace.tokens_per_s == pytest.approx(100)
    for second in range(60, 300):
        pace.note(float(second), 500, is_short=True)
    assert pace.tokens_per_s == pytest.approx(500, rel=0.02)


def busy_with_long_prompts() -> Simulation:
    """A simulation that reads prompts of one tenant for minutes, and knows its speed."""
    simulation = Simulation(max_waiting=1_000, max_waiting_tokens=10_000_000)
    fill(simulation, "long", 8_000, 200)
    while simulation.clock.now_s() < 5:
        simulation.engine.step()
    return simulation


def test_who_would_wait_longer_than_it_may_is_refused_at_once_and_told_for_how_long() -> None:
    engine = busy_with_long_prompts().engine
    rng = random.Random(SEED)
    (refusal,) = engine.handle(request(rng, "x", 100, 4, tenant="long", deadline_s=30.0))
    assert isinstance(refusal, Failed)
    assert refusal.error == "QueueFull"
    left_s = 200 * 8_000 * (STEP_S + 256 * ROW_S) / 256 - 5
    (said_s,) = re.findall(r"\d+", refusal.message)
    assert int(said_s) == pytest.approx(left_s, rel=0.01)
    assert refusal.retry_after_s == 60
    patient = request(rng, "y", 100, 4, tenant="long", deadline_s=1_000.0)
    assert engine.handle(patient) == [Accepted(id="y")]


def test_the_wait_is_judged_by_the_tenants_own_share() -> None:
    engine = busy_with_long_prompts().engine
    other = request(random.Random(SEED), "x", 1_000, 4, tenant="other", deadline_s=5.0)
    assert engine.handle(other) == [Accepted(id="x")]


def overloaded(per_s: float, *, lasts_s: float = 30.0) -> tuple[Simulation, list[Arrival], float]:
    """Ten tenants ask `per_s` times a second for half a minute; useful tokens a second."""
    rng = random.Random(SEED)
    arrivals = [
        Arrival(at_s, request(rng, f"r{i}", rng.randint(256, 768), 32, tenant=f"t{i % 10}"))
        for i, at_s in enumerate(poisson(rng, per_s, int(per_s * lasts_s)))
    ]
    simulation = Simulation(max_waiting=48)
    deepest = 0

    def watch() -> None:
        nonlocal deepest
        waiting = sum(r.first_s is None and r.failed is None for r in simulation.records.values())
        deepest = max(deepest, waiting)

    simulation.run(arrivals, until=lambda: simulation.clock.now_s() >= lasts_s, watch=watch)
    assert deepest <= 2 * 48 + 32
    served = [r for r in simulation.records.values() if r.is_served]
    tokens = sum(len(r.arrival.asked.prompt) + len(r.tokens) for r in served)
    return simulation, arrivals, tokens / lasts_s


def test_at_ten_times_capacity_the_goodput_stays_and_the_queue_drains() -> None:
    capacity_per_s = 256 / (STEP_S + 256 * ROW_S) / (512 + 32)
    peak = max(overloaded(capacity_per_s * share)[2] for share in (0.9, 1.0, 1.2))
    simulation, arrivals, goodput = overloaded(10 * capacity_per_s)
    assert goodput >= 0.95 * peak, f"seed {SEED}: {goodput:.0f} of {peak:.0f} tokens/s"
    records = simulation.records
    refused = [r for r in records.values() if r.failed is not None]
    assert len(refused) > 0.8 * len(arrivals)
    assert all(r.refused_at_once for r in refused)
    assert all(1 <= r.failed.retry_after_s <= 60 for r in refused if r.failed is not None)

    end_s = simulation.clock.now_s()
    rng = random.Random(SEED)
    later = [
        Arrival(end_s + 10 + 0.2 * i, request(rng, f"later{i}", 512, 32, tenant="t0"))
        for i in range(50)
    ]
    simulation.run(later)
    assert simulation.engine.is_idle
    simulation.engine.check_integrity()
    alone_s = 2 * STEP_S + 512 * ROW_S
    assert percentile((records[a.asked.id].ttft_s for a in later), 0.99) < 3 * alone_s
    assert all(r.tokens == expected(r.arrival.asked) for r in records.values() if r.is_served)


def test_cache_demand_of_four_times_the_cache_finishes_with_the_same_tokens() -> None:
    rng = random.Random(SEED)
    simulation = Simulation(num_blocks=128)
    arrivals = [
        Arrival(0.0, request(rng, f"r{i}", 400, 112, tenant=f"t{i % 3}")) for i in range(16)
    ]
    assert sum(len(a.asked.prompt) + a.asked.max_tokens for a in arrivals) == 4 * 128 * 16
    records = simulation.run(arrivals)
    assert simulation.engine.stats().preempted > 0
    assert all(r.tokens == expected(r.arrival.asked) for r in records.values())
    simulation.engine.check_integrity()


def test_a_thousand_cancels_at_any_moment_leave_nothing_behind() -> None:
    rng = random.Random(SEED)
    arrivals = [
        Arrival(
            at_s,
            request(rng, f"r{i}", rng.randint(1, 2_000), rng.randint(1, 300), tenant=f"t{i % 7}"),
            at_s + rng.choice([0.0, 0.05, 0.5, 5.0]) * rng.random(),
        )
        for i, at_s in enumerate(poisson(rng, 20.0, 1_000))
    ]
    simulation = Simulation(num_blocks=600)
    records = simulation.run(arrivals, watch=simulation.engine.check_integrity)
    cancelled = [r for r in records.values() if r.end_s is None]
    assert simulation.engine.stats().preempted > 0
    assert len([r for r in cancelled if not r.tokens]) > 100, f"seed {SEED}"
    assert len([r for r in cancelled if r.tokens]) > 100, f"seed {SEED}"
    assert simulation.engine.is_idle
    simulation.engine.check_integrity()
    assert not any(isinstance(m, Tokens) for m in simulation.engine.step())
    assert all(r.tokens == expected(r.arrival.asked)[: len(r.tokens)] for r in records.values())


def test_the_mean_of_queue_times_forgets() -> None:
    times = QueueTimes()
    assert times.mean_s(0.0) == 0
    times.note(0.0, 4.0)
    times.note(30.0, 2.0)
    assert times.mean_s(30.0) == pytest.approx(3.0)
    assert times.mean_s(61.0) == pytest.approx(2.0)
    assert times.mean_s(91.0) == 0


def test_who_will_not_wait_so_long_is_refused_while_others_do() -> None:
    simulation = busy_with_long_prompts()
    rng = random.Random(SEED)
    hasty = request(rng, "x", 100, 4, tenant="long", max_queue_s=1.0)
    (refusal,) = simulation.engine.handle(hasty)
    assert isinstance(refusal, Failed)
    assert refusal.error == "QueueSlow"
    assert refusal.retry_after_s == 60
    idle = Simulation().engine
    assert idle.handle(hasty) == [Accepted(id="x")]
