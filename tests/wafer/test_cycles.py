"""Closed forms against counts made by hand, and against formulas written out another way."""

import pytest

from headrace.wafer.cycles import Cycles, Pace, all_reduce, time_of, vectors
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.work import Passage, passage, product

PACE = Pace(relay_cycles=20.0, issue_cycles=10.0, lanes=4)


def gemv(inputs: int, outputs: int, *, columns: int, rows: int, groups: int) -> Cycles:
    works = product("w", inputs, outputs, reduce="y", columns=columns, rows=rows)
    return time_of(works, columns=columns, rows=rows, pace=PACE, groups=lambda _: groups)


def test_an_all_reduce_counted_by_hand() -> None:
    # 16 cores in 4 groups of 4, 5 numbers: 3 words. Relays: 2 to a group's third core, 2 from the
    # first group's to the third one's, which is the eleventh core, 1 back. Hops: 10 to it, 10 back.
    # Three words wait for three others in a group, twice at the root, and end the multicast.
    got = all_reduce(16, 4, 5, PACE)
    assert (got.relays, got.hops, got.words) == (5 * 20, 20, 12)
    assert got.total == 132
    assert got.issue == got.arithmetic == 0


def test_messages_longer_than_a_relay_wait_for_their_group_once_more() -> None:
    # 9 cores in 3 groups of 3, 100 words, relays of 20: a group's own sum takes 100 more cycles
    # when its neighbour's begins to arrive, 23 cycles after both began to be sent.
    got = all_reduce(9, 3, 200, PACE)
    short = all_reduce(9, 3, 2, PACE)
    assert short.total == 3 * 20 + 8 + 4
    # In a group 100 to the second chain; then the root's own 100 are the longest way.
    assert got.total == 1 + 20 + 100 + 100 + 200 + 20 + 4 + 100


def test_one_core_has_nothing_to_add() -> None:
    assert all_reduce(1, 1, 99, PACE).total == 0


@pytest.mark.parametrize(
    ("cores", "groups", "relays", "hops"),
    [(64, 8, 4 + 4 + 1, 36 * 2), (210, 14, 7 + 7 + 1, 112 * 2), (420, 20, 10 + 10 + 1, 220 * 2)],
)
def test_one_element_over_a_line(cores: int, groups: int, relays: int, hops: int) -> None:
    pace = Pace(relay_cycles=24.1, issue_cycles=0.0, lanes=4)
    expected = relays * 24.1 + hops + 4
    assert all_reduce(cores, groups, 1, pace).total == pytest.approx(expected)
    # WaferLLM's formula, with halves of groups, for comparison: the same within two words and
    # where the middle lies.
    formula = cores + 24.1 * (cores / groups / 2 + groups / 2 + 1) + 3
    assert expected == pytest.approx(formula, rel=0.035)


def test_vectors_fill_lanes_or_leave_them_empty() -> None:
    assert vectors(3, 8, PACE).total == 3 * (10 + 2)
    assert vectors(3, 9, PACE).total == 3 * (10 + 3)


def test_a_product_counted_by_hand() -> None:
    # 12 inputs over 5 rows: 3 a core; 10 outputs over 4 columns: 3 a core. 3 vectors of 3 numbers,
    # then 3 numbers, 2 words, over 5 cores in one group: 2 relays to the middle, 1 back.
    got = gemv(12, 10, columns=4, rows=5, groups=1)
    assert got.issue == 30
    assert got.arithmetic == 3
    assert got.relays == 20 * 3
    assert got.hops == 4
    assert got.words == 6


@pytest.mark.parametrize(
    ("after", "words", "hops"),
    [
        (Rectangle(x=8, y=0, columns=6, rows=10), 5, 6),  # side by side: ten ways
        (Rectangle(x=8, y=2, columns=6, rows=10), 7, 6 + 4),  # two rows off, both ways
        (Rectangle(x=0, y=10, columns=8, rows=3), 7, 3),  # below: eight ways
        (Rectangle(x=4, y=10, columns=8, rows=3), 13, 3 + 8),
        (Rectangle(x=20, y=20, columns=2, rows=2), 50, 22 + 22),  # apart: one way, corner to corner
    ],
)
def test_a_passage_counted_by_hand(after: Rectangle, words: int, hops: int) -> None:
    """100 numbers, 50 words, from 8 x 10 cores."""
    got = passage("hand-over", Rectangle(x=0, y=0, columns=8, rows=10), after, 100)
    assert got == Passage(name="hand-over", words=words, hops=hops)
    took = time_of([got], columns=1, rows=1, pace=PACE)
    assert took == Cycles(words=float(words), hops=float(hops), relays=20.0)


def test_causes_add_up_and_scale() -> None:
    one = gemv(64, 64, columns=8, rows=8, groups=2)
    assert (one + one).total == (one * 2).total == 2 * one.total
