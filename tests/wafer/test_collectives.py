"""Collectives against plain sums, and in the order of the chains where that can be told."""

import numpy as np
import pytest

from headrace.wafer.collectives import all_max, all_reduce, best_pairs
from headrace.wafer.ring import ring_position, shifted_product

SIDES = (1, 2, 3, 5, 7, 16, 33, 64)


@pytest.mark.parametrize("cores", SIDES)
@pytest.mark.parametrize("groups", [None, 1, 2, 5, 64])
def test_the_tree_sums_every_core_once(cores: int, groups: int | None) -> None:
    values = np.random.default_rng(cores).integers(-999, 999, (3, 4, cores, 6)).astype(np.float32)
    assert np.array_equal(all_reduce(values, groups), values.sum(axis=-2))  # integers: exact
    assert np.array_equal(all_max(values, groups), values.max(axis=-2))


def test_the_sum_is_in_the_order_of_two_chains_that_meet_in_the_middle() -> None:
    values = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    a, b, c, d, e = values.T
    expected = (c + (b + a)) + (d + e)
    assert np.array_equal(all_reduce(values[..., None], 1)[:, 0], expected)
    assert not np.array_equal(expected, ((((a + b) + c) + d) + e)), "another order shows"


def test_groups_meet_at_their_middles_first() -> None:
    values = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)
    a, b, c, d, e, f = values.T
    expected = (e + d + f) + (b + a + c)  # the second group's root is the middle one
    assert np.array_equal(all_reduce(values[..., None], 2)[:, 0], expected)


@pytest.mark.parametrize("cores", SIDES)
@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_best_pairs_are_the_largest_with_the_lowest_indices(cores: int, count: int) -> None:
    rng = np.random.default_rng(cores)
    values = rng.integers(0, 4, (cores, 5)).astype(np.float32)
    indices = rng.permutation(cores * 5).reshape(cores, 5)
    indices[-1, 2:] = -1  # the last core has fewer
    held = [
        (float(value), int(index))
        for value, index in zip(values.ravel(), indices.ravel(), strict=True)
        if index >= 0
    ]
    expected = sorted(held, key=lambda pair: (-pair[0], pair[1]))[:count]
    assert best_pairs(values, indices, count) == expected


@pytest.mark.parametrize("cores", range(2, 20))
def test_ring_neighbours_are_two_hops_apart_at_most(cores: int) -> None:
    at = {ring_position(index, cores): index for index in range(cores)}
    assert sorted(at) == list(range(cores))
    assert all(abs(at[i] - at[(i + 1) % cores]) <= 2 for i in range(cores))


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (4, 4), (3, 2), (5, 1)])
def test_the_shifted_product_is_the_product(columns: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((7, 11), (11, 5)))
    assert np.array_equal(shifted_product(a, b, columns=columns, rows=rows), a @ b)
