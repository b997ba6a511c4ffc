"""Golden cases and mixtures of experts on the wafer, judged by transformers and the reference."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS
from headrace.backends.footprint import footprint
from headrace.backends.reference import ReferenceBackend
from headrace.backends.wafer import WaferBackend, placed
from headrace.backends.wafer import backend as wafer_module
from headrace.errors import PlacementError
from headrace.model.program import Attend, Experts, Linear, Program, Weight
from headrace.model.registry import build_program
from headrace.wafer.machine import Fact, Machine, mesh
from headrace.wafer.placement import matrix_tile_bytes
from headrace.wafer.rectangle import Rectangle
from headrace.wafer.shapes import Matrix
from tests.backends import test_experts, test_gpt_oss
from tests.backends.cpu_cases import logits_of
from tests.golden_cases import CASES, load_case, open_case, relative_error
from tests.tiny_llama import rows_batch, scrambled_tables

MESHES = [(4, 4), (7, 5), (16, 16)]
FLOAT32_TOLERANCE = 1e-4  # what the reference is held to, against transformers
PROMPT = 24


def roomy(columns: int, rows: int) -> Machine:
    """A mesh whose cores have as much memory as it takes."""
    return replace(mesh(columns, rows), sram_bytes_per_core=Fact(1 << 24, "B", "A", "for tests"))


@pytest.mark.parametrize("name", CASES)
def test_logits_and_hidden_states_equal_transformers(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    blocks = -(-len(case.prompt) // BLOCK_TOKENS)
    wafer = WaferBackend(
        model.program, model.weights, num_blocks=blocks, machine=roomy(7, 5), round_kv=False
    )
    layers = tuple(range(len(case.hidden)))
    tables = scrambled_tables(1, len(case.prompt), blocks)
    result = wafer.step(rows_batch({0: (0, case.prompt.tolist())}, tables, taps=layers))
    assert result.hidden is not None
    for layer in layers:
        assert relative_error(result.hidden[layer], case.hidden[layer]) < FLOAT32_TOLERANCE
    assert relative_error(logits_of(result), case.logits) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_equal_transformers_with_the_cache_in_bf16(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    total = len(case.prompt) + len(case.greedy)
    blocks = -(-total // BLOCK_TOKENS)
    wafer = WaferBackend(model.program, model.weights, num_blocks=blocks, machine=roomy(4, 4))
    tables = scrambled_tables(1, total, blocks)
    result = wafer.step(rows_batch({0: (0, case.prompt.tolist())}, tables))
    found = [int(result.token_ids[-1])]
    while len(found) < len(case.greedy):
        position = len(case.prompt) + len(found) - 1
        result = wafer.step(rows_batch({0: (position, found[-1:])}, tables))
        found.append(int(result.token_ids[0]))
    assert found == case.greedy.tolist()


def prompt(program: Program, count: int = PROMPT) -> list[int]:
    return np.random.default_rng(0).integers(program.vocab_size, size=count).tolist()


def run(backend: WaferBackend | ReferenceBackend, tokens: list[int]) -> NDArray[np.float32]:
    return logits_of(backend.step(rows_batch({0: (0, tokens)}, test_gpt_oss.TABLES)))


@pytest.mark.parametrize("sides", MESHES)
@pytest.mark.parametrize("shape", test_experts.SHAPES)
def test_experts_differ_from_the_reference_by_the_order_of_sums(
    shape: str, sides: tuple[int, int]
) -> None:
    program = test_experts.program_of(shape)
    weights = test_experts.steady(program)
    tokens = prompt(program)
    wafer = WaferBackend(program, weights, num_blocks=12, machine=roomy(*sides), round_kv=False)
    reference = ReferenceBackend(program, weights, num_blocks=12, round_kv=False)
    assert relative_error(run(wafer, tokens), run(reference, tokens)) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("sides", MESHES)
@pytest.mark.parametrize("config", [test_gpt_oss.SIZES, test_gpt_oss.MXFP4], ids=["bf16", "mxfp4"])
def test_gpt_oss_differs_from_the_reference_by_the_order_of_sums(
    config: dict[str, object], sides: tuple[int, int]
) -> None:
    program = build_program(config)
    weights = test_gpt_oss.tensors_of(program)
    tokens = prompt(program)
    wafer = WaferBackend(program, weights, num_blocks=12, machine=roomy(*sides), round_kv=False)
    expected = run(ReferenceBackend(program, weights, num_blocks=12, round_kv=False), tokens)
    error = np.abs(run(wafer, tokens) - expected).max(axis=-1) / np.abs(expected).max()
    # Where rounding tips a router the row is another one; all others are the same.
    assert np.quantile(error, 0.8) < FLOAT32_TOLERANCE


@pytest.mark.parametrize("sides", MESHES)
def test_mxfp4_makes_the_bits_that_the_dequantised_weights_make(
    sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same cores: a placement by bytes gives four bits fewer of them, and so other sums."""
    quantised, plain = (build_program(c) for c in (test_gpt_oss.MXFP4, test_gpt_oss.SIZES))
    tensors = test_gpt_oss.tensors_of(quantised)
    tokens = prompt(quantised)
    four = WaferBackend(quantised, tensors, num_blocks=12, machine=roomy(*sides))
    monkeypatch.setattr(wafer_module, "placed", lambda *_: four.placement)
    sixteen = WaferBackend(
        plain, test_gpt_oss.widened(tensors), num_blocks=12, machine=roomy(*sides)
    )
    np.testing.assert_array_equal(run(four, tokens), run(sixteen, tokens))
    assert four.report().weight_bytes < 0.6 * sixteen.report().weight_bytes


def test_a_row_does_not_depend_on_the_others() -> None:
    program = build_program(test_gpt_oss.MXFP4)
    weights = test_gpt_oss.tensors_of(program)
    tokens, others = prompt(program), prompt(program)[::-1]
    expected = run(WaferBackend(program, weights, num_blocks=12, machine=roomy(7, 5)), tokens)
    wafer = WaferBackend(program, weights, num_blocks=12, machine=roomy(7, 5))
    for start in range(0, PROMPT, 7):
        pieces = {1: (start, others[start : start + 7]), 0: (start, tokens[start : start + 7])}
        step = wafer.step(rows_batch(pieces, test_gpt_oss.TABLES))
        part = expected[start : start + 7]
        np.testing.assert_array_equal(logits_of(step)[-len(part) :], part)


def test_every_new_field_changes_what_comes_out() -> None:
    program = build_program(test_gpt_oss.SIZES)
    weights = test_gpt_oss.tensors_of(program)
    tokens = prompt(program)
    expected = run(WaferBackend(program, weights, num_blocks=12, machine=roomy(4, 4)), tokens)
    changes: list[tuple[type[Attend | Experts], dict[str, object]]] = [
        (Attend, {"sinks": None}),
        (Attend, {"window": None}),
        (Experts, {"biases": ()}),
        (Experts, {"clamp": None}),
    ]
    for kind, change in changes:
        ops = tuple(replace(o, **change) if isinstance(o, kind) else o for o in program.ops)
        other = replace(program, ops=ops)
        found = run(WaferBackend(other, weights, num_blocks=12, machine=roomy(4, 4)), tokens)
        assert np.abs(found - expected).max() > 0.01, change


def test_what_is_not_chosen_is_not_read() -> None:
    program = build_program(test_gpt_oss.MXFP4)
    weights = test_gpt_oss.tensors_of(program)
    for name in weights:
        if name.endswith("router.weight"):
            weights[name] = np.zeros_like(weights[name])
        if name.endswith("router.bias"):
            weights[name] = np.array([0x4040, 0x4000, 0x3F80, 0, 0], np.uint16)  # 3, 2, 1, 0, 0
        if name.endswith("_proj_bias"):
            weights[name][3:] = 0x7F80  # infinite, were it used
    found = run(WaferBackend(program, weights, num_blocks=12, machine=roomy(4, 4)), prompt(program))
    assert np.isfinite(found).all()


def test_the_plan_agrees_with_the_loaded_backend() -> None:
    """An expert's matrix of four bits is half a byte a number and its scales, on every core."""
    program = build_program({**test_gpt_oss.MXFP4, "max_position_embeddings": 32})
    weights = test_gpt_oss.tensors_of(program)
    planned = footprint("wafer", program, mesh="64x64")
    assert planned.most_kv_tokens is not None
    blocks = planned.most_kv_tokens // BLOCK_TOKENS
    wafer = WaferBackend(program, weights, num_blocks=blocks, machine=mesh(64, 64))
    assert planned.weight_bytes == wafer.report().weight_bytes


def test_bytes_of_four_bit_tiles_counted_by_hand() -> None:
    """96 inputs over 5 rows are 19 or 20, of blocks of 32: the second core's 19..37 has two scales.

    160 outputs over 7 columns are 23 at most. Ten bytes of codes and two scales an output.
    """
    matrix = Matrix(name="m", inputs=96, outputs=160, reduce="y", count=5, used=3, block=32)
    where = Rectangle(x=0, y=0, columns=7, rows=5)
    assert matrix_tile_bytes(matrix, where) == 5 * (10 + 2) * 23
    whole = replace(matrix, block=0)
    assert matrix_tile_bytes(whole, where) == 5 * 2 * 20 * 23


def test_regions_are_sized_by_bytes() -> None:
    """Layers of four bits leave more cores to the ends than the same layers of sixteen."""
    found: list[int] = []
    for config in (test_gpt_oss.MXFP4, test_gpt_oss.SIZES):
        placement = placed(build_program(config), mesh(64, 64), 4)
        found.append(placement.region_of("layer 0").rectangle.cores)
    assert found[0] < found[1]


def test_mxfp4_outside_experts_is_refused() -> None:
    program = build_program({**test_gpt_oss.SIZES, "num_hidden_layers": 1})
    weight = Weight(name="o_blocks", shape=(96, 96), scales="o_scales")
    ops = tuple(
        replace(o, weight=weight) if isinstance(o, Linear) and o.inp == "a" else o
        for o in program.ops
    )
    with pytest.raises(PlacementError, match="Linear with weights in MXFP4"):
        placed(replace(program, ops=ops), mesh(16, 16), 1)
