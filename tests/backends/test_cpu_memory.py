"""The cache's memory: taken without anyone asking, and never in the way of who writes to it."""

import os
from pathlib import Path

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend
from tests.backends.cpu_cases import logits_of, tokens
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

BLOCKS = 8_000  # some 60 MB
TABLES = scrambled_tables(1, 64, num_blocks=BLOCKS)
STATUS = Path("/proc/self/status")


def anonymous_bytes() -> int:
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "RssAnon:")


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell what is resident")
def test_the_whole_cache_is_taken_once_a_first_step_was_made() -> None:
    program = tiny_program()
    backend = CpuBackend(program, random_weights(program), num_blocks=BLOCKS)
    before = anonymous_bytes()
    backend.step(rows_batch({0: (0, tokens(program, 1))}, TABLES))
    most = backend.report().kv_bytes - (8 << 20)  # what the step wrote to is not new
    assert most > 32 << 20
    while anonymous_bytes() - before < most:  # if it never comes, the test's time runs out
        os.sched_yield()
    backend.close()


def test_what_is_written_while_pages_are_taken_stays() -> None:
    program = tiny_program()
    weights = random_weights(program)
    prompt = tokens(program, 40)
    small = scrambled_tables(1, 64, num_blocks=8)
    expected = logits_of(
        CpuBackend(program, weights, num_blocks=8).step(rows_batch({0: (0, prompt)}, small))
    )
    for _ in range(3):
        backend = CpuBackend(program, weights, num_blocks=BLOCKS)
        backend.step(rows_batch({0: (0, prompt[:39])}, TABLES))
        found = logits_of(backend.step(rows_batch({0: (39, prompt[39:])}, TABLES)))
        np.testing.assert_array_equal(found[-1], expected[-1])
        backend.close()
