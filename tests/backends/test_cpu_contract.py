"""The duties of a backend besides arithmetic: samples, taps, refusals, reports, packing."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headrace.backends.cpu import (
    CpuBackend,
    barrier_seconds,
    physical_cores,
    read_bandwidth,
    round_trip_seconds,
)
from headrace.backends.reference import ReferenceBackend
from headrace.backends.sampling import sample
from headrace.errors import BackendError, ConfigError, KernelMissing
from headrace.model.program import Program
from tests.backends.cpu_cases import (
    ISAS,
    NUM_BLOCKS,
    SHAPES,
    biased,
    drawn,
    logits_of,
    make,
    tokens,
)
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

TABLES = scrambled_tables(2, 64, num_blocks=NUM_BLOCKS)


def prompt_batch(program: Program, rows: int = 20, taps: tuple[int, ...] = ()) -> Any:
    return rows_batch({0: (0, tokens(program, rows))}, TABLES, taps=taps)


@pytest.mark.parametrize("shape", ["tied", "odd", "biases", "wide"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_packed_matrices_unpack_to_the_same_bits(shape: str, threads: int) -> None:
    program = tiny_program(**SHAPES[shape])
    weights = random_weights(program)
    for isa in ISAS:
        backend = CpuBackend(program, weights, num_blocks=1, threads=threads, isa=isa)
        matrices = [name for name, weight in program.weights().items() if len(weight.shape) == 2]
        assert matrices
        for name in matrices:
            np.testing.assert_array_equal(backend.unpack(name), weights[name], err_msg=name)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2])
def test_tokens_are_drawn_from_the_logits_as_defined(isa: str, threads: int) -> None:
    backend = make("wide", isa=isa, threads=threads)
    batch = prompt_batch(backend.program, 40)
    for options in ({}, {"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.05}, {"temperature": 0.0}):
        wanted = drawn(batch, want_logits=True, **options)
        result = backend.step(wanted)
        expected = sample(logits_of(result), wanted.sampling, batch.positions + 1)
        np.testing.assert_array_equal(result.token_ids, expected)
        # Not asking for the logits takes another path to the same tokens.
        blind = backend.step(replace(wanted, want_logits=False))
        assert blind.logits is None
        np.testing.assert_array_equal(blind.token_ids, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", ["wide", "tied"])
def test_biases_move_the_draw_as_defined_and_leave_the_logits_alone(
    isa: str, threads: int, shape: str
) -> None:
    backend = make(shape, isa=isa, threads=threads)
    batch = prompt_batch(backend.program, 40)
    vocab = backend.program.vocab_size
    for options in ({}, {"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.05}, {"temperature": 0.0}):
        plain = drawn(batch, want_logits=True, **options)
        unbiased = backend.step(plain)
        wanted = biased(plain, vocab)
        result = backend.step(wanted)
        np.testing.assert_array_equal(logits_of(result), logits_of(unbiased))
        expected = sample(logits_of(result), wanted.sampling, batch.positions + 1)
        np.testing.assert_array_equal(result.token_ids, expected)
        assert (result.token_ids != unbiased.token_ids).any()
        np.testing.assert_array_equal(result.token_ids[::3], unbiased.token_ids[::3])
        blind = backend.step(replace(wanted, want_logits=False))
        np.testing.assert_array_equal(blind.token_ids, expected)


def test_rows_may_be_sampled_in_any_order_and_twice() -> None:
    backend = make("plain", threads=2)
    batch = prompt_batch(backend.program, 20)
    everything = logits_of(backend.step(batch))
    rows = np.array([19, 3, 19, 0, 3] * 40, np.int32)
    picked = drawn(replace(batch, sample_rows=rows), want_logits=True)
    result = backend.step(picked)
    np.testing.assert_array_equal(logits_of(result), everything[rows])
    expected = sample(everything[rows], picked.sampling, batch.positions[rows] + 1)
    np.testing.assert_array_equal(result.token_ids, expected)
    blind = backend.step(replace(picked, want_logits=False))
    np.testing.assert_array_equal(blind.token_ids, expected)


def test_greedy_ties_go_to_the_lowest_id() -> None:
    program = tiny_program()
    weights = random_weights(program)
    weights["lm_head.weight"][:] = weights["lm_head.weight"][0]
    for threads in (1, 2, 3):
        backend = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=threads)
        assert (backend.step(prompt_batch(program)).token_ids == 0).all()


def test_a_step_without_samples_only_fills_the_cache() -> None:
    backend, whole = make("plain", threads=2), make("plain")
    prompt = tokens(backend.program, 20)
    batch = rows_batch({0: (0, prompt[:19])}, TABLES)
    nothing = np.zeros(0, np.int32)
    quiet = drawn(replace(batch, sample_rows=nothing, want_logits=False))
    assert backend.step(quiet).token_ids.shape == (0,)
    last = logits_of(backend.step(rows_batch({0: (19, prompt[19:])}, TABLES)))
    expected = logits_of(whole.step(rows_batch({0: (0, prompt)}, TABLES)))
    np.testing.assert_array_equal(last[0], expected[-1])


def test_taps_come_in_the_order_asked_for() -> None:
    backend = make("wide", threads=2)
    one = {layer: backend.step(prompt_batch(backend.program, taps=(layer,))) for layer in range(3)}
    result = backend.step(prompt_batch(backend.program, taps=(2, 0, 2)))
    assert result.hidden is not None
    for found, layer in zip(result.hidden, (2, 0, 2), strict=True):
        expected = one[layer].hidden
        assert expected is not None
        np.testing.assert_array_equal(found, expected[0])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("poison", [0x7FC0, 0x7F80])  # a NaN, an infinity
def test_a_logit_that_is_no_number_is_an_error(isa: str, temperature: float, poison: int) -> None:
    program = tiny_program()
    weights = random_weights(program)
    weights["model.norm.weight"][3] = poison
    backend = CpuBackend(program, weights, num_blocks=NUM_BLOCKS, threads=2, isa=isa)
    batch = drawn(prompt_batch(program), temperature=temperature)
    with pytest.raises(BackendError, match="not numbers"):
        backend.step(batch)


INVALID: Sequence[tuple[str, Mapping[str, object]]] = [
    ("token id", {"token_ids": np.array([0, 101, 0], np.int32)}),
    ("token id", {"token_ids": np.array([0, -1, 0], np.int32)}),
    ("position", {"positions": np.array([0, 1, 256], np.int32)}),
    ("position", {"positions": np.array([-1, 0, 1], np.int32)}),
    ("sequence", {"row_sequence": np.array([0, 0, 2], np.int32)}),
    ("sequence", {"row_sequence": np.array([-1, 0, 0], np.int32)}),
    ("block", {"block_tables": np.array([[NUM_BLOCKS]], np.int32)}),
    ("block", {"block_tables": np.array([[-1]], np.int32)}),
    ("block table entry", {"positions": np.array([200, 201, 202], np.int32)}),
    ("sample row", {"sample_rows": np.array([0, 1, 3], np.int32)}),
    ("sample row", {"sample_rows": np.array([0, -1, 2], np.int32)}),
    ("length", {"positions": np.array([0, 1], np.int32)}),
    ("length", {"sample_rows": np.array([0, 1], np.int32)}),
    ("not valid", {"token_ids": np.array([0, 1, 2], np.int64)}),
    ("not valid", {"token_ids": np.array([[0, 1, 2]], np.int32)}),
    ("not valid", {"positions": np.array([0, 9, 1, 9, 2, 9], np.int32)[::2]}),
    ("layer 7", {"taps": (7,)}),
]


@pytest.mark.parametrize(("message", "changes"), INVALID)
def test_a_batch_that_is_not_valid_is_refused(message: str, changes: dict[str, Any]) -> None:
    backend = make("plain", threads=2)
    good = rows_batch({0: (0, [1, 2, 3])}, np.zeros((2, 4), np.int32))
    before = logits_of(backend.step(good))
    with pytest.raises(BackendError, match=message):
        backend.step(replace(good, **changes))
    np.testing.assert_array_equal(logits_of(backend.step(good)), before)


BAD_BIASES: Sequence[tuple[list[int], list[int], list[float]]] = [
    ([0, 1, 1], [1], [0.0]),
    ([0, 1, 1, 2], [1], [0.0]),
    ([1, 1, 1, 1], [1], [0.0]),
    ([0, 2, 1, 2], [1, 2], [0.0, 0.0]),
    ([0, 1, 1, 1], [1], [0.0, 0.0]),
    ([], [1], [0.0]),
    ([0, 1, 1, 1], [101], [0.0]),
    ([0, 1, 1, 1], [-1], [0.0]),
    ([0, 2, 2, 2], [4, 4], [0.0, 0.0]),
    ([0, 2, 2, 2], [4, 3], [0.0, 0.0]),
    ([0, 1, 1, 1], [1], [np.nan]),
    ([0, 1, 1, 1], [1], [np.inf]),
    ([0, 1, 1, 1], [1], [2e30]),
    ([0, 0, 101, 101], list(range(101)), [-np.inf] * 101),
]


@pytest.mark.parametrize(("offsets", "ids", "values"), BAD_BIASES)
@pytest.mark.parametrize("kind", ["cpu", "reference"])
def test_biases_that_are_not_valid_are_refused(
    kind: str, offsets: list[int], ids: list[int], values: list[float]
) -> None:
    program = tiny_program()
    weights = random_weights(program)
    backend = (
        CpuBackend(program, weights, num_blocks=4, threads=2)
        if kind == "cpu"
        else ReferenceBackend(program, weights, num_blocks=4)
    )
    good = rows_batch({0: (0, [1, 2, 3])}, np.zeros((1, 1), np.int32))
    sampling = replace(
        good.sampling,
        bias_offsets=np.array(offsets, np.int32),
        bias_ids=np.array(ids, np.int32),
        bias_values=np.array(values, np.float32),
    )
    with pytest.raises(BackendError, match="not valid"):
        backend.step(replace(good, sampling=sampling))


def test_blocks_before_a_later_row_are_checked_too() -> None:
    backend = make("plain")
    table = np.array([[0, NUM_BLOCKS, 1, 2]], np.int32)
    with pytest.raises(BackendError, match="block"):
        backend.step(rows_batch({0: (40, [1])}, table))
    # Entries past the sequence's length are ignored.
    backend.step(rows_batch({0: (3, [1])}, table))


def test_tensors_of_another_shape_or_type_are_refused() -> None:
    program = tiny_program()
    for wrong in (np.zeros((3, 3), np.uint16), np.zeros((101, 48), np.float32)):
        weights: dict[str, Any] = {**random_weights(program), "lm_head.weight": wrong}
        with pytest.raises(BackendError, match=r"lm_head\.weight"):
            CpuBackend(program, weights, num_blocks=1)


def test_an_instruction_set_that_is_not_here_is_refused() -> None:
    program = tiny_program()
    with pytest.raises(KernelMissing, match="scalar"):
        CpuBackend(program, random_weights(program), num_blocks=1, isa="abacus")


def test_a_missing_library_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "headrace.backends.cpu._native", None)
    program = tiny_program()
    with pytest.raises(KernelMissing, match="pip install"):
        CpuBackend(program, random_weights(program), num_blocks=1)
    with pytest.raises(KernelMissing, match="pip install"):
        physical_cores()


def test_a_cache_beyond_all_memory_is_refused_naming_the_setting() -> None:
    program = tiny_program()
    with pytest.raises(ConfigError, match=r"engine\.kv_tokens"):
        CpuBackend(program, random_weights(program), num_blocks=1 << 36)


def test_loading_reports_every_byte() -> None:
    program = tiny_program(tie_word_embeddings=True)
    weights = random_weights(program)
    heard: list[tuple[int, int]] = []
    CpuBackend(program, weights, num_blocks=1, progress=lambda *p: heard.append(p))
    matrices = sum(w.nbytes for w in weights.values() if w.ndim == 2)
    assert heard[-1] == (matrices, matrices)  # a tied table counts, and is packed, once
    assert heard == sorted(heard)


def test_the_report_says_how_a_step_runs() -> None:
    backend = make("plain", isa="scalar", threads=2)
    report = backend.report()
    assert report.device == "scalar, 2 threads"
    assert report.phases == {
        "EmbedRows": 1,
        "NormLinear": 2,
        "Attention": 2,
        "LinearResidual": 4,
        "GatedMlp": 2,
        "HeadSample": 1,
    }
    assert report.fallback_ops == {}
    assert report.kv_bytes >= NUM_BLOCKS * 16 * backend.program.kv_bytes_per_token
    assert backend.num_blocks == NUM_BLOCKS
    backend.close()
    backend.close()


def test_the_machine_can_be_measured() -> None:
    assert physical_cores() >= 1
    assert read_bandwidth(1 << 20, 2, 0.01) > 0
    assert barrier_seconds(2) > 0
    with pytest.raises(ValueError, match="at least"):
        read_bandwidth(10, 1, 0.01)


def test_the_round_trip_needs_two_processors() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert round_trip_seconds() is None
    finally:
        os.sched_setaffinity(0, allowed)
    if len(allowed) > 1:
        assert (round_trip_seconds() or 0) > 0
