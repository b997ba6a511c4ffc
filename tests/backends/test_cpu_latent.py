"""Latent attention on the cpu backend against the reference, on every instruction set."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.base import StepResult
from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.errors import BackendError
from headrace.model import lowering
from headrace.model.program import (
    AppendKv,
    Attend,
    HeadLinear,
    Norm,
    Op,
    Program,
    Rope,
)
from tests.backends.cpu_cases import ISAS, calm_weights, drawn, logits_of, row_rms, tokens
from tests.latent_program import ODD, ONE, UNEVEN, WIDE, LatentSizes, latent_program
from tests.tiny_llama import rows_batch, scrambled_tables

SIZES = {"odd": ODD, "wide": WIDE, "uneven": UNEVEN, "one": ONE}
NUM_BLOCKS = 16
TABLES = scrambled_tables(2, 96, num_blocks=NUM_BLOCKS)
PROMPT = 70


def make(program: Program, isa: str, threads: int = 1) -> CpuBackend:
    weights = calm_weights(program)
    return CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=threads, isa=isa)


def assert_close(found: StepResult, expected: StepResult, program: Program) -> None:
    bound = relative_error_bound(program)
    off = np.abs(logits_of(found) - logits_of(expected)).max(axis=-1)
    assert (off / row_rms(logits_of(expected))).max() <= bound
    assert found.hidden is not None
    assert expected.hidden is not None
    off = np.abs(found.hidden - expected.hidden).max(axis=-1)
    assert (off / row_rms(expected.hidden)).max() <= bound


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
def test_logits_stay_within_the_stated_bound_of_the_reference(size: str, isa: str) -> None:
    program = latent_program(SIZES[size])
    batch = rows_batch({0: (0, tokens(program, PROMPT))}, TABLES, taps=(0, 1))
    judge = ReferenceBackend(program, calm_weights(program), num_blocks=NUM_BLOCKS)
    backend = make(program, isa, threads=2)
    assert_close(backend.step(batch), judge.step(batch), program)
    # The norm of the latents stands between two linears and is no phase of its own.
    assert backend.report().fallback_ops == {"Norm": 2}
    assert backend.report().phases["HeadLinears"] == 4


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
def test_chunks_neighbours_and_threads_change_no_bit(size: str, isa: str) -> None:
    program = latent_program(SIZES[size])
    prompt, other = tokens(program, PROMPT), tokens(program, 33, seed=2)
    expected = logits_of(make(program, isa).step(rows_batch({0: (0, prompt)}, TABLES)))
    for threads, chunk in ((1, 1), (2, 1), (3, 7), (2, 16), (1, 69)):
        backend = make(program, isa, threads)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, PROMPT, chunk):
            piece = prompt[start : start + chunk]
            pieces = {0: (start, piece)}
            if start < len(other):
                pieces = {1: (start, other[start : start + chunk]), **pieces}
            rows.append(logits_of(backend.step(rows_batch(pieces, TABLES)))[-len(piece) :])
        np.testing.assert_array_equal(np.concatenate(rows), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [None, 15, 40, 530])
def test_contexts_of_several_spans(window: int | None, isa: str) -> None:
    sizes = LatentSizes(layers=1, window=window, max_positions=1_200, rank=34)
    program = latent_program(sizes)
    weights = calm_weights(program)
    prompt = tokens(program, 1_100)
    tables = scrambled_tables(1, 1_120, num_blocks=70)
    batch = rows_batch({0: (0, prompt)}, tables, taps=(0,))
    judge = ReferenceBackend(program, weights, num_blocks=70)
    backend = CpuBackend(program, weights, num_blocks=70, threads=2, isa=isa)
    found = backend.step(batch)
    assert_close(found, judge.step(batch), program)
    for row in (0, 15, 16, 511, 512, 529, 530, 1_023, 1_024, 1_041, 1_099):
        alone = logits_of(backend.step(rows_batch({0: (row, prompt[row : row + 1])}, tables)))
        np.testing.assert_array_equal(alone[0], logits_of(found)[row])


@pytest.mark.parametrize("isa", ISAS)
def test_what_a_slot_held_before_does_not_matter(isa: str) -> None:
    program = latent_program(UNEVEN)
    weights = calm_weights(program)
    weights["model.embed_tokens.weight"][100] = 0x7FC0  # a NaN
    backend = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    poison = rows_batch({0: (0, [100] * PROMPT)}, TABLES)
    nothing = np.zeros(0, np.int32)
    backend.step(drawn(replace(poison, sample_rows=nothing, want_logits=False)))
    prompt = [token % 100 for token in tokens(program, 37)]
    fresh = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    for start, piece in ((0, prompt[:20]), (20, prompt[20:21]), (21, prompt[21:])):
        batch = rows_batch({0: (start, piece)}, TABLES)
        np.testing.assert_array_equal(logits_of(backend.step(batch)), logits_of(fresh.step(batch)))


@pytest.mark.parametrize("isa", ISAS)
def test_every_operation_can_run_alone(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = latent_program(ODD)
    batch = rows_batch({0: (0, tokens(program, PROMPT))}, TABLES, taps=(0, 1))
    judge = ReferenceBackend(program, calm_weights(program), num_blocks=NUM_BLOCKS)
    fused = make(program, isa).step(batch)
    monkeypatch.setattr(lowering, "_PATTERNS", ())
    backend = make(program, isa, threads=2)
    alone = backend.step(batch)
    assert_close(alone, judge.step(batch), program)
    np.testing.assert_array_equal(logits_of(alone), logits_of(fused))
    assert {"HeadLinear", "Rope", "AppendKv", "Attend"} <= set(backend.report().fallback_ops)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", SIZES)
def test_heads_matrices_unpack_to_the_same_bits(size: str, threads: int) -> None:
    program = latent_program(SIZES[size])
    weights = calm_weights(program)
    for isa in ISAS:
        backend = make(program, isa, threads)
        for name in (name for name in weights if "kv_b_proj" in name):
            np.testing.assert_array_equal(backend.unpack(name), weights[name])


def test_a_latent_is_stored_once() -> None:
    program = latent_program(WIDE)
    assert program.kv_bytes_per_token == 2 * 2 * (96 + 16)  # layers, bytes of bf16, values
    block = 16 * program.kv_bytes_per_token
    for backend in (
        make(program, "scalar"),
        ReferenceBackend(program, calm_weights(program), num_blocks=NUM_BLOCKS),
    ):
        per_value = 1 if isinstance(backend, CpuBackend) else 2  # the reference holds float32
        held = backend.report().kv_bytes
        assert 0 <= held - per_value * NUM_BLOCKS * block < block


def changed(program: Program, kind: type[Op], **changes: object) -> Program:
    ops: Sequence[Op] = [
        replace(op, **changes) if isinstance(op, kind) else op for op in program.ops
    ]
    return replace(program, ops=tuple(ops))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (Attend, {"value_dim": None}, "values of None"),
        (Attend, {"value_dim": 9}, "values of 9"),
        (AppendKv, {"v": "k"}, "k and v"),
        (HeadLinear, {"transposed": False}, "input or output"),
        (HeadLinear, {"out": "p"}, "head linear"),
        (Rope, {"part": (11, 4)}, "rotation does not fit"),
        (Rope, {"part": (10, 2)}, "2 frequencies for 2 values"),
        (Norm, {"rest": 3}, "norm"),
    ],
)
def test_programs_that_do_not_fit_together_are_refused(
    kind: type[Op], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        make(changed(latent_program(ODD), kind, **changes), "scalar")
