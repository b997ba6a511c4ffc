"""The event model: counted by hand where that can be done, and against the closed forms."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from headrace.errors import DeadlockError, OutOfColours, PlacementError
from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Pace, all_reduce, multicast, time_of
from headrace.wafer.events import Compute, Instruction, Run, Stream, simulate
from headrace.wafer.fabric import Port, Route, Routes
from headrace.wafer.kernels import Kernels, simulated
from headrace.wafer.machine import Fact, Machine, mesh
from headrace.wafer.shapes import Axis
from headrace.wafer.work import Multicast, Passage, Reduction, Vectors, Work, product

# A relay of 24 cycles: two ramps of 2, and 20 between them.
RAMP, SOFTWARE, HOP = 2, 20, 1
RELAY = 2 * RAMP + SOFTWARE


def machine(*, relay: int = RELAY, issue: int = 10, queue: int = 4) -> Machine:
    return replace(
        mesh(8, 8),
        relay_cycles=Fact(relay, "cycles", "A", "for tests"),
        vector_issue_cycles=Fact(issue, "cycles", "A", "for tests"),
        queue_words=Fact(queue, "words", "A", "for tests"),
    )


def run(programs: dict[int, list[Instruction]], routes: Routes, columns: int, rows: int = 1) -> Run:
    return simulate(machine(), columns, rows, programs, routes)


def by_events(works: list[Work], columns: int, rows: int, groups: int | None = None) -> Run:
    return simulated(
        machine(), columns, rows, works, (lambda _: groups) if groups else default_groups
    )


def row_to(*ports: Port, source: Port = Port.WEST) -> Route:
    return Route(source, ports)


def test_one_word_to_a_neighbour() -> None:
    routes = {(0, 0): row_to(Port.EAST, source=Port.RAMP), (1, 0): row_to(Port.RAMP)}
    got = run({0: [Stream(words=1, target=0)], 1: [Stream(words=1, source=0)]}, routes, 2)
    # Up the ramp, over the link, down the ramp, the software's turn, and the cycle that takes it.
    assert got.ended == {0: 1, 1: RAMP + HOP + RAMP + SOFTWARE + 1}
    assert got.word_hops == 1


def test_words_follow_each_other_a_cycle_apart() -> None:
    routes = {(0, 0): row_to(Port.EAST, source=Port.RAMP), (1, 0): row_to(Port.RAMP)}
    got = run({0: [Stream(words=50, target=0)], 1: [Stream(words=50, source=0)]}, routes, 2)
    assert got.ended[1] == RAMP + HOP + RAMP + SOFTWARE + 50
    assert got.word_hops == got.busiest_link_words == 50


def test_a_chain_of_relays() -> None:
    """Four cores, each adds what it has to what comes: two relays, then the last one's."""
    routes: dict[tuple[int, int], Route] = {}
    for sender in range(3):  # even senders use colour 0, odd ones 1
        routes[sender, sender % 2] = row_to(Port.EAST, source=Port.RAMP)
        routes[sender + 1, sender % 2] = row_to(Port.RAMP)
    programs: dict[int, list[Instruction]] = {
        0: [Stream(words=3, target=0)],
        1: [Stream(words=3, source=0, target=1)],
        2: [Stream(words=3, source=1, target=0)],
        3: [Stream(words=3, source=0)],
    }
    got = run(programs, routes, 4)
    assert got.ended[3] == 3 * (RELAY + HOP) + 3


def test_a_multicast_reaches_each_core_by_its_distance() -> None:
    got = by_events([Multicast(name="m", axis="x", elements=6)], 5, 1)
    assert [got.ended[core] for core in range(5)] == [3, *(RELAY + d + 3 for d in range(1, 5))]
    assert got.word_hops == 3 * 4, "each word crosses each link once"


def test_a_tree_of_nine_cores() -> None:
    """Three groups of three. Their middles have both neighbours' words after a relay and a hop.

    Two words: those from the left are added in cycles 25 and 26, those from the right in 27 and 28,
    each going on at once. Three hops and a relay later, at 27 + 24 + 3 = 54, the middle of all
    takes two from the left and two from the right, to 58, and sends. Four hops and a relay later,
    at 86, the ends take the first of the two.
    """
    got = by_events([Reduction(name="r", axis="x", elements=4)], 9, 1, groups=3)
    assert got.ended[4] == 58 + 2
    assert got.ended[0] == got.ended[8] == 58 + 4 + RELAY + 2 == 88
    assert [got.ended[core] for core in (5, 6, 7)] == [85, 86, 87]
    # Inward: two words over each of six links within groups, and over three links twice between
    # them; outward over all eight.
    assert got.word_hops == 2 * (6 + 6 + 8)


def test_two_colours_on_one_link_share_it() -> None:
    """Cores 0 and 1 send through the link from 1 to 2, ten words each, to 2 and 3."""
    routes = {
        (0, 0): row_to(Port.EAST, source=Port.RAMP),
        (1, 0): row_to(Port.EAST),
        (2, 0): row_to(Port.RAMP),
        (1, 1): row_to(Port.EAST, source=Port.RAMP),
        (2, 1): row_to(Port.EAST),
        (3, 1): row_to(Port.RAMP),
    }
    programs: dict[int, list[Instruction]] = {
        0: [Stream(words=10, target=0)],
        1: [Stream(words=10, target=1)],
        2: [Stream(words=10, source=0)],
        3: [Stream(words=10, source=1)],
    }
    got = simulate(machine(relay=2 * RAMP + 1), 4, 1, programs, routes)
    # Core 1's first word is on the link in cycle 2, core 0's in cycle 3, then they take turns: the
    # last of the twenty crosses in cycle 21. It is core 0's, and a hop and a ramp away.
    assert got.ended[2] == 21 + HOP + RAMP + 1
    assert got.ended[3] == 20 + 2 * HOP + RAMP + 1
    assert got.busiest_link_words == 20
    alone = simulate(machine(relay=2 * RAMP + 1), 4, 1, {c: programs[c] for c in (0, 2)}, routes)
    assert alone.ended[2] == RAMP + 2 * HOP + RAMP + 1 + 10


def test_a_full_queue_holds_back_the_sender() -> None:
    """Room for four words in a router and four in a core: the ninth waits for the first taken."""
    routes = {(0, 0): row_to(Port.EAST, source=Port.RAMP), (1, 0): row_to(Port.RAMP)}
    busy = Compute(count=1, length=4 * 490)  # 10 + 490 cycles
    programs: dict[int, list[Instruction]] = {
        0: [Stream(words=40, target=0)],
        1: [busy, Stream(words=40, source=0)],
    }
    got = run(programs, routes, 2)
    assert got.ended[1] == 500 + 40, "all words were near: none is waited for"
    # In cycle 500 there are 4 at the core, 4 in its router, 4 in the sender's. The first is taken,
    # so the core's router sends one on; in 501 the sender's does, and in 502 the sender the 13th.
    assert got.ended[0] == 502 + 40 - 12


def test_vectors_pay_for_issue_and_lanes() -> None:
    got = by_events([Vectors(name="v", count=3, length=9)], 2, 2)
    assert got.ended == dict.fromkeys(range(4), 3 * (10 + 3))


def test_lanes_are_what_ports_of_sram_can_feed() -> None:
    wide = replace(mesh(2, 2), simd_width=Fact(8, "lanes", "A", "for tests"))
    assert Pace.of(wide).lanes == 4, "two operands of 8 bytes a cycle are four pairs"
    wider = replace(wide, port_bytes=Fact(16, "B", "A", "for tests"))
    assert Pace.of(wider).lanes == 8
    assert Pace.of(replace(wider, write_ports=Fact(0, "ports", "A", "for tests"))).lanes == 1


def test_who_waits_in_vain_is_named() -> None:
    routes = {(0, 0): row_to(Port.EAST, source=Port.RAMP), (1, 0): row_to(Port.RAMP)}
    with pytest.raises(DeadlockError, match=r"1 cores wait .* core 1"):
        run({0: [], 1: [Stream(words=1, source=0)]}, routes, 2)
    with pytest.raises(DeadlockError, match="core 0"):  # nobody takes what is sent
        run({0: [Stream(words=50, target=0)], 1: []}, routes, 2)


def test_a_result_given_away_as_it_comes_blocks_the_chain_that_feeds_it() -> None:
    """Why the root of a sum has it whole before it sends: this one does not."""
    routes = {
        (0, 0): row_to(Port.EAST, source=Port.RAMP),
        (1, 0): row_to(Port.RAMP),
        (1, 1): row_to(Port.WEST, source=Port.RAMP),
        (0, 1): row_to(Port.RAMP, source=Port.EAST),
    }

    def programs(words: int) -> dict[int, list[Instruction]]:
        return {
            0: [Stream(words=words, target=0), Stream(words=words, source=1)],
            1: [Stream(words=words, source=0, target=1)],
        }

    assert run(programs(8), routes, 2).cycles > 0
    with pytest.raises(DeadlockError):
        run(programs(64), routes, 2)


def test_a_route_to_nowhere_and_a_colour_too_many_are_refused() -> None:
    with pytest.raises(PlacementError, match="colour 3 leaves core 1 by EAST: to nowhere"):
        run({}, {(1, 3): row_to(Port.EAST, source=Port.RAMP)}, 2)
    with pytest.raises(PlacementError, match="enters core 1 from WEST"):
        both = {
            (0, 3): row_to(Port.EAST, source=Port.RAMP),
            (1, 3): row_to(Port.RAMP, source=Port.RAMP),
        }
        run({}, both, 2)
    with pytest.raises(OutOfColours, match="core 0 needs 21 colours; 20 of 24"):
        run({}, {(0, c): row_to(Port.RAMP, source=Port.RAMP) for c in range(21)}, 2)
    with pytest.raises(PlacementError, match="leaves the region"):
        Kernels(2, 2).add([Passage(name="hand-over", words=1, hops=1)])


def test_kernels_use_the_colours_a_placement_counts() -> None:
    kernels = Kernels(25, 25)
    kernels.add([Reduction(name="r", axis=axis, elements=2) for axis in ("x", "y")])
    kernels.add([Multicast(name="m", axis=axis, elements=2) for axis in ("x", "y")])
    used = [sum(1 for at, _ in kernels.routes if at == core) for core in range(625)]
    assert max(used) <= 20 == machine().usable_colours
    assert len({colour for _, colour in kernels.routes}) == 20


@pytest.mark.parametrize("seed", range(150))
def test_a_sum_over_a_line_takes_what_the_closed_form_says(seed: int) -> None:
    """Any length, any groups. To the cycle as long as messages are shorter than a relay."""
    rng = random.Random(seed)
    cores, elements = rng.randint(1, 64), rng.choice([1, 2, 3, 8, 16, 31, 64, 200, 512])
    groups = rng.randint(1, cores)
    got = by_events([Reduction(name="r", axis="x", elements=elements)], cores, 1, groups)
    expected = all_reduce(cores, groups, elements, Pace.of(machine())).total
    if elements <= 16:
        assert got.cycles == expected
    else:  # several messages at one ramp: some fill queues before their turn
        assert got.cycles == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("cores", [1, 2, 3, 17])
def test_a_multicast_takes_what_the_closed_form_says(cores: int) -> None:
    got = by_events([Multicast(name="m", axis="y", elements=9)], 1, cores)
    assert got.cycles == multicast(cores, 9, Pace.of(machine())).total


def random_layer(rng: random.Random, columns: int, rows: int) -> Iterator[Work]:
    """A layer of grouped queries in WaferLLM's order, fused or not, of any size."""
    dim, kv_heads, group = rng.randint(8, 400), rng.randint(1, 4), rng.randint(1, 4)
    head_dim, ffn, context = rng.choice([8, 16, 32]), rng.randint(8, 900), rng.randint(1, 600)
    kv, q = kv_heads * head_dim, kv_heads * head_dim * group
    tokens, keys = -(-context // rows), -(-kv // columns)

    def products(reduce: Axis, inputs: int, *outputs: int) -> Iterator[Work]:
        each = [product("w", inputs, n, reduce=reduce, columns=columns, rows=rows) for n in outputs]
        if rng.random() < 0.5:  # one sum for all
            yield from (vectors for vectors, _ in each)
            elements = sum(reduction.elements for _, reduction in each)
            yield replace(each[0][1], elements=elements)
        else:
            yield from (work for pair in each for work in pair)

    yield Reduction(name="norm", axis="y", elements=1)
    yield from products("y", dim, q, kv, kv)
    yield Vectors(name="scores", count=keys * group, length=tokens)
    yield Reduction(name="scores", axis="x", elements=tokens * group)
    yield Reduction(name="maximum", axis="y", elements=group)
    yield Reduction(name="sum", axis="y", elements=group)
    yield Vectors(name="values", count=tokens, length=keys * group)
    yield Reduction(name="values", axis="y", elements=keys * group)
    yield from products("x", q, dim)
    yield Reduction(name="norm", axis="y", elements=1)
    yield from products("y", dim, ffn, ffn)
    yield from products("x", ffn, dim)


@pytest.mark.parametrize("seed", range(100))
def test_a_random_layer_takes_what_the_closed_form_says_within_two_percent(seed: int) -> None:
    rng = random.Random(seed)
    columns, rows = rng.randint(1, 16), rng.randint(1, 16)
    works = list(random_layer(rng, columns, rows))
    got = by_events(works, columns, rows)
    expected = time_of(works, columns=columns, rows=rows, pace=Pace.of(machine())).total
    assert got.cycles == pytest.approx(expected, rel=0.02)
