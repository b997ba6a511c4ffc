"""Service is shared by tokens and weight, in order, and nothing is left idle."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.block_pool import BlockPool, blocks_for
from headrace.engine.fairness import BURST_TOKENS, Tenants
from headrace.engine.messages import Tokens
from headrace.engine.scheduler import PATIENCE, Scheduler
from headrace.engine.sequence import Sequence
from headrace.engine.tenant import OUTPUT_COST, Tenant
from tests.engine.simulation import (
    ROW_S,
    STEP_S,
    Arrival,
    Record,
    Simulation,
    expected,
    percentile,
    poisson,
    request,
)
from tests.engine.test_engine import endings, make_engine, output, run, submit

SEED = 20_261_121


def sequence(name: str, tenant: str = "t", length: int = 10, **changes: object) -> Sequence:
    """A sequence of its own random prompt."""
    asked = request(random.Random(name), name, length, 4, tenant=tenant, **changes)
    return Sequence.begin(asked, 0.0)


def test_reading_costs_one_a_token_drawing_two_and_the_weight_divides() -> None:
    tenant = Tenant(name="t", own_weight=2.0)
    one = sequence("a", length=10)
    tenant.charge(one, 6)
    assert tenant.counter == 6 / 2
    one.computed = 6
    tenant.charge(one, 4)
    assert tenant.counter == (10 + OUTPUT_COST) / 2


def test_what_was_cached_is_free_and_so_is_reading_it_again() -> None:
    tenant = Tenant(name="t")
    one = sequence("a", length=10)
    one.computed = 8
    tenant.charge(one, 2)
    assert tenant.counter == 2 + OUTPUT_COST
    one.computed = 0  # preempted
    tenant.charge(one, 9)
    assert tenant.counter == 2 + OUTPUT_COST


def test_idling_earns_a_burst_and_no_more() -> None:
    tenants = Tenants()
    asked = submit("a", (1,), tenant="busy")
    busy = tenants.find(asked)
    tenants.join(busy, asked)
    busy.wait(sequence("a", "busy"))
    busy.counter = 1e6
    tenants.backlogged()
    asked = submit("b", (1,), tenant="late", weight=2.0)
    late = tenants.find(asked)
    tenants.join(late, asked)
    assert late.counter == 1e6 - BURST_TOKENS / 2


def test_leaving_and_coming_back_forgives_no_debt() -> None:
    tenants = Tenants()
    for name, counter in (("a", 5e4), ("b", 0.0)):
        asked = submit("x", (1,), tenant=name)
        tenant = tenants.find(asked)
        tenants.join(tenant, asked)
        tenant.wait(sequence(name, name))
        tenant.counter = counter
    debtor = tenants["a"]
    tenants.leave(debtor)
    again = tenants.find(submit("x", (1,), tenant="a"))
    assert again is not debtor
    assert again.counter == 5e4


def abusers_and_victims(*, abused: bool, num_blocks: int) -> list[Record]:
    """The records of 300 requests of a modest tenant, alone or beside 1,000 long prompts."""
    rng = random.Random(SEED)
    victims = [
        Arrival(at_s, request(rng, f"v{i}", rng.randint(256, 1024), 64, tenant="modest"))
        for i, at_s in enumerate(poisson(rng, 1.5, 300))
    ]
    abusers = [
        Arrival(0.0, request(rng, f"a{i}", 8_000, 64, tenant="abuser"))
        for i in range(1_000 if abused else 0)
    ]
    simulation = Simulation(num_blocks=num_blocks, max_waiting=1_000, max_waiting_tokens=8_000_000)
    records = simulation.records

    def is_over() -> bool:
        return len(records) == 300 + len(abusers) and all(
            records[v.asked.id].end_s is not None for v in victims
        )

    simulation.run(victims + abusers, until=is_over)
    assert not any(record.refused_at_once for record in records.values())
    return [records[victim.asked.id] for victim in victims]


@pytest.mark.parametrize("num_blocks", [8_192, 2_048], ids=["roomy", "tight"])
def test_a_thousand_long_prompts_hardly_delay_another_tenant(num_blocks: int) -> None:
    alone = abusers_and_victims(abused=False, num_blocks=num_blocks)
    beside = abusers_and_victims(abused=True, num_blocks=num_blocks)
    before, after = (
        percentile((record.ttft_s for record in records), 0.99) for records in (alone, beside)
    )
    said = f"seed {SEED}: P99 of the wait {before:.3f} s alone, {after:.3f} s beside"
    assert after <= 1.5 * before, said
    assert all(record.tokens == expected(record.arrival.asked) for record in beside)


def test_weights_share_service_within_the_bound_of_the_paper() -> None:
    """|W_a / w_a - W_b / w_b| <= 2 max(w_p L, w_q M) while both have work (Sheng et al., 4.1)."""
    rng = random.Random(SEED)
    weights = {"one": 1.0, "three": 3.0}
    num_blocks, longest = 256, 400
    simulation = Simulation(num_blocks=num_blocks, max_sequences=8, max_waiting=10_000)
    arrivals = [
        Arrival(
            0.0,
            request(rng, f"{name}{i}", rng.randint(20, longest), 20, tenant=name, weight=weight),
        )
        for i in range(400)
        for name, weight in weights.items()
    ]
    bound = 2 * max(longest, OUTPUT_COST * num_blocks * 16)
    records = simulation.records

    def served(name: str) -> float:
        mine = [r for r in records.values() if r.arrival.asked.tenant == name and r.tokens]
        read = sum(len(r.arrival.asked.prompt) for r in mine)
        return read + OUTPUT_COST * sum(len(r.tokens) for r in mine)

    def has_finished() -> bool:
        return any(
            all(r.end_s is not None for r in records.values() if r.arrival.asked.tenant == name)
            for name in weights
            if records
        )

    simulation.run(arrivals, until=has_finished)
    one, three = served("one"), served("three") / 3.0
    assert three > 30_000
    assert abs(one - three) <= bound
    assert 0.9 < three / one < 1.1


def test_a_tenants_requests_start_in_the_order_they_came() -> None:
    rng = random.Random(SEED)
    simulation = Simulation(num_blocks=64, max_sequences=4)
    arrivals = [
        Arrival(0.01 * i, request(rng, f"{t}{i}", rng.randint(1, 300), 1, tenant=t))
        for i in range(60)
        for t in ("x", "y")
    ]
    records = simulation.run(arrivals)
    for tenant in ("x", "y"):
        firsts = [r.first_s for r in records.values() if r.arrival.asked.tenant == tenant]
        assert None not in firsts
        assert firsts == sorted(firsts, key=lambda s: s or 0.0)


def test_slots_of_a_tenant_above_its_share_are_given_to_one_below() -> None:
    engine = make_engine(max_sequences=4)
    for i in range(6):
        engine.handle(submit(f"a{i}", (i, 50), 40, tenant="a"))
    engine.step()
    for i in range(4):
        engine.handle(submit(f"b{i}", (i, 60), 40, tenant="b"))
    seen: set[str] = set()
    for _ in range(4):
        seen = {m.id for m in engine.step() if isinstance(m, Tokens)}
    assert seen == {"a0", "a1", "b0", "b1"}
    preempted = engine.stats().preempted
    assert preempted == 2
    assert set(endings(run(engine))) >= {"a5", "b3"}
    assert engine.stats().preempted == preempted, "those within their share changed places"


def test_the_first_of_a_tenant_never_gives_way_to_fairness() -> None:
    """One that needs most of the cache goes on while others come and go."""
    engine = make_engine(num_blocks=12, max_sequences=4)
    engine.handle(submit("big", tuple(range(100)), 60, tenant="big"))
    tokens = 0
    for i in range(200):
        engine.handle(submit(f"s{i}", (i % 90, 1, 2), 4, tenant=f"small{i}"))
        tokens += sum(isinstance(m, Tokens) and m.id == "big" for m in engine.step())
    assert tokens == 60
    run(engine)


def test_in_a_shortage_the_youngest_gives_way_and_the_oldest_never() -> None:
    engine = make_engine(num_blocks=6, max_sequences=3)
    for i in range(3):
        engine.handle(submit(str(i), (i, 1, 2), 60))
    ends: list[str] = []
    for _ in range(60):
        ends += endings(engine.step())
    assert ends == ["0"], "the oldest had a token in every step"
    assert engine.stats().preempted > 0
    assert list(endings(run(engine))) == ["1", "2"]


def test_in_a_shortage_the_tenant_above_its_share_gives_way() -> None:
    engine = make_engine(num_blocks=8, max_sequences=4)
    for i in range(3):
        engine.handle(submit(f"a{i}", (i, 1, 2), 60, tenant="a"))
    engine.step()
    engine.handle(submit("b", (5, 6, 7), 60, tenant="b"))
    tokens = [len(output(engine.step(), "b")) for _ in range(60)]
    assert engine.stats().preempted > 0
    assert sum(tokens) == 60, "the youngest of all, but within its share"
    run(engine)


def test_a_higher_priority_takes_the_slot_of_a_lower() -> None:
    engine = make_engine(max_sequences=2)
    engine.handle(submit("low0", (1,), 30, priority=-1))
    engine.handle(submit("low1", (2,), 30, priority=-1))
    engine.step()
    engine.handle(submit("high", (3,), 3, priority=1, tenant="other"))
    assert {m.id for m in engine.step() if isinstance(m, Tokens)} == {"low0", "high"}
    assert set(endings(run(engine))) == {"low0", "low1", "high"}


def test_a_lower_priority_starts_after_so_many_higher_ones_at_the_latest() -> None:
    engine = make_engine(max_sequences=1, max_waiting=1_000)
    engine.handle(submit("now", (9,), 2))
    engine.step()
    engine.handle(submit("low", (1,), 3, priority=-1))
    for i in range(3 * PATIENCE):
        engine.handle(submit(f"high{i}", (2,), 2))
    started: list[str] = []
    for message in run(engine):
        if isinstance(message, Tokens) and message.id not in started:
            started.append(message.id)
    assert PATIENCE - 2 <= started.index("low") <= PATIENCE + 2


def test_a_prompt_as_large_as_the_cache_runs_although_small_ones_never_stop() -> None:
    engine = make_engine(num_blocks=12, max_sequences=6, max_waiting=10_000)
    coming = count()

    def more() -> None:
        while engine.stats().waiting < 12:
            i = next(coming)
            engine.handle(submit(f"s{i}", (i % 90, 1, 2), 5 + i % 7, tenant=f"small{i % 5}"))

    for _ in range(10):
        more()
        engine.step()
    engine.handle(submit("big", tuple(range(100)) + tuple(range(60)), 20, tenant="big"))
    tokens: list[int] = []
    for _ in range(1_000):
        more()
        tokens += output(engine.step(), "big")
        if len(tokens) == 20:
            break
    assert len(tokens) == 20, "starved"
    assert tokens == [60 + i for i in range(20)]


def test_streams_get_a_token_in_every_step_while_long_prompts_are_read() -> None:
    rng = random.Random(SEED)
    simulation = Simulation()
    streams = [Arrival(0.0, request(rng, f"s{i}", 20, 2_000, tenant=f"t{i}")) for i in range(8)]
    prompts = [
        Arrival(at_s, request(rng, f"p{i}", 8_000, 8, tenant="long"))
        for i, at_s in enumerate(poisson(rng, 0.5, 20, start_s=1.0))
    ]
    records = simulation.records
    longest_s, last = 0.0, (0.0, 0)

    def watch() -> None:
        nonlocal longest_s, last
        now_s, before = simulation.clock.now_s(), last
        tokens = [len(records[s.asked.id].tokens) for s in streams]
        last = (now_s, min(tokens))
        if 0 < before[1] < 2_000:
            assert last[1] == before[1] + 1, "a stream was passed over"
            longest_s = max(longest_s, now_s - before[0])

    simulation.run(streams + prompts, watch=watch)
    assert longest_s <= STEP_S + 256 * ROW_S + 1e-9
    assert all(record.is_served for record in records.values())


class Plans:
    """A scheduler, what arrived at it, and the checks of each plan."""

    def __init__(self, *, num_blocks: int, max_sequences: int, max_step_tokens: int) -> None:
        self.pool = BlockPool(num_blocks, 16)
        self.scheduler = Scheduler(
            self.pool, max_sequences=max_sequences, max_step_tokens=max_step_tokens
        )
        self.max_sequences = max_sequences
        self.budget = max(max_step_tokens, max_sequences)

    def step(self) -> None:
        """Plan, check, and commit as an engine does."""
        decoding = {s for t in self.scheduler.tenants for s in t.running if s.num_pending == 1}
        before = self.scheduler.num_preempted
        plan = self.scheduler.schedule()
        assert sum(chunk.count for chunk in plan) <= self.budget
        assert len({chunk.sequence for chunk in plan}) == len(plan)
        if self.scheduler.num_preempted == before:
            assert decoding <= {chunk.sequence for chunk in plan}, "a stream was held up"
            self.check_nobody_fits(self.budget - sum(chunk.count for chunk in plan))
        for chunk in plan:
            is_sampled = chunk.is_sampled
            chunk.sequence.computed += chunk.count
            if is_sampled:
                chunk.sequence.tokens.append(1)
                if chunk.sequence.finish_reason() is not None:
                    self.scheduler.remove(chunk.sequence)
        self.scheduler.check_integrity()

    def check_nobody_fits(self, budget: int) -> None:
        """Whoever waits although there are budget and a slot needs more blocks than are free."""
        running = [s for tenant in self.scheduler.tenants for s in tenant.running]
        if budget == 0 or len(running) == self.max_sequences:
            return
        spare = sum(max(1, blocks_for(len(s.tokens) + 1, 16) - len(s.blocks)) for s in running)
        for tenant in self.scheduler.tenants:
            if tenant.waiting:
                assert (
                    blocks_for(len(tenant.waiting[0].tokens) + 1, 16) + spare > self.pool.num_free
                )


@given(data=st.data())
def test_every_admitted_sequence_ends_whatever_comes_and_goes(data: st.DataObject) -> None:
    """No livelock: the steps are bounded by the work, done one by one three times over."""
    num_blocks = data.draw(st.integers(3, 24))
    plans = Plans(
        num_blocks=num_blocks,
        max_sequences=data.draw(st.integers(1, 6)),
        max_step_tokens=data.draw(st.integers(1, 64)),
    )
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=1, max_size=5))
    alive: list[Sequence] = []
    work = 0
    for i in range(data.draw(st.integers(1, 25))):
        tenant = data.draw(st.integers(0, len(weights) - 1))
        length = data.draw(st.integers(1, 16 * num_blocks - 1))
        asked = submit(
            str(i),
            tuple(range(length)),
            data.draw(st.integers(1, min(20, 16 * num_blocks - length))),
            tenant=str(tenant),
            weight=weights[tenant],
            priority=data.draw(st.sampled_from([0, 0, 0, -1, 1])),
        )
        alive.append(Sequence.begin(asked, 0.0))
        plans.scheduler.add(alive[-1])
        work += length + asked.max_tokens
        for _ in range(data.draw(st.integers(0, 5))):
            plans.step()
        if data.draw(st.integers(0, 7)) == 0:
            gone = data.draw(st.sampled_from(alive))
            if gone.finish_reason() is None:
                plans.scheduler.remove(gone)
                alive.remove(gone)
    for _ in range(3 * work):
        if not len(plans.scheduler.tenants):
            break
        plans.step()
    assert not len(plans.scheduler.tenants), "the work never ends"
    assert plans.pool.num_free == num_blocks
    assert all(s.finish_reason() is not None for s in alive)
