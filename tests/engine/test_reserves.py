"""A reserved part of the service is had by those it is kept for, and by nobody in vain."""

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.fairness import Tenants
from headrace.engine.messages import Accepted, Submit
from headrace.engine.reserves import Group, rescale
from headrace.engine.tenant import OUTPUT_COST
from tests.engine.simulation import Arrival, Simulation, request
from tests.engine.test_engine import submit

SEED = 20_261_126
groups_of = st.lists(
    st.builds(
        Group,
        reserved=st.sampled_from([0.0, 0.1, 0.25, 0.3]),
        tenants=st.integers(0, 3),
        own_weight=st.floats(0.01, 1_000),
    ),
    min_size=1,
    max_size=3,
)


@given(groups_of)
def test_each_group_has_its_part_and_who_has_it_already_is_left_alone(groups: list[Group]) -> None:
    rescale(groups)
    active = [group for group in groups if group.tenants]
    whole = sum(group.own_weight * group.scale for group in active)
    for group in active:
        part = group.own_weight * group.scale / whole
        assert part >= group.reserved * (1 - 1e-9)
        assert group.scale >= 1.0 - 1e-9
        if group.scale > 1.0 + 1e-9:
            assert part == pytest.approx(group.reserved), "no more than is reserved"


def test_the_parts_follow_who_is_there() -> None:
    tenants = Tenants()
    crowd = [submit(f"c{i}", (1,), tenant=f"crowd {i}") for i in range(30)]
    kept = submit("k", (1,), tenant="kept", group="enterprise", reserved=0.25, weight=4.0)
    for asked in (kept, *crowd):
        tenants.join(tenants.find(asked), asked)
    assert tenants["kept"].weight == pytest.approx(10.0)  # a quarter of 40
    assert tenants.total_weight == pytest.approx(40.0)
    for asked in crowd[5:]:
        tenants.leave(tenants[asked.tenant])
    assert tenants["kept"].weight == pytest.approx(4.0), "its own weight is more than a quarter"
    another = submit("l", (1,), tenant="another", group="enterprise", reserved=0.25, weight=4.0)
    tenants.join(tenants.find(another), another)
    for asked in crowd:
        tenants.join(tenants.find(asked), asked)
    assert tenants["kept"].weight == tenants["another"].weight == pytest.approx(5.0), "shared"
    tenants.leave(tenants["another"])
    tenants.leave(tenants["kept"])
    assert tenants.total_weight == pytest.approx(30.0)


def test_a_tenant_whose_group_changes_leaves_nothing_behind() -> None:
    tenants = Tenants()
    for asked in (
        submit("a", (1,), tenant="t", weight=2.0),
        submit("b", (1,), tenant="t", weight=3.0, group="enterprise", reserved=0.5),
    ):
        tenants.join(tenants.find(asked), asked)
    assert tenants.total_weight == 3.0


def test_a_crowd_leaves_a_quarter_of_the_service_to_whom_it_is_kept_for() -> None:
    """Twenty tenants against one that has reserved a quarter: by weights it would have a 21st."""
    rng = random.Random(SEED)
    simulation = Simulation(num_blocks=256, max_sequences=8, max_waiting=10_000)
    arrivals: list[Arrival] = []
    for i in range(120):
        for name in range(20):
            asked = request(rng, f"{name}-{i}", rng.randint(20, 200), 20, tenant=f"crowd {name}")
            arrivals.append(Arrival(0.0, asked))
        for j in range(8):
            asked = request(
                rng,
                f"kept-{i}-{j}",
                rng.randint(20, 200),
                20,
                tenant="kept",
                group="enterprise",
                reserved=0.25,
            )
            arrivals.append(Arrival(0.0, asked))
    records = simulation.records

    def served() -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for record in records.values():
            asked: Submit = record.arrival.asked
            if record.tokens:
                found[asked.tenant] += len(asked.prompt) + OUTPUT_COST * len(record.tokens)
        return found

    def is_much() -> bool:
        return len([r for r in records.values() if r.end_s is not None]) > 800

    simulation.run(arrivals, until=is_much)
    had = served()
    assert 0.22 < had["kept"] / sum(had.values()) < 0.28


def test_waiting_places_that_others_have_reserved_stay_free_for_them() -> None:
    engine = Simulation(max_sequences=1, max_waiting=64).engine
    engine.handle(submit("first", (1,), 1_000, tenant="first"))
    engine.step()
    taken = 0
    for tenant in range(100):
        for i in range(64):
            asked = submit(f"{tenant}-{i}", (1,), tenant=f"crowd {tenant}", kept=0.25)
            taken += isinstance(engine.handle(asked)[0], Accepted)
    assert taken == 96, "three quarters of 128"
    mine = [
        submit(f"mine {i}", (1,), tenant="mine", group="enterprise", reserved=0.25)
        for i in range(40)
    ]
    assert sum(isinstance(engine.handle(asked)[0], Accepted) for asked in mine) == 16
