"""The native sampler equals its definition, token for token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.backends.base import Sampling
from headrace.backends.sampling import sample as defined
from tests.backends.cpu_cases import ISAS

assert ISAS
from headrace.backends.cpu import _native  # noqa: E402  (skipped above when it is not built)


def expected(row: np.ndarray, position: int, **options: float) -> int:
    sampling = Sampling(
        temperature=np.array([options["temperature"]], np.float32),
        top_k=np.array([options["top_k"]], np.int32),
        top_p=np.array([options["top_p"]], np.float32),
        min_p=np.array([options["min_p"]], np.float32),
        seed=np.array([options["seed"]], np.uint64),
        bias_offsets=np.array([0, len(banned := np.flatnonzero(row == -np.inf))], np.int32),
        bias_ids=banned.astype(np.int32),
        bias_values=np.full(len(banned), -np.inf, np.float32),
    )
    row = np.where(row == -np.inf, np.float32(50), row)
    return int(defined(row[None], sampling, np.array([position], np.int32))[0])


def native_sample(row: np.ndarray, position: int, **options: float) -> int:
    return _native.sample(
        row,
        temperature=options["temperature"],
        top_k=int(options["top_k"]),
        top_p=options["top_p"],
        min_p=options["min_p"],
        seed=int(options["seed"]),
        position=position,
    )


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 6.0, 40.0])
@pytest.mark.parametrize("vocab", [2, 17, 333, 4096])
def test_thousands_of_random_rows(vocab: int, spread: float) -> None:
    rng = np.random.default_rng(vocab)
    for trial in range(150):
        row = (rng.standard_normal(vocab) * spread).astype(np.float32)
        if trial % 3 == 0:
            row = np.round(row)  # ties
        if trial % 4 == 0:
            row[rng.permutation(vocab)[: rng.integers(0, vocab)]] = -np.inf
        options = {
            "temperature": float(np.float32(rng.choice([0.0, 0.05, 0.7, 1.0, 3.0]))),
            "top_k": int(rng.choice([0, 0, 1, 5, vocab, vocab + 9])),
            "top_p": float(rng.choice([1.0, 1.0, 0.95, 0.5, 0.0])),
            "min_p": float(rng.choice([0.0, 0.0, 0.1, 1.0])),
            "seed": int(rng.integers(0, 1 << 63)) * 2 + 1,
        }
        position = int(rng.integers(0, 100_000))
        found = native_sample(row, position, **options)
        assert found == expected(row, position, **options), options


@settings(max_examples=400, deadline=None)
@given(
    row=st.lists(
        st.one_of(st.floats(-50, 50, width=32), st.just(-np.inf)), min_size=1, max_size=80
    ).filter(lambda row: max(row) > -np.inf),
    temperature=st.floats(0, 4, width=32),
    top_k=st.integers(0, 90),
    top_p=st.floats(0, 1, width=32),
    min_p=st.floats(0, 1, width=32),
    seed=st.integers(0, (1 << 64) - 1),
    position=st.integers(0, (1 << 31) - 2),
)
def test_any_row(row: list[float], position: int, **options: float) -> None:
    logits = np.array(row, np.float32)
    if 0 < options["temperature"] < 1e-6:
        options["temperature"] = 0.0
    found = native_sample(logits, position, **options)
    assert found == expected(logits, position, **options)


def test_plain_draws_match_over_many_seeds() -> None:
    """The path that skips tokens that cannot win: flat, sharp and tied rows."""
    rng = np.random.default_rng(0)
    flat, sharp = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    sharp[500] = 9.0
    rows = [flat, sharp, rng.standard_normal(1000).astype(np.float32) * 3]
    options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    for row in rows:
        for seed in range(400):
            found = native_sample(row, 3, seed=seed, **options)
            assert found == expected(row, 3, seed=seed, **options)
