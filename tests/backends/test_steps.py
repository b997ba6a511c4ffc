"""Several steps in one call give what as many calls give, bit for bit, on every backend."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from headrace.backends.base import Backend, Batch
from headrace.backends.cpu import CpuBackend
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.backends.wafer import WaferBackend
from headrace.errors import BackendError
from headrace.wafer.machine import mesh
from tests.backends.cpu_cases import ISAS, NUM_BLOCKS, biased, drawn, logits_of, make, tokens
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

BEGINNINGS = (13, 1, 30, 15)  # tokens read before; several steps cross a border of blocks
TABLES = scrambled_tables(4, 64, num_blocks=NUM_BLOCKS)
PROGRAM = tiny_program()
Make = Callable[[], Backend]

MAKERS: dict[str, Make] = {
    "null": lambda: NullBackend(PROGRAM, num_blocks=NUM_BLOCKS),
    "reference": lambda: ReferenceBackend(PROGRAM, random_weights(PROGRAM), num_blocks=NUM_BLOCKS),
    "wafer": lambda: WaferBackend(
        PROGRAM, random_weights(PROGRAM), num_blocks=NUM_BLOCKS, machine=mesh(7, 5)
    ),
    **{
        f"{shape}-{kind}-{isa}-{threads}": partial(make, shape, isa=isa, threads=threads, kind=kind)
        for shape, kind in (("plain", "bf16"), ("wide", "bf16"), ("llama3", "layers"))
        for isa in ISAS
        for threads in (1, 2, 5)
    },
}


def read(backend: Backend, sequences: int) -> Batch:
    """Let it read the beginnings; the batch of what follows."""
    program = backend.program
    known = [tokens(program, n + 1, seed=n) for n in BEGINNINGS[:sequences]]
    backend.step(rows_batch({s: (0, ids[:-1]) for s, ids in enumerate(known)}, TABLES))
    rows = {s: (len(ids) - 1, ids[-1:]) for s, ids in enumerate(known)}
    return replace(rows_batch(rows, TABLES), want_logits=False)


def one_by_one(backend: Backend, batch: Batch, steps: int) -> list[int]:
    """The tokens of as many calls."""
    found: list[int] = []
    for _ in range(steps):
        ids = backend.step(batch).token_ids
        found += ids.tolist()
        batch = replace(batch, token_ids=ids, positions=batch.positions + np.int32(1))
    return found


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sequences", [1, 2, 4])
def test_several_steps_are_as_many_calls(name: str, sequences: int) -> None:
    for temperature in (0.0, 0.9):
        apart, together = MAKERS[name](), MAKERS[name]()
        options = {"temperature": temperature, "top_k": 20, "top_p": 0.9}
        batch = drawn(read(together, sequences), **options)
        read(apart, sequences)
        steps = 19
        expected = one_by_one(apart, batch, steps)
        found = together.step(replace(batch, steps=steps)).token_ids
        assert found.tolist() == expected
        # The cache is the same too: what follows has the same logits.
        ids, positions = found[-sequences:].copy(), batch.positions + np.int32(steps)
        after = replace(batch, token_ids=ids, positions=positions, want_logits=True)
        np.testing.assert_array_equal(logits_of(together.step(after)), logits_of(apart.step(after)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2])
def test_more_rows_than_run_together(isa: str, threads: int) -> None:
    """Several passes a step: each row's token is fed to the right row of the next."""
    rows = 150
    backends = [
        CpuBackend(PROGRAM, random_weights(PROGRAM), num_blocks=rows, threads=threads, isa=isa)
        for _ in range(2)
    ]
    tables = np.arange(rows, dtype=np.int32)[:, None]
    batch = rows_batch({s: (0, [s % 101]) for s in range(rows)}, tables)
    batch = drawn(batch, temperature=1.0)
    expected = one_by_one(backends[0], batch, 5)
    assert backends[1].step(replace(batch, steps=5)).token_ids.tolist() == expected


@pytest.mark.parametrize("isa", ISAS)
def test_a_logit_that_is_no_number_in_a_later_step_is_an_error(isa: str) -> None:
    """The table's row of a token that is only drawn is poisoned."""
    weights = random_weights(PROGRAM)
    plain = CpuBackend(PROGRAM, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    batch = read(plain, 1)
    ids = one_by_one(plain, batch, 4)
    late = next(i for i in ids if i not in tokens(PROGRAM, BEGINNINGS[0] + 1, seed=BEGINNINGS[0]))
    weights["model.embed_tokens.weight"][late, 0] = 0x7FC0
    poisoned = CpuBackend(PROGRAM, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    batch = read(poisoned, 1)
    assert poisoned.step(batch).token_ids[0] == ids[0]
    with pytest.raises(BackendError, match="not numbers"):
        poisoned.step(replace(batch, steps=5))
    assert poisoned.step(read(poisoned, 1)).token_ids[0] == ids[0], "and it works again"


INVALID: dict[str, dict[str, Any]] = {
    "no step": {"steps": 0},
    "fewer than none": {"steps": -1},
    "a tap": {"taps": (0,)},
    "logits": {"want_logits": True},
    "a row not sampled": {"sample_rows": np.array([0], np.int32)},
    "another order": {"sample_rows": np.array([1, 0], np.int32)},
    "two rows of a sequence": {"row_sequence": np.array([0, 0], np.int32)},
}


@pytest.mark.parametrize("kind", ["null", "reference", "wafer", "cpu"])
@pytest.mark.parametrize("case", INVALID)
def test_what_cannot_be_repeated_is_refused(kind: str, case: str) -> None:
    backend = make("plain") if kind == "cpu" else MAKERS[kind]()
    batch = replace(read(backend, 2), steps=2)
    with pytest.raises(BackendError, match="not valid"):
        backend.step(replace(batch, **INVALID[case]))
    with pytest.raises(BackendError, match="not valid"):
        backend.step(biased(batch, backend.program.vocab_size, seed=1))


@pytest.mark.parametrize(
    ("steps", "says"),
    [(4, "block table entry"), (300, "steps are out of range"), (250, "position")],
)
def test_steps_beyond_the_table_and_the_context_are_refused(steps: int, says: str) -> None:
    backend = make("plain", threads=2)
    table = np.zeros((1, 1), np.int32)
    batch = replace(rows_batch({0: (13, [1])}, table), want_logits=False, steps=3)
    backend.step(batch)
    with pytest.raises(BackendError, match=says):
        backend.step(replace(batch, steps=steps))
