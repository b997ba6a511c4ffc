"""Closed forms against counts made by hand, and against formulas written out another way."""

import pytest

from headrace.wafer.cycles import Pace, all_reduce, gemv, nearest_groups, vectors

PACE = Pace(relay_cycles=20.0, issue_cycles=10.0, simd_width=4)


def test_an_all_reduce_counted_by_hand() -> None:
    # 16 cores in 4 groups of 4, 5 numbers: 3 words. Relays: 2 within a group, 2 between, 1 at the
    # root.
    # Hops: 8 to the root, 8 back. The root takes 3 words from either side and sends 3.
    got = all_reduce(16, 4, 5, PACE)
    assert (got.relays, got.hops, got.words) == (5 * 20, 16, 9)
    assert got.total == 125
    assert got.issue == got.arithmetic == 0


@pytest.mark.parametrize(
    ("cores", "groups", "cycles"), [(64, 8, 284), (210, 14, 587), (420, 20, 941)]
)
def test_one_element_over_a_line(cores: int, groups: int, cycles: int) -> None:
    """Worked out at BETA = 24.1, to the cycle: 64 + 24.1 * 9 + 3 and so on."""
    pace = Pace(relay_cycles=24.1, issue_cycles=0.0, simd_width=4)
    assert all_reduce(cores, groups, 1, pace).total == pytest.approx(cycles, abs=0.6)


def test_vectors_fill_lanes_or_leave_them_empty() -> None:
    assert vectors(3, 8, PACE).total == 3 * (10 + 2)
    assert vectors(3, 9, PACE).total == 3 * (10 + 3)


def test_a_product_counted_by_hand() -> None:
    # 12 inputs over 5 rows: 3 a core; 10 outputs over 4 columns: 3 a core. 3 vectors of 3 numbers,
    # then 3 numbers, 2 words, over 5 cores in one group: 2.5 relays, half a one, the root's.
    got = gemv(12, 10, columns=4, rows=5, groups=1, pace=PACE)
    assert got.issue == 30
    assert got.arithmetic == 3
    assert got.relays == 20 * (2.5 + 0.5 + 1)
    assert got.hops == 5
    assert got.words == 6


@pytest.mark.parametrize(
    ("cores", "groups"), [(1, 1), (7, 1), (16, 4), (20, 4), (210, 14), (750, 25)]
)
def test_groups_divide_the_line_and_lie_near_the_root(cores: int, groups: int) -> None:
    assert nearest_groups(cores) == groups


def test_causes_add_up_and_scale() -> None:
    one = gemv(64, 64, columns=8, rows=8, groups=2, pace=PACE)
    assert (one + one).total == (one * 2).total == 2 * one.total
