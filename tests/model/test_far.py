"""Position 131,071 against transformers: angles of float32 that far out."""

from dataclasses import replace

import numpy as np
import pytest

from headrace.backends.reference import ReferenceBackend
from headrace.model.program import AppendKv, Program, Rope
from tests.far_case import FarCase, load_far_case
from tests.golden_cases import relative_error
from tests.tiny_llama import rows_batch

FLOAT32_TOLERANCE = 1e-4  # as of the other golden cases; 2e-5 is what was seen


@pytest.fixture(scope="module")
def case() -> FarCase:
    return load_far_case()


def filled(case: FarCase, program: Program) -> ReferenceBackend:
    """A cache that holds the whole prompt.

    What follows the last layer's keys and values does not enter the cache, and is left out.
    """
    last = max(i for i, op in enumerate(program.ops) if isinstance(op, AppendKv))
    filler = ReferenceBackend(
        replace(program, ops=program.ops[: last + 1]),
        case.model.weights,
        num_blocks=case.num_blocks,
        round_kv=False,
    )
    for batch, _ in case.pieces(4_096):
        nothing = np.zeros(0, np.int32)
        filler.step(replace(batch, sample_rows=nothing, want_logits=False))
    return filler


def logits_after(filler: ReferenceBackend, case: FarCase, program: Program) -> np.ndarray:
    backend = ReferenceBackend(
        program, case.model.weights, num_blocks=case.num_blocks, round_kv=False
    )
    backend._keys, backend._values = filler._keys, filler._values
    tables, found = case.tables, []
    for row in case.rows:
        logits = backend.step(rows_batch({0: (row, [int(case.prompt[row])])}, tables)).logits
        assert logits is not None
        found.append(logits[0])
    return np.array(found)


def test_the_far_end_of_a_long_context_equals_transformers(case: FarCase) -> None:
    program = case.model.program
    assert len(case.prompt) == program.max_positions == 131_072
    assert case.rows[-1] == 131_071
    filler = filled(case, program)
    found = logits_after(filler, case, program)
    for logits, expected in zip(found, case.logits, strict=True):
        assert relative_error(logits, expected) < FLOAT32_TOLERANCE
    # The same with queries turned by frequencies a hundred-thousandth lower: it must show.
    ops = [
        replace(op, frequencies=tuple(f * (1 - 1e-5) for f in op.frequencies))
        if isinstance(op, Rope) and op.buffer == "q"
        else op
        for op in program.ops
    ]
    wrong = logits_after(filler, case, replace(program, ops=tuple(ops)))
    assert relative_error(wrong[-1], case.logits[-1]) > 100 * FLOAT32_TOLERANCE
