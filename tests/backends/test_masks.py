"""Masks: the same tokens on every backend and instruction set as the definition draws."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headrace.backends.base import Backend, Batch, Sampling
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.backends.sampling import sample
from headrace.backends.wafer import WaferBackend
from headrace.errors import BackendError
from headrace.wafer.machine import mesh
from tests.backends.cpu_cases import ISAS, NUM_BLOCKS, make
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

ROWS = 6
TABLES = scrambled_tables(ROWS, 16, num_blocks=NUM_BLOCKS)
PROGRAM = tiny_program()
V = PROGRAM.vocab_size


def reference() -> Backend:
    return ReferenceBackend(PROGRAM, random_weights(PROGRAM), num_blocks=NUM_BLOCKS)


def wafer() -> Backend:
    weights = random_weights(PROGRAM)
    return WaferBackend(PROGRAM, weights, num_blocks=NUM_BLOCKS, machine=mesh(16, 16))


BACKENDS: dict[str, Callable[[], Backend]] = {
    "reference": reference,
    "wafer": wafer,
    **{isa: lambda isa=isa: make("plain", isa=isa, threads=2) for isa in ISAS},
}


def masked_batch(seed: int, vocab: int) -> Batch:
    """A row of each sequence; half of them restricted, all drawn in different ways."""
    rng = np.random.default_rng(seed)
    batch = rows_batch({s: (0, [int(rng.integers(vocab))]) for s in range(ROWS)}, TABLES)
    words = -(-vocab // 32)
    bits = np.zeros((3, words), np.uint32)
    for k, count in enumerate((1, 7, vocab // 2)):
        for token in rng.permutation(vocab)[:count]:
            bits[k, token // 32] |= np.uint32(1 << (int(token) % 32))
    bits[:, -1] |= np.uint32(0xFFFFFFFF << (vocab % 32) & 0xFFFFFFFF)  # beyond: means nothing
    sampling = Sampling(
        temperature=np.array([0, 0.7, 1.5, 0, 1, 0.3], np.float32),
        top_k=np.array([0, 5, 0, 3, 0, 1], np.int32),
        top_p=np.array([1, 0.9, 1, 1, 0.5, 1], np.float32),
        min_p=np.zeros(ROWS, np.float32),
        seed=rng.integers(0, 1 << 62, ROWS).astype(np.uint64),
        bias_offsets=np.array([0, 1, 1, 2, 2, 2, 2], np.int32),
        bias_ids=np.array([3, 4], np.int32),
        bias_values=np.array([30, -np.inf], np.float32),
        mask_rows=np.array([0, 1, 2, -1, 2, -1], np.int32),
        mask_bits=bits,
    )
    return replace(batch, sampling=sampling, want_logits=True)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_draws_what_the_definition_draws(name: str) -> None:
    backend = BACKENDS[name]()
    vocab = backend.program.vocab_size
    for seed in range(20):
        batch = masked_batch(seed, vocab)
        got = backend.step(batch)
        assert got.logits is not None
        assert np.isfinite(got.logits).all(), "they are the model's own"
        positions = batch.positions[batch.sample_rows] + np.int32(1)
        expected = sample(got.logits, batch.sampling, positions)
        np.testing.assert_array_equal(got.token_ids, expected)
        without = backend.step(replace(batch, want_logits=False))
        np.testing.assert_array_equal(without.token_ids, expected)
        for m, k in enumerate(batch.sampling.mask_rows):
            token = int(got.token_ids[m])
            if k >= 0:
                assert batch.sampling.mask_bits[k, token // 32] >> np.uint32(token % 32) & 1


def awaited(batch: Batch, heard: list[str], error: Exception | None = None) -> Batch:
    """`batch`, whose masks allow nothing until somebody waits for them."""
    bits = batch.sampling.mask_bits.copy()
    empty = np.zeros_like(bits)

    def fill() -> None:
        heard.append("awaited")
        if error is not None:
            raise error
        empty[:] = bits

    sampling = replace(batch.sampling, mask_bits=empty, await_masks=fill)
    return replace(batch, sampling=sampling)


@pytest.mark.parametrize("name", BACKENDS)
def test_masks_may_come_while_the_step_runs(name: str) -> None:
    backend = BACKENDS[name]()
    for seed in range(5):
        batch, heard = masked_batch(seed, backend.program.vocab_size), list[str]()
        expected = backend.step(batch).token_ids
        got = backend.step(awaited(batch, heard)).token_ids
        np.testing.assert_array_equal(got, expected)
        assert heard, "the masks were read before they were there"


@pytest.mark.parametrize("name", [*BACKENDS, "null"])
def test_what_goes_wrong_with_them_is_heard_and_the_next_step_runs(name: str) -> None:
    backend = NullBackend(PROGRAM, num_blocks=NUM_BLOCKS) if name == "null" else BACKENDS[name]()
    batch = masked_batch(1, backend.program.vocab_size)
    expected = backend.step(batch).token_ids
    with pytest.raises(ZeroDivisionError):
        backend.step(awaited(batch, [], ZeroDivisionError()))
    np.testing.assert_array_equal(backend.step(batch).token_ids, expected)


def test_the_null_backend_counts_on_to_what_is_allowed() -> None:
    backend = NullBackend(PROGRAM, num_blocks=NUM_BLOCKS)
    batch = rows_batch({0: (0, [5]), 1: (0, [5])}, TABLES)
    bits = np.zeros((1, -(-V // 32)), np.uint32)
    bits[0, 0] = 1 << 2 | 1 << 9
    sampling = replace(batch.sampling, mask_rows=np.array([0, -1], np.int32), mask_bits=bits)
    assert backend.step(replace(batch, sampling=sampling)).token_ids.tolist() == [9, 6]


def wrong_batches() -> dict[str, Batch]:
    batch = masked_batch(0, V)

    def having(**changes: object) -> Batch:
        return replace(batch, sampling=replace(batch.sampling, **changes))

    bits = batch.sampling.mask_bits
    nothing = bits.copy()
    nothing[0] = 0
    nothing[0, -1] = np.uint32(0xFFFFFFFF << (V % 32) & 0xFFFFFFFF)
    return {
        "one row too few": having(mask_rows=np.array([0], np.int32)),
        "no such mask": having(mask_rows=np.array([0, 1, 2, 3, -1, -1], np.int32)),
        "below -1": having(mask_rows=np.array([0, 1, 2, -2, -1, -1], np.int32)),
        "too narrow": having(mask_bits=np.ascontiguousarray(bits[:, :-1])),
        "nothing allowed": having(mask_bits=nothing),
        "several steps": replace(
            having(
                bias_offsets=np.zeros(0, np.int32),
                bias_ids=np.zeros(0, np.int32),
                bias_values=np.zeros(0, np.float32),
            ),
            steps=2,
            want_logits=False,
        ),
    }


@pytest.mark.parametrize("what", wrong_batches())
@pytest.mark.parametrize("name", BACKENDS)
def test_masks_that_do_not_fit_are_refused(name: str, what: str) -> None:
    with pytest.raises(BackendError, match="not valid"):
        BACKENDS[name]().step(wrong_batches()[what])
