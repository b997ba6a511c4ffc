"""However the weights are read, and whoever takes a panel, the bits are the same."""

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend
from headrace.model.program import Program
from tests.backends.cpu_cases import ISAS, NUM_BLOCKS, calm_weights, logits_of, make, tokens
from tests.tiny_llama import rows_batch, scrambled_tables, tiny_program

TABLES = scrambled_tables(2, 64, num_blocks=NUM_BLOCKS)
CALLS = 16  # more than a trial of the ways to read: the first twelve take turns
# Panels of a quarter of a megabyte and more, which workers take from each other.
LARGE = {
    "hidden_size": 4_112,
    "intermediate_size": 144,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 150,
    "num_hidden_layers": 1,
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 6])
def test_every_way_to_read_gives_the_same_bits(isa: str, threads: int, rows: int) -> None:
    backend = make("wide", isa=isa, threads=threads)
    batch = rows_batch({0: (0, tokens(backend.program, rows))}, TABLES)
    first = logits_of(backend.step(batch)).copy()
    for _ in range(CALLS):
        np.testing.assert_array_equal(logits_of(backend.step(batch)), first)


@pytest.fixture(scope="module")
def large() -> Program:
    return tiny_program(**LARGE)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 7, 20])
def test_panels_that_others_take_give_the_same_bits(large: Program, isa: str, rows: int) -> None:
    weights = calm_weights(large)
    batch = rows_batch({0: (0, tokens(large, rows))}, TABLES)
    alone = CpuBackend(large, weights, num_blocks=NUM_BLOCKS, threads=1, isa=isa)
    expected = logits_of(alone.step(batch))
    for threads in (2, 3, 5):
        backend = CpuBackend(large, weights, num_blocks=NUM_BLOCKS, threads=threads, isa=isa)
        for _ in range(CALLS):
            np.testing.assert_array_equal(logits_of(backend.step(batch)), expected)
