"""The definition of sampling: its distribution, its filters, its independence of the batch."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Sampling
from headrace.backends.sampling import sample


def params(
    rows: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int = 0,
) -> Sampling:
    return Sampling(
        temperature=np.full(rows, temperature, np.float32),
        top_k=np.full(rows, top_k, np.int32),
        top_p=np.full(rows, top_p, np.float32),
        min_p=np.full(rows, min_p, np.float32),
        seed=np.full(rows, seed, np.uint64),
    )


LOGITS = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
ROWS = 20_000
MANY = np.tile(LOGITS, (ROWS, 1))
POSITIONS = np.arange(ROWS, dtype=np.int32)


def biased(rows: int, ids: list[int], values: list[float], **changes: float) -> Sampling:
    """The same bias for every row."""
    return replace(
        params(rows, **changes),  # pyright: ignore[reportArgumentType]
        bias_offsets=np.arange(rows + 1, dtype=np.int32) * len(ids),
        bias_ids=np.tile(np.array(ids, np.int32), rows),
        bias_values=np.tile(np.array(values, np.float32), rows),
    )


def shares(**changes: float) -> np.ndarray:
    drawn = sample(MANY, params(ROWS, **changes), POSITIONS)  # pyright: ignore[reportArgumentType]
    return np.bincount(drawn, minlength=4) / ROWS


def test_draws_follow_the_softmax() -> None:
    np.testing.assert_allclose(shares(), [0.4, 0.3, 0.2, 0.1], atol=0.015)  # > 4 sigma


def test_temperature_sharpens() -> None:
    expected = np.array([0.4, 0.3, 0.2, 0.1]) ** 2
    np.testing.assert_allclose(shares(temperature=0.5), expected / expected.sum(), atol=0.015)


def test_top_k_keeps_the_likeliest() -> None:
    np.testing.assert_allclose(shares(top_k=2), [4 / 7, 3 / 7, 0, 0], atol=0.015)


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    np.testing.assert_allclose(shares(top_p=0.65), [4 / 7, 3 / 7, 0, 0], atol=0.015)
    np.testing.assert_allclose(shares(top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0], atol=0.015)


def test_top_p_counts_what_top_k_left() -> None:
    np.testing.assert_allclose(shares(top_k=2, top_p=0.56), [1, 0, 0, 0], atol=0)


def test_min_p_drops_the_unlikely() -> None:
    np.testing.assert_allclose(shares(min_p=0.4), [4 / 9, 3 / 9, 2 / 9, 0], atol=0.015)


def test_greedy_breaks_ties_by_the_lowest_id() -> None:
    logits = np.array([[1, 3, 3, 2]], np.float32)
    assert sample(logits, params(1, temperature=0.0), np.array([5], np.int32)).tolist() == [1]


def test_a_bias_comes_before_the_temperature() -> None:
    """Hand-worked: 0.4 e^ln2, 0.3, 0.2 e^-ln2 and 0.1 are 8 : 3 : 1 : 1; halving T squares them."""
    ids, values = [0, 2], [np.log(2.0), -np.log(2.0)]
    drawn = sample(MANY, biased(ROWS, ids, values), POSITIONS)
    expected = np.array([8, 3, 1, 1]) / 13
    np.testing.assert_allclose(np.bincount(drawn) / ROWS, expected, atol=0.015)
    drawn = sample(MANY, biased(ROWS, ids, values, temperature=0.5), POSITIONS)
    expected = np.array([64, 9, 1, 1]) / 75
    np.testing.assert_allclose(np.bincount(drawn) / ROWS, expected, atol=0.015)


def test_a_bias_moves_the_greedy_choice_and_leaves_the_logits_alone() -> None:
    logits = np.array([[1, 3, 3, 2]], np.float32)
    position = np.array([5], np.int32)
    for ids, values, token in (
        ([1], [-0.5], 2),
        ([1, 2, 3], [-np.inf, -np.inf, 0.0], 3),
        ([0], [2.0], 0),
        ([3], [1.0], 1),
    ):
        assert sample(logits, biased(1, ids, values, temperature=0.0), position)[0] == token
    assert logits.tolist() == [[1, 3, 3, 2]]


@given(data=st.data(), seed=st.integers(0, 2**64 - 1))
def test_a_banned_token_is_never_drawn(data: st.DataObject, seed: int) -> None:
    vocab = data.draw(st.integers(2, 12))
    banned = sorted(data.draw(st.sets(st.integers(0, vocab - 1), min_size=1, max_size=vocab - 1)))
    options = {
        "temperature": data.draw(st.sampled_from([0.0, 0.1, 1.0, 2.0])),
        "top_k": data.draw(st.integers(0, vocab + 1)),
        "top_p": data.draw(st.sampled_from([0.0, 0.5, 0.999, 1.0])),
        "min_p": data.draw(st.sampled_from([0.0, 0.3, 1.0])),
    }
    logits = np.array(
        [data.draw(st.lists(st.floats(-9, 9, width=32), min_size=vocab, max_size=vocab))]
    )
    sampling = biased(1, banned, [-np.inf] * len(banned), seed=seed, **options)
    drawn = sample(logits.astype(np.float32), sampling, np.array([3], np.int32))
    assert drawn[0] not in banned


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 2**31 - 1), data=st.data())
def test_a_row_draws_the_same_alone_and_among_others(
    seed: int, position: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    logits = rng.standard_normal((4, 50)).astype(np.float32)
    positions = np.array([position, 3, 2**31 - 1, 0], np.int32)
    together = sample(logits, params(4, seed=seed, top_p=0.9), positions)
    alone = sample(logits[:1], params(1, seed=seed, top_p=0.9), positions[:1])
    assert together[0] == alone[0]
    assert 0 <= together.min() <= together.max() < 50


def test_another_seed_or_position_gives_other_draws() -> None:
    a = sample(MANY[:500], params(500, seed=1), POSITIONS[:500])
    b = sample(MANY[:500], params(500, seed=2), POSITIONS[:500])
    c = sample(MANY[:500], params(500, seed=1), POSITIONS[:500] + 1)
    assert 0.2 < np.mean(a != b) < 0.95
    assert a[1:].tolist() == c[:-1].tolist()  # the same (seed, position) draws the same
