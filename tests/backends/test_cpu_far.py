"""131,072 positions on the cpu backend, every one read by it, against transformers."""

import numpy as np
import pytest

from headrace.backends.cpu import CpuBackend, relative_error_bound
from tests.backends.cpu_cases import ISAS, row_rms
from tests.far_case import load_far_case

SLOWER = [pytest.param(isa, marks=pytest.mark.full) for isa in ISAS[:-1]]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("isa", [*SLOWER, ISAS[-1]])
def test_the_far_end_of_a_long_context_stays_within_the_bound(isa: str) -> None:
    case = load_far_case()
    model = case.model
    backend = CpuBackend(
        model.program, model.weights, num_blocks=case.num_blocks, threads=2, isa=isa
    )
    found: dict[int, np.ndarray] = {}
    for batch, judged in case.pieces(2_048):
        logits = backend.step(batch).logits
        assert logits is not None
        found |= dict(zip(judged, logits, strict=True))
    errors = np.abs(np.array([found[row] for row in case.rows]) - case.logits).max(axis=-1)
    rms, bound = row_rms(case.logits), relative_error_bound(model.program)
    assert (errors / rms).max() <= bound
    second, best = np.sort(case.logits, axis=-1)[:, -2:].T
    clear = [i for i in range(len(case.rows)) if best[i] - second[i] > 2 * bound * rms[i]]
    assert len(clear) >= 2
    for i in clear:
        assert found[case.rows[i]].argmax() == case.logits[i].argmax()
