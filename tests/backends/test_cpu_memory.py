"""The cache's memory: taken without anyone asking, and never in the way of who writes to it."""

import os
from pathlib import Path

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend
from tests.backends.cpu_cases import logits_of, tokens
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

BLOCKS = 8_000  # some 60 MB
STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int:
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "RssAnon:")


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell what is resident")
def test_the_cache_is_taken_before_anything_is_written_to_it() -> None:
    program = tiny_program()
    before = anonymous_bytes()
    backend = CpuBackend(program, random_weights(program), num_blocks=BLOCKS)
    size = backend.report().kv_bytes
    assert size > 32 << 20
    while anonymous_bytes() - before < size:  # if it never comes, the test's time runs out
        os.sched_yield()
    backend.close()


def test_what_is_written_while_pages_are_taken_stays() -> None:
    program = tiny_program()
    weights = random_weights(program)
    prompt = tokens(program, 40)
    tables = scrambled_tables(1, 64, num_blocks=BLOCKS)
    small = scrambled_tables(1, 64, num_blocks=8)
    expected = logits_of(
        CpuBackend(program, weights, num_blocks=8).step(rows_batch({0: (0, prompt)}, small))
    )
    for _ in range(3):
        backend = CpuBackend(program, weights, num_blocks=BLOCKS)
        backend.step(rows_batch({0: (0, prompt[:39])}, tables))
        found = logits_of(backend.step(rows_batch({0: (39, prompt[39:])}, tables)))
        np.testing.assert_array_equal(found[-1], expected[-1])
        backend.close()
