"""fp16 weights on the cpu backend: exact on every instruction set, alone and beside bf16."""

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.base import Batch, Weights
from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.backends.sampling import sample
from headrace.model.precision import round_to_bf16, widen
from headrace.model.program import Embed, Head, Program, Tap, Weight
from tests.backends.cpu_cases import (
    FP16_KINDS,
    ISAS,
    NUM_BLOCKS,
    SHAPES,
    drawn,
    logits_of,
    make,
    row_rms,
    tokens,
    weights_with_fp16,
)
from tests.tiny_llama import (
    random_values,
    random_weights,
    rows_batch,
    scrambled_tables,
    tiny_program,
)

PROMPT = 70
TABLES = scrambled_tables(2, 256, num_blocks=NUM_BLOCKS)


def errors(program: Program, weights: Weights, isa: str, batch: Batch) -> NDArray[np.float32]:
    """Of each row, the largest error over the rms of the reference's logits."""
    judge = ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS)
    backend = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    expected = logits_of(judge.step(batch))
    return np.abs(logits_of(backend.step(batch)) - expected).max(axis=-1) / row_rms(expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", FP16_KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_stay_within_the_stated_bound_of_the_reference(
    shape: str, kind: str, isa: str
) -> None:
    program = tiny_program(**SHAPES[shape])
    weights = weights_with_fp16(program, kind)
    batch = rows_batch({0: (0, tokens(program, PROMPT))}, TABLES)
    found = errors(program, weights, isa, batch)
    bound = relative_error_bound(program, weights)
    assert found.max() <= bound
    assert bound < relative_error_bound(program)
    if kind == "fp16":
        # Nothing is rounded but the cache, on both sides: float32 sums in another order are all
        # that differs, until one tips a key or a value over to the next bf16. Rounded inputs would
        # put every row 7e-3 off.
        assert found.min() < 1e-5
        assert found.max() < 5e-3


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", FP16_KINDS)
@pytest.mark.parametrize("shape", ["odd", "biases", "wide"])
def test_chunks_neighbours_and_threads_change_no_bit(shape: str, kind: str, isa: str) -> None:
    program = tiny_program(**SHAPES[shape])
    prompt, other = tokens(program, PROMPT), tokens(program, 33, seed=2)
    whole = make(shape, isa=isa, kind=kind).step(rows_batch({0: (0, prompt)}, TABLES))
    for threads in (1, 2, 3):
        for chunk in (1, 7, 69):
            backend = make(shape, isa=isa, threads=threads, kind=kind)
            rows: list[NDArray[np.float32]] = []
            for start in range(0, PROMPT, chunk):
                piece = prompt[start : start + chunk]
                pieces = {0: (start, piece)}
                if start < len(other):  # a neighbour comes and goes
                    pieces = {1: (start, other[start : start + chunk]), **pieces}
                rows.append(logits_of(backend.step(rows_batch(pieces, TABLES)))[-len(piece) :])
            np.testing.assert_array_equal(np.concatenate(rows), logits_of(whole))


@pytest.mark.parametrize("kind", FP16_KINDS)
@pytest.mark.parametrize("shape", ["tied", "odd", "biases", "wide"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_packed_matrices_unpack_to_the_same_bits(shape: str, kind: str, threads: int) -> None:
    program = tiny_program(**SHAPES[shape])
    weights = weights_with_fp16(program, kind)
    for isa in ISAS:
        backend = CpuBackend(program, weights, num_blocks=1, threads=threads, isa=isa)
        for name, weight in program.weights().items():
            if len(weight.shape) == 2:
                found = backend.unpack(name)
                assert found.dtype == weights[name].dtype
                np.testing.assert_array_equal(found, weights[name][:], err_msg=name)


def everything(hidden: int) -> NDArray[np.float16]:
    """Every fp16 number, [65,536 / hidden, hidden]; zeros for those that are not finite."""
    values = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16)
    return np.where(np.isfinite(values), values, np.float16(0)).reshape(-1, hidden)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_number_is_widened_exactly(isa: str, threads: int) -> None:
    size = 256
    table, head = (Weight(name=name, shape=(size, size)) for name in ("table", "head"))
    program = Program(
        architecture="none",
        vocab_size=size,
        hidden_size=size,
        max_positions=size,
        buffers={"h": size},
        kv=(),
        ops=(Embed(out="h", table=table), Tap(inp="h", layer=0), Head(inp="h", weight=head)),
    )
    one = np.eye(size, dtype=np.float16)
    batch = rows_batch({0: (0, list(range(size)))}, scrambled_tables(1, size, 16), taps=(0,))
    looked_up = CpuBackend(
        program, {"table": everything(size), "head": one}, num_blocks=16, threads=threads, isa=isa
    ).step(batch)
    assert looked_up.hidden is not None
    np.testing.assert_array_equal(looked_up.hidden[0], widen(everything(size)))
    np.testing.assert_array_equal(logits_of(looked_up), widen(everything(size)))
    multiplied = CpuBackend(
        program, {"table": one, "head": everything(size)}, num_blocks=16, threads=threads, isa=isa
    ).step(batch)
    np.testing.assert_array_equal(logits_of(multiplied), widen(everything(size)).T)


@pytest.mark.parametrize("isa", ISAS)
def test_tokens_are_drawn_from_the_logits_as_defined(isa: str) -> None:
    backend = make("wide", isa=isa, threads=2, kind="fp16")
    batch = rows_batch({0: (0, tokens(backend.program, 40))}, TABLES)
    for options in ({}, {"top_k": 5}, {"temperature": 0.0}):
        wanted = drawn(batch, want_logits=True, **options)
        result = backend.step(wanted)
        expected = sample(logits_of(result), wanted.sampling, batch.positions + 1)
        np.testing.assert_array_equal(result.token_ids, expected)


def test_only_equal_formats_are_stacked_and_the_report_says_what_runs_alone() -> None:
    assert make("plain", kind="fp16").report().fallback_ops == {}
    assert make("plain", kind="layers").report().fallback_ops == {}
    alone = make("plain", kind="tensors").report().fallback_ops
    assert alone["Linear"] >= 2 * 2


@pytest.mark.parametrize("isa", ISAS)
def test_vectors_in_fp32_are_taken_as_they_are(isa: str) -> None:
    program = tiny_program(attention_bias=True, mlp_bias=True)
    batch = rows_batch({0: (0, tokens(program, PROMPT))}, TABLES)
    bits = random_weights(program)
    wide: Weights = {name: widen(b) if b.ndim == 1 else b for name, b in bits.items()}
    results = [
        logits_of(CpuBackend(program, weights, num_blocks=NUM_BLOCKS, isa=isa).step(batch))
        for weights in (bits, wide)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    # With all their digits they are not what bf16 would make of them.
    exact: dict[str, NDArray[np.uint16 | np.float16 | np.float32]] = {
        name: values if values.ndim == 1 else values.astype(np.float16)
        for name, values in random_values(program).items()
    }
    assert errors(program, exact, isa, batch).min() < 1e-5
    rounded: Weights = {
        name: round_to_bf16(values) if values.ndim == 1 else values.astype(np.float16)
        for name, values in random_values(program).items()
    }
    backend = CpuBackend(program, rounded, num_blocks=NUM_BLOCKS, isa=isa)
    judge = ReferenceBackend(program, exact, num_blocks=NUM_BLOCKS)
    expected = logits_of(judge.step(batch))
    off = np.abs(logits_of(backend.step(batch)) - expected).max(axis=-1) / row_rms(expected)
    assert off.min() > 1e-4
