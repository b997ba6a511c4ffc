"""The wafer backend against the reference: the same tokens, logits within a bound.

The bound is that of keys and values: they are rounded to bf16 on every backend, and one that lies
between two may be rounded the other way after sums in another order (2^-8 of it).
"""

from dataclasses import replace

import numpy as np
import pytest

from headrace.backends.reference import ReferenceBackend
from headrace.backends.wafer import WaferBackend, most_blocks, placed
from headrace.backends.wafer.stages import stages_of
from headrace.errors import OutOfSram
from headrace.model import bundled_model, open_model
from headrace.model.program import Program
from headrace.wafer.machine import mesh
from tests.backends.cpu_cases import biased, drawn, logits_of
from tests.latent_program import LatentSizes, latent_program
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

MESHES = [(4, 4), (7, 5), (16, 16)]
BOUND = 4e-3  # of logits that spread over some 5
EXACT_CACHE = 5e-5  # with keys and values in float32 on both sides
PROGRAMS = {
    "llama": tiny_program(),
    "tied": tiny_program(tie_word_embeddings=True),
    "qwen2": tiny_program(architectures=["Qwen2ForCausalLM"]),
    "qwen3": tiny_program(architectures=["Qwen3ForCausalLM"]),
    "mistral": tiny_program(architectures=["MistralForCausalLM"], sliding_window=9),
    "olmo2": tiny_program(architectures=["Olmo2ForCausalLM"]),
    "phi3": tiny_program(architectures=["Phi3ForCausalLM"]),
    "gemma3": tiny_program(
        architectures=["Gemma3ForCausalLM"], sliding_window=9, hidden_activation="gelu_pytorch_tanh"
    ),
    "latent": latent_program(LatentSizes()),
}


def prompt(program: Program, count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, program.vocab_size, count).tolist()


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("sides", MESHES)
def test_tokens_are_the_reference_s_and_logits_within_the_bound(
    name: str, sides: tuple[int, int]
) -> None:
    program = PROGRAMS[name]
    weights = random_weights(program)
    tables = scrambled_tables(1, 64, 8)
    wafer = WaferBackend(program, weights, num_blocks=8, machine=mesh(*sides))
    reference = ReferenceBackend(program, weights, num_blocks=8)
    batch = rows_batch({0: (0, prompt(program, 40))}, tables)
    found, expected = wafer.step(batch), reference.step(batch)
    assert found.token_ids.tolist() == expected.token_ids.tolist()
    np.testing.assert_allclose(logits_of(found), logits_of(expected), atol=BOUND)
    for position in range(40, 60):
        batch = rows_batch({0: (position, expected.token_ids[-1:].tolist())}, tables)
        found, expected = wafer.step(batch), reference.step(batch)
        assert found.token_ids.tolist() == expected.token_ids.tolist()
        np.testing.assert_allclose(logits_of(found), logits_of(expected), atol=BOUND)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("sides", MESHES)
def test_with_a_cache_in_float32_only_the_order_of_sums_differs(
    name: str, sides: tuple[int, int]
) -> None:
    program = PROGRAMS[name]
    weights = random_weights(program)
    batch = rows_batch({0: (0, prompt(program, 40))}, scrambled_tables(1, 64, 8))
    wafer = WaferBackend(program, weights, num_blocks=8, machine=mesh(*sides), round_kv=False)
    reference = ReferenceBackend(program, weights, num_blocks=8, round_kv=False)
    found, expected = logits_of(wafer.step(batch)), logits_of(reference.step(batch))
    np.testing.assert_allclose(found, expected, atol=EXACT_CACHE)


def test_a_row_does_not_depend_on_the_others_nor_on_its_blocks() -> None:
    program = PROGRAMS["llama"]
    weights = random_weights(program)
    ids, more = prompt(program, 21), prompt(program, 13, seed=1)
    rows = {}
    for seed, others in ((0, False), (5, True)):
        wafer = WaferBackend(program, weights, num_blocks=8, machine=mesh(7, 5))
        tables = scrambled_tables(2, 32, 8, seed=seed)
        if others:
            batch = rows_batch({0: (0, ids[:10]), 1: (0, more)}, tables)
            wafer.step(batch)
            batch = rows_batch({0: (10, ids[10:]), 1: (13, [3])}, tables)
            rows[seed] = logits_of(wafer.step(batch))[10]
        else:
            rows[seed] = logits_of(wafer.step(rows_batch({0: (0, ids)}, tables)))[20]
    assert np.array_equal(rows[0], rows[5])


@pytest.mark.parametrize("name", ["llama", "latent"])
@pytest.mark.parametrize("sides", MESHES)
def test_shifted_products_read_prompts_too(name: str, sides: tuple[int, int]) -> None:
    program = PROGRAMS[name]
    weights = random_weights(program)
    batch = rows_batch({0: (0, prompt(program, 23))}, scrambled_tables(1, 32, 8))
    shifting = WaferBackend(
        program, weights, num_blocks=8, machine=mesh(*sides), shifts_prompts=True
    )
    found = shifting.step(batch)
    expected = ReferenceBackend(program, weights, num_blocks=8).step(batch)
    assert found.token_ids.tolist() == expected.token_ids.tolist()
    np.testing.assert_allclose(logits_of(found), logits_of(expected), atol=BOUND)


@pytest.mark.parametrize("sides", MESHES)
def test_every_number_of_a_matrix_lies_on_one_core(sides: tuple[int, int]) -> None:
    program = PROGRAMS["llama"]
    placement = placed(program, mesh(*sides), 8)
    held = 0
    for stage in stages_of(program):
        for matrix in stage.matrices:
            rectangle = placement.region_of(stage.name).rectangle
            for deal in (matrix.inputs, matrix.outputs):
                indices = deal.over(rectangle)
                assert sorted(indices[indices >= 0].tolist()) == list(range(len(deal.order)))
            assert {matrix.inputs.axis, matrix.outputs.axis} == {"x", "y"}
            held += len(matrix.inputs.order) * len(matrix.outputs.order)
    matrices = [w for w in program.weights().values() if len(w.shape) == 2]
    assert held == sum(w.shape[0] * w.shape[1] for w in matrices)


def test_draws_follow_the_sampling_contract() -> None:
    program = PROGRAMS["llama"]
    weights = random_weights(program)
    tables = scrambled_tables(1, 32, 8)
    wafer = WaferBackend(program, weights, num_blocks=8, machine=mesh(4, 4))
    reference = ReferenceBackend(program, weights, num_blocks=8)
    batch = rows_batch({0: (0, prompt(program, 20))}, tables)
    bits = np.random.default_rng(2).integers(1, 1 << 32, (2, 4), dtype=np.uint32)
    masked = replace(
        batch.sampling, mask_rows=np.arange(20, dtype=np.int32) % 3 - 1, mask_bits=bits
    )
    for each in (
        drawn(batch, temperature=0.9, top_k=20, top_p=0.9),
        biased(batch, program.vocab_size, seed=3),
        replace(batch, sampling=masked),
    ):
        assert wafer.step(each).token_ids.tolist() == reference.step(each).token_ids.tolist()


@pytest.mark.parametrize("side", [32, 64])
def test_the_bundled_model(side: int) -> None:
    opened = open_model(bundled_model())
    wafer = WaferBackend(opened.program, opened.weights, num_blocks=4, machine=mesh(side, side))
    reference = ReferenceBackend(opened.program, opened.weights, num_blocks=4)
    tables = scrambled_tables(1, 64, 4)
    ids = opened.tokenizer.encode_prompt("Once upon a time there was")
    batch = rows_batch({0: (0, ids)}, tables)
    for position in range(len(ids), len(ids) + 12):
        found, expected = wafer.step(batch), reference.step(batch)
        assert found.token_ids.tolist() == expected.token_ids.tolist()
        np.testing.assert_allclose(logits_of(found), logits_of(expected), atol=5e-3)
        batch = rows_batch({0: (position, expected.token_ids[-1:].tolist())}, tables)


def test_a_mesh_too_small_for_the_bundled_model_is_refused() -> None:
    opened = open_model(bundled_model())
    with pytest.raises(OutOfSram, match="bytes of SRAM short") as refused:
        WaferBackend(opened.program, opened.weights, num_blocks=4, machine=mesh(16, 16))
    assert refused.value.missing_bytes > 0


def test_the_most_blocks_fit_and_one_more_does_not() -> None:
    program = PROGRAMS["llama"]
    blocks = most_blocks(program, mesh(4, 4), 1 << 20)
    WaferBackend(program, random_weights(program), num_blocks=blocks, machine=mesh(4, 4))
    with pytest.raises(OutOfSram):
        WaferBackend(program, random_weights(program), num_blocks=blocks + 1, machine=mesh(4, 4))
