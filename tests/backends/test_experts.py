"""Mixtures of experts on the cpu backend, against the reference, on programs of their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.cpu import CpuBackend
from headrace.backends.reference import ReferenceBackend
from headrace.errors import BackendError
from headrace.model.lowering import MixtureMlp, lower
from headrace.model.precision import round_to_bf16, widen
from headrace.model.program import Experts, Program, Route
from headrace.model.registry import build_program
from tests.backends.cpu_cases import ISAS
from tests.tiny_llama import random_values, random_weights, rows_batch, scrambled_tables

SIZES = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 44,
    "intermediate_size": 57,
    "moe_intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 18,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "max_position_embeddings": 128,
    "vocab_size": 307,
    "tie_word_embeddings": False,
}
SHAPES: dict[str, dict[str, object]] = {
    "odd": {},
    "one of many": {"num_experts": 40, "num_experts_per_tok": 1},
    "all": {"num_experts": 3, "num_experts_per_tok": 3},
    "not normalised": {"norm_topk_prob": False, "num_experts_per_tok": 4},
    "whole vectors": {"hidden_size": 64, "moe_intermediate_size": 32, "head_dim": 16},
}
ROWS = 45
TABLES = scrambled_tables(2, 64, num_blocks=12)


def program_of(shape: str) -> Program:
    return build_program({**SIZES, **SHAPES[shape]})


def steady(program: Program) -> dict[str, NDArray[np.uint16]]:
    """Weights whose routers decide by far: what rounding moves decides nothing.

    The embedding of token i is large where router i % experts looks, and layers add little to it.
    """
    values = random_values(program)
    routes = [op for op in program.ops if isinstance(op, Route)]
    experts = next(len(op.gate) for op in program.ops if isinstance(op, Experts))
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((program.hidden_size, experts))
    towards = np.linalg.qr(drawn)[0].T.astype(np.float32)  # each looks where no other does
    for name in values:
        if name.endswith(".gate.weight"):
            values[name] = 2 * towards
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            values[name] *= 0.05
    order = rng.permuted(np.tile(np.arange(experts), (program.vocab_size, 1)), axis=1)
    steps = np.arange(experts, dtype=np.float32)
    table = np.zeros((program.vocab_size, program.hidden_size), np.float32)
    for token in range(program.vocab_size):
        table[token] = steps @ towards[order[token]]
    values["model.embed_tokens.weight"] = table / np.abs(table).max()
    assert routes
    return {name: round_to_bf16(value) for name, value in values.items()}


def prompt(program: Program, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(program.vocab_size, size=ROWS).tolist()


def logits_of(backend: CpuBackend | ReferenceBackend, tokens: list[int]) -> NDArray[np.float32]:
    found = backend.step(rows_batch({0: (0, tokens)}, TABLES)).logits
    assert found is not None
    return found


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_experts_give_the_same_logits(shape: str, isa: str) -> None:
    program = program_of(shape)
    weights = steady(program)
    expected = logits_of(ReferenceBackend(program, weights, num_blocks=12), prompt(program))
    backend = CpuBackend(program, weights, num_blocks=12, threads=2, isa=isa)
    assert backend.report().phases["MixtureMlp"] == 2
    found = logits_of(backend, prompt(program))
    rms = np.sqrt((expected**2).mean(axis=-1))
    assert (np.abs(found - expected).max(axis=-1) / rms).max() < 0.08
    assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.9


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_chunks_neighbours_and_threads_change_no_bit(shape: str, isa: str) -> None:
    program = program_of(shape)
    weights = random_weights(program)
    tokens = prompt(program)
    expected = logits_of(CpuBackend(program, weights, num_blocks=12, threads=1, isa=isa), tokens)
    for threads in (1, 2, 3):
        backend = CpuBackend(program, weights, num_blocks=12, threads=threads, isa=isa)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, ROWS, 7):
            piece = tokens[start : start + 7]
            pieces = {1: (start, prompt(program, 2)[start : start + 7]), 0: (start, piece)}
            step = backend.step(rows_batch(pieces, TABLES))
            assert step.logits is not None
            rows.append(step.logits[-len(piece) :])
        np.testing.assert_array_equal(np.concatenate(rows), expected)


def test_half_precision_experts_are_multiplied_as_stored() -> None:
    program = program_of("odd")
    values = steady(program)
    halves = {name: widen(value).astype(np.float16) for name, value in values.items()}
    expected = logits_of(ReferenceBackend(program, halves, num_blocks=12), prompt(program))
    found = logits_of(CpuBackend(program, halves, num_blocks=12, threads=2), prompt(program))
    rms = np.sqrt((expected**2).mean(axis=-1))
    assert (np.abs(found - expected).max(axis=-1) / rms).max() < 0.08


def test_experts_of_several_formats_are_refused() -> None:
    program = program_of("odd")
    weights: dict[str, NDArray[np.generic]] = {**random_weights(program)}
    name = "model.layers.0.mlp.experts.3.down_proj.weight"
    weights[name] = np.zeros(weights[name].shape, np.float16)
    with pytest.raises(BackendError, match="differ in shape or format"):
        CpuBackend(program, weights, num_blocks=12)  # pyright: ignore[reportArgumentType]


def test_a_decode_step_reads_the_chosen_experts_only() -> None:
    dense = program_of("all").bytes_per_token()
    sparse = build_program({**SIZES, "num_experts": 300, "num_experts_per_tok": 3})
    one_expert = 2 * 3 * 44 * 19
    routers = 2 * 2 * 44 * (300 - 3)
    assert sparse.bytes_per_token() == dense + routers
    assert sparse.num_parameters > program_of("all").num_parameters + 2 * 297 * one_expert // 2


def test_a_mixture_is_one_phase_with_its_router() -> None:
    phases = [phase for phase in lower(program_of("odd")) if isinstance(phase, MixtureMlp)]
    assert len(phases) == 2
    assert phases[0].route.inp == phases[0].router.out


def test_of_equals_the_first_are_chosen_on_both_sides() -> None:
    program = program_of("odd")
    weights = random_weights(program)
    for name in weights:
        if name.endswith(".gate.weight"):
            weights[name] = np.zeros_like(weights[name])  # all score alike
        if ".experts." in name and int(name.split(".")[5]) >= 2:
            weights[name] = np.full_like(weights[name], 0x7F80)  # infinite, were it used
    expected = logits_of(ReferenceBackend(program, weights, num_blocks=12), prompt(program))
    found = logits_of(CpuBackend(program, weights, num_blocks=12, threads=2), prompt(program))
    assert np.isfinite(found).all()
    rms = np.sqrt((expected**2).mean(axis=-1))
    assert (np.abs(found - expected).max(axis=-1) / rms).max() < 0.1
