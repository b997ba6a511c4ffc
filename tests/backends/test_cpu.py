"""The cpu backend against the reference, on every instruction set this machine has."""

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends import reference as reference_module
from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.model import bundled_model, open_model
from headrace.model.precision import round_to_bf16, widen
from tests.backends.cpu_cases import (
    ISAS,
    NUM_BLOCKS,
    SHAPES,
    calm_weights,
    logits_of,
    make,
    row_rms,
    tokens,
)
from tests.golden_cases import CASES, load_case, open_case
from tests.tiny_llama import rows_batch, scrambled_tables, tiny_program

PROMPT = 70
TABLES = scrambled_tables(2, 256, num_blocks=NUM_BLOCKS)


def reference(shape: str) -> ReferenceBackend:
    program = tiny_program(**SHAPES[shape])
    return ReferenceBackend(program, calm_weights(program), num_blocks=NUM_BLOCKS)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_stay_within_the_stated_bound_of_the_reference(shape: str, isa: str) -> None:
    judge, backend = reference(shape), make(shape, isa=isa)
    batch = rows_batch({0: (0, tokens(backend.program, PROMPT))}, TABLES)
    expected = logits_of(judge.step(batch))
    error = np.abs(logits_of(backend.step(batch)) - expected).max(axis=-1)
    assert (error / row_rms(expected)).max() <= relative_error_bound(backend.program)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rounding_the_inputs_of_products_is_the_only_difference(
    shape: str, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = reference_module._matmul

    def rounded(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        return exact(widen(round_to_bf16(rows)), weight)

    judge, backend = reference(shape), make(shape, isa=isa)
    layers = tuple(range(len(backend.program.kv)))
    batch = rows_batch({0: (0, tokens(backend.program, PROMPT))}, TABLES, taps=layers)
    monkeypatch.setattr(reference_module, "_matmul", rounded)
    expected, found = judge.step(batch), backend.step(batch)
    scale = row_rms(logits_of(expected))
    error = np.abs(logits_of(found) - logits_of(expected)).max(axis=-1) / scale
    # Float32 sums in another order differ by 1e-6 or so. Now and then that tips a value over to the
    # next bf16, and every later row that attends to it: NumPy in float64 against float32 gives
    # the same picture. So most rows of most shapes agree to 1e-6, and none is far off.
    assert (error < 1e-5).sum() >= 4
    assert error.max() < 2.5e-2
    assert found.hidden is not None
    assert expected.hidden is not None
    np.testing.assert_allclose(found.hidden, expected.hidden, rtol=0.02, atol=0.02)


def test_random_ids_are_amplified_as_much_by_the_same_roundings_in_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They leave the stated bound now and then: by the rounding, not by the kernels."""
    exact = reference_module._matmul

    def rounded(rows: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        return exact(widen(round_to_bf16(rows)), weight)

    model = open_model(bundled_model())
    judge = ReferenceBackend(model.program, model.weights, num_blocks=NUM_BLOCKS)
    backend = CpuBackend(model.program, model.weights, num_blocks=NUM_BLOCKS)
    found: list[NDArray[np.float32]] = []
    same: list[NDArray[np.float32]] = []
    for seed in range(8):
        batch = rows_batch({0: (0, tokens(model.program, PROMPT, seed))}, TABLES)
        with monkeypatch.context() as patched:
            patched.setattr(reference_module, "_matmul", rounded)
            like = logits_of(judge.step(batch))
        expected = logits_of(judge.step(batch))
        scale = row_rms(expected)
        found.append(np.abs(logits_of(backend.step(batch)) - expected).max(axis=-1) / scale)
        same.append(np.abs(like - expected).max(axis=-1) / scale)
    for share in (0.5, 0.9):
        errors = np.quantile(found, share), np.quantile(same, share)
        assert errors[0] == pytest.approx(errors[1], rel=0.3)
    text = model.tokenizer.encode_prompt("Once upon a time there was a girl who lived by the sea.")
    batch = rows_batch({0: (0, text)}, TABLES)
    expected = logits_of(judge.step(batch))
    error = np.abs(logits_of(backend.step(batch)) - expected).max(axis=-1) / row_rms(expected)
    assert error.max() < relative_error_bound(model.program)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_tokens_equal_the_references_wherever_its_margin_is_clear(
    shape: str, isa: str
) -> None:
    judge, backend = reference(shape), make(shape, isa=isa)
    bound = relative_error_bound(backend.program)
    expected = tokens(backend.program, 5)
    clear = 0
    for position in range(64):
        # Both follow the reference's path, so one unclear step does not decide the others.
        piece = expected if position == 0 else expected[-1:]
        start = 0 if position == 0 else 4 + position
        batch = rows_batch({0: (start, piece)}, TABLES)
        want, got = judge.step(batch), backend.step(batch)
        logits = logits_of(want)[-1]
        second, best = np.sort(logits)[-2:]
        if best - second > 2 * bound * row_rms(logits):
            clear += 1
            assert got.token_ids[-1] == want.token_ids[-1]
        expected = [*expected, int(want.token_ids[-1])]
    assert clear > 0


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_chunks_neighbours_and_threads_change_no_bit(shape: str, isa: str) -> None:
    program = tiny_program(**SHAPES[shape])
    prompt, other = tokens(program, PROMPT), tokens(program, 33, seed=2)
    expected = logits_of(make(shape, isa=isa).step(rows_batch({0: (0, prompt)}, TABLES)))
    for threads in (1, 2, 3):
        for chunk in (1, 7, 16, 69):
            backend = make(shape, isa=isa, threads=threads)
            rows: list[NDArray[np.float32]] = []
            for start in range(0, PROMPT, chunk):
                piece = prompt[start : start + chunk]
                pieces = {0: (start, piece)}
                if start < len(other):  # a neighbour comes and goes
                    pieces = {1: (start, other[start : start + chunk]), **pieces}
                rows.append(logits_of(backend.step(rows_batch(pieces, TABLES)))[-len(piece) :])
            np.testing.assert_array_equal(np.concatenate(rows), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_more_rows_than_one_pass_holds_and_more_tokens_than_one_span(isa: str) -> None:
    changes: dict[str, object] = {**SHAPES["tied"], "max_position_embeddings": 700}
    program = tiny_program(**changes)
    weights = calm_weights(program)
    prompt = tokens(program, 600)
    tables = scrambled_tables(1, 640, num_blocks=NUM_BLOCKS)
    batch = rows_batch({0: (0, prompt)}, tables, taps=(1,))
    judge = ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS).step(batch)
    whole = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa).step(batch)
    error = np.abs(logits_of(whole) - logits_of(judge)).max(axis=-1)
    assert (error / row_rms(logits_of(judge))).max() <= relative_error_bound(program)
    assert whole.hidden is not None
    single = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=1, isa=isa)
    for row, token in enumerate(prompt):
        alone = single.step(rows_batch({0: (row, [token])}, tables, taps=(1,)))
        np.testing.assert_array_equal(logits_of(alone)[0], logits_of(whole)[row])
        assert alone.hidden is not None
        np.testing.assert_array_equal(alone.hidden[0, 0], whole.hidden[0, row])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_golden_logits_and_tokens_of_transformers(name: str, isa: str) -> None:
    case = load_case(name)
    model = open_case(case)
    total = len(case.prompt) + len(case.greedy)
    num_blocks = -(-total // BLOCK_TOKENS) + 3
    backend = CpuBackend(model.program, model.weights, num_blocks=num_blocks, threads=2, isa=isa)
    slots = scrambled_tables(1, total, num_blocks)
    bound = relative_error_bound(model.program, model.weights)
    layers = tuple(range(len(case.hidden)))
    result = backend.step(rows_batch({0: (0, case.prompt.tolist())}, slots, taps=layers))
    error = np.abs(logits_of(result) - case.logits).max(axis=-1)
    assert (error / row_rms(case.logits)).max() <= bound
    assert result.hidden is not None
    for layer in layers:
        off = np.abs(result.hidden[layer] - case.hidden[layer]).max(axis=-1)
        assert (off / row_rms(case.hidden[layer])).max() <= bound
    clear = 0
    for step, token in enumerate(case.greedy):
        if case.margins[step] > 2 * bound * row_rms(logits_of(result)[-1:])[0]:
            clear += 1
            assert result.token_ids[-1] == token
        result = backend.step(rows_batch({0: (len(case.prompt) + step, [int(token)])}, slots))
    assert clear > 0


@pytest.mark.parametrize("isa", ISAS)
def test_two_runs_give_the_same_bits(isa: str) -> None:
    backend = make("wide", isa=isa, threads=2)
    batch = rows_batch({0: (0, tokens(backend.program, PROMPT))}, TABLES)
    first = logits_of(backend.step(batch))
    for _ in range(20):
        np.testing.assert_array_equal(logits_of(backend.step(batch)), first)
