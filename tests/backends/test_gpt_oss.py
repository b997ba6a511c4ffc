"""gpt-oss on the cpu backend and the reference: MXFP4, sinks, biases, the clamp."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.base import Weights
from headrace.backends.cpu import CpuBackend, relative_error_bound
from headrace.backends.footprint import footprint
from headrace.backends.host import Memory
from headrace.backends.reference import ReferenceBackend
from headrace.engine.sizes import Wanted, plan_memory
from headrace.errors import BackendError, ConfigError
from headrace.model import lowering
from headrace.model.mxfp4 import dequantise
from headrace.model.precision import round_to_bf16
from headrace.model.program import Attend, Experts, Linear, Program, Weight
from headrace.model.registry import build_program
from tests.backends.cpu_cases import ISAS, logits_of, row_rms
from tests.tiny_llama import rows_batch, scrambled_tables

SIZES: dict[str, object] = {
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 18,
    "num_local_experts": 5,
    "num_experts_per_tok": 3,
    "sliding_window": 9,
    "swiglu_limit": 0.8,
    "max_position_embeddings": 128,
    "vocab_size": 307,
    "tie_word_embeddings": False,
}
MXFP4 = {**SIZES, "quantization_config": {"quant_method": "mxfp4"}}
ROWS = 45
TABLES = scrambled_tables(2, 64, num_blocks=12)

Tensors = dict[str, NDArray[np.uint8] | NDArray[np.uint16]]


def tensors_of(program: Program, seed: int = 0) -> Tensors:
    """Random weights of unit gain; routers look at few numbers and so decide by far."""
    rng = np.random.default_rng(seed)
    found: Tensors = {}
    for name, tensor in program.weights().items():
        if tensor.holds == "codes":
            found[name] = rng.integers(256, size=tensor.shape, dtype=np.uint8)
        elif tensor.holds == "scales":
            found[name] = rng.integers(120, 125, size=tensor.shape, dtype=np.uint8)
        else:
            values = rng.standard_normal(tensor.shape).astype(np.float32)
            if "norm" in name:
                values = 1 + 0.2 * values
            elif name.endswith("router.weight"):
                values *= 4 / np.sqrt(tensor.shape[-1])
            elif len(tensor.shape) > 1 and not name.endswith("bias"):
                inputs = tensor.shape[1 if ".experts." in name else -1]
                values /= np.sqrt(inputs)
            found[name] = round_to_bf16(values)
    return found


def widened(tensors: Mapping[str, NDArray[np.uint8] | NDArray[np.uint16]]) -> Tensors:
    """The same network with its experts in bf16: the other published layout."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("_blocks"):
            scales = tensors[name.replace("_blocks", "_scales")]
            values = dequantise(tensor.astype(np.uint8), scales.astype(np.uint8))
            bits = round_to_bf16(values)
            np.testing.assert_array_equal(bits.astype(np.uint32) << 16, values.view(np.uint32))
            found[name.removesuffix("_blocks")] = np.ascontiguousarray(bits.swapaxes(1, 2))
        elif not name.endswith("_scales"):
            found[name] = tensor
    return found


def prompt(program: Program, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(program.vocab_size, size=ROWS).tolist()


def run(backend: CpuBackend | ReferenceBackend, tokens: list[int]) -> NDArray[np.float32]:
    return logits_of(backend.step(rows_batch({0: (0, tokens)}, TABLES)))


@pytest.mark.parametrize("isa", [*ISAS, "reference"])
def test_mxfp4_makes_the_bits_that_the_dequantised_weights_make(isa: str) -> None:
    quantised, plain = build_program(MXFP4), build_program(SIZES)
    tensors = tensors_of(quantised)
    found: list[NDArray[np.float32]] = []
    for program, weights in ((quantised, tensors), (plain, widened(tensors))):
        if isa == "reference":
            backend = ReferenceBackend(program, weights, num_blocks=12)
        else:
            backend = CpuBackend(program, weights, num_blocks=12, threads=2, isa=isa)
            assert set(backend.report().fallback_ops) == {"Add", "Tap"}
        found.append(run(backend, prompt(program)))
    assert quantised.num_parameters == plain.num_parameters
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("config", [SIZES, MXFP4], ids=["bf16", "mxfp4"])
def test_the_cpu_computes_what_the_reference_does(config: dict[str, object], isa: str) -> None:
    program = build_program(config)
    weights = tensors_of(program)
    expected = run(ReferenceBackend(program, weights, num_blocks=12), prompt(program))
    found = run(CpuBackend(program, weights, num_blocks=12, threads=2, isa=isa), prompt(program))
    error = np.abs(found - expected).max(axis=-1) / row_rms(expected)
    # Where rounding tips a router the row is another one; all others are within the bound.
    assert np.quantile(error, 0.8) < relative_error_bound(program, weights)


@pytest.mark.parametrize("isa", ISAS)
def test_chunks_neighbours_and_threads_change_no_bit(isa: str) -> None:
    program = build_program(MXFP4)
    weights = tensors_of(program)
    tokens = prompt(program)
    expected = run(CpuBackend(program, weights, num_blocks=12, threads=1, isa=isa), tokens)
    for threads in (1, 2, 3):
        backend = CpuBackend(program, weights, num_blocks=12, threads=threads, isa=isa)
        rows: list[NDArray[np.float32]] = []
        for start in range(0, ROWS, 7):
            piece = tokens[start : start + 7]
            others = prompt(program, 2)[start : start + 7]
            step = backend.step(rows_batch({1: (start, others), 0: (start, piece)}, TABLES))
            rows.append(logits_of(step)[-len(piece) :])
        np.testing.assert_array_equal(np.concatenate(rows), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_operations_alone_make_the_same_bits(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = build_program(SIZES)
    weights = tensors_of(program)
    fused = CpuBackend(program, weights, num_blocks=12, threads=2, isa=isa)
    known = {kind: names for kind, names in lowering.CARRIED.items() if kind is Linear}
    monkeypatch.setattr(lowering, "CARRIED", known)
    alone = CpuBackend(program, weights, num_blocks=12, threads=2, isa=isa)
    assert {"Attend", "Experts"} <= set(alone.report().fallback_ops)
    np.testing.assert_array_equal(run(alone, prompt(program)), run(fused, prompt(program)))


def test_every_new_field_changes_what_comes_out() -> None:
    program = build_program(SIZES)
    weights = tensors_of(program)
    expected = run(CpuBackend(program, weights, num_blocks=12), prompt(program))
    changes: list[tuple[type[Attend | Experts], dict[str, object]]] = [
        (Attend, {"sinks": None}),
        (Attend, {"window": None}),
        (Experts, {"biases": ()}),
        (Experts, {"clamp": None}),
    ]
    for kind, change in changes:
        ops = tuple(replace(o, **change) if isinstance(o, kind) else o for o in program.ops)
        other = CpuBackend(replace(program, ops=ops), weights, num_blocks=12)
        assert np.abs(run(other, prompt(program)) - expected).max() > 0.01, change


def test_a_sink_of_nothing_is_no_sink_and_a_large_one_takes_all() -> None:
    program = build_program({**SIZES, "num_hidden_layers": 1})
    weights = tensors_of(program)
    name = next(name for name in weights if name.endswith("sinks"))
    without = tuple(replace(o, sinks=None) if isinstance(o, Attend) else o for o in program.ops)
    results: dict[float, NDArray[np.float32]] = {}
    for value in (-np.inf, 1e4):
        weights[name] = round_to_bf16(np.full(6, value, np.float32))
        results[value] = run(CpuBackend(program, weights, num_blocks=12), prompt(program))
    plain = CpuBackend(replace(program, ops=without), weights, num_blocks=12)
    np.testing.assert_array_equal(results[-np.inf], run(plain, prompt(program)))
    # Nothing is attended to, so every row knows of its own token only.
    tokens = prompt(program)
    same = [i for i in range(1, ROWS) if tokens[i] in tokens[:i]]
    assert same
    for i in same:
        np.testing.assert_array_equal(results[1e4][i], results[1e4][tokens.index(tokens[i])])


def test_what_is_not_chosen_is_not_read() -> None:
    program = build_program(MXFP4)
    weights = tensors_of(program)
    for name in weights:
        if name.endswith("router.weight"):
            weights[name] = np.zeros_like(weights[name])  # all score alike but for the bias
        if name.endswith("router.bias"):
            weights[name] = round_to_bf16(np.array([3, 2, 1, 0, 0], np.float32))
    expected = run(CpuBackend(program, weights, num_blocks=12), prompt(program))
    for name in weights:
        if name.endswith("_proj_bias"):
            weights[name][3:] = 0x7F80  # infinite, were it used
    np.testing.assert_array_equal(
        run(CpuBackend(program, weights, num_blocks=12), prompt(program)), expected
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_what_was_packed_is_read_back_bit_for_bit(threads: int) -> None:
    program = build_program({**MXFP4, "hidden_size": 96, "intermediate_size": 32})
    weights = tensors_of(program)
    backend = CpuBackend(program, weights, num_blocks=12, threads=threads)
    for name in weights:
        if name.endswith(("_blocks", "_scales")):
            np.testing.assert_array_equal(backend.unpack(name), weights[name], name)


@pytest.mark.parametrize("scale", [0, 1, 253, 255])
def test_scales_that_leave_bf16_are_refused_unless_all_is_zero(scale: int) -> None:
    program = build_program(MXFP4)
    weights = tensors_of(program)
    name = "model.layers.1.mlp.experts.down_proj"
    weights[f"{name}_scales"][2, 7, 1] = scale
    with pytest.raises(BackendError, match=r"layers\.1.*down_proj_scales.*beyond 2\.\.252"):
        CpuBackend(program, weights, num_blocks=12)
    weights[f"{name}_blocks"][2, 7, 1] = 0x80  # both zeros
    if scale == 255:
        with pytest.raises(BackendError, match="beyond"):
            CpuBackend(program, weights, num_blocks=12)
        return
    found = run(CpuBackend(program, weights, num_blocks=12), prompt(program))
    weights[f"{name}_scales"][2, 7, 1] = 127
    same = run(CpuBackend(program, weights, num_blocks=12), prompt(program))
    np.testing.assert_array_equal(found, same)


def test_mxfp4_outside_experts_is_refused() -> None:
    program = build_program({**SIZES, "num_hidden_layers": 1})
    weights = tensors_of(program)
    shape = SIZES["hidden_size"], 6 * 18
    weight = Weight(name="o_blocks", shape=(96, 96), scales="o_scales")
    assert shape[0] == 96
    ops = tuple(
        replace(o, weight=weight, inp="t", bias=None)
        if isinstance(o, Linear) and o.inp == "a"
        else o
        for o in program.ops
    )
    changed = replace(program, ops=ops)
    tensors: Weights = {
        **weights,
        "o_blocks": np.zeros((96, 3, 16), np.uint8),
        "o_scales": np.full((96, 3), 127, np.uint8),
    }
    with pytest.raises(BackendError, match="Linear with weights in MXFP4"):
        CpuBackend(changed, tensors, num_blocks=12)


def test_tensors_of_another_kind_than_the_program_wants_are_refused() -> None:
    program = build_program(MXFP4)
    weights = tensors_of(program)
    name = "model.layers.0.mlp.experts.down_proj_blocks"
    weights[name] = weights[name].astype(np.uint16)
    with pytest.raises(BackendError, match=r"down_proj_blocks.*uint8"):
        CpuBackend(program, weights, num_blocks=12)


PUBLISHED = {**MXFP4, "hidden_size": 2_880, "intermediate_size": 2_880, "vocab_size": 201_088}
PUBLISHED |= {"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64}
PUBLISHED |= {"max_position_embeddings": 131_072, "num_experts_per_tok": 4}
SHAPES: dict[str, tuple[int, int, float]] = {
    "gpt-oss-20b": (24, 32, 13.8),  # layers, experts, gigabytes of weights
    "gpt-oss-120b": (36, 128, 65.3),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_published_sizes_fit_or_are_refused_before_anything_is_read(name: str) -> None:
    layers, experts, gigabytes = SHAPES[name]
    program = build_program(
        {**PUBLISHED, "num_hidden_layers": layers, "num_local_experts": experts}
    )
    planned = footprint("cpu", program)
    assert round(planned.weight_bytes / 1e9, 1) == gigabytes
    wanted = Wanted(name=name, max_positions=program.max_positions, footprint=planned)
    memory = Memory(total_bytes=24 << 30, available_bytes=22 << 30)
    if name == "gpt-oss-20b":
        (plan,) = plan_memory([wanted], memory, 0)
        assert plan.context_tokens >= 16_384
        return
    with pytest.raises(ConfigError, match=rf"must hold 6\d\.\d GB for {name}, and 23\.6 GB"):
        plan_memory([wanted], memory, 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_plan_agrees_with_the_loaded_backend(threads: int) -> None:
    program = build_program(MXFP4)
    weights = tensors_of(program)
    planned = footprint("cpu", program).weight_bytes
    loaded = CpuBackend(program, weights, num_blocks=12, threads=threads)
    assert planned == loaded.report().weight_bytes
    reference = ReferenceBackend(program, weights, num_blocks=12).report()
    assert footprint("reference", program).weight_bytes == reference.weight_bytes
    assert planned < footprint("cpu", build_program(SIZES)).weight_bytes / 2
