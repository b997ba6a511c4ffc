"""gpt-oss and its experts on the cuda backend, against the reference; run as `test_cuda` is."""

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from headrace.backends.cpu import relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.errors import BackendError
from headrace.model.mxfp4 import dequantise
from headrace.model.program import Program
from headrace.model.registry import build_program
from tests.backends.test_cuda import (
    CUDA,
    FUSED_ERROR,
    NUM_BLOCKS,
    assert_same_bits,
    cuda,
    error_at,
    error_of,
    greedy,
)
from tests.backends.test_gpt_oss import SIZES, Tensors, tensors_of
from tests.golden_cases import load_case, open_case
from tests.tiny_llama import rows_batch, scrambled_tables

# The interpreter's own, of Triton 3.6 under NumPy 2.2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim:DeprecationWarning"
)

MXFP4 = {"quantization_config": {"quant_method": "mxfp4"}}
# Odd on purpose: runs that are half full, tiles with few outputs, experts that are no power of two.
GPT_OSS: dict[str, dict[str, object]] = {
    "mxfp4": {**SIZES, **MXFP4, "intermediate_size": 32, "num_experts_per_tok": 3},
    "bf16": {**SIZES, "intermediate_size": 27, "hidden_size": 44},
    "one of many": {**SIZES, **MXFP4, "num_local_experts": 33, "num_experts_per_tok": 1},
    "many of many": {**SIZES, **MXFP4, "num_local_experts": 6, "num_experts_per_tok": 5},
    "whole tiles": {**SIZES, **MXFP4, "hidden_size": 128, "head_dim": 32, "intermediate_size": 64},
}


def gpt_oss(shape: str) -> tuple[Program, Tensors]:
    program = build_program(GPT_OSS[shape])
    return program, tensors_of(program)


@pytest.mark.gpu
@pytest.mark.parametrize(("outputs", "blocks"), [(1, 1), (16, 2), (33, 3), (50, 90)])
def test_mxfp4_matrices_are_packed_without_loss(outputs: int, blocks: int) -> None:
    torch, fragments = (import_module(name) for name in ("torch", f"{CUDA}.fragments"))
    rng = np.random.default_rng(outputs)
    codes = rng.integers(256, size=(outputs, blocks, 16), dtype=np.uint8)
    scales = rng.integers(2, 129, size=(outputs, blocks), dtype=np.uint8)
    lanes, words = fragments.packed(torch.from_numpy(codes), torch.from_numpy(scales))
    assert (lanes.shape, words.shape) == fragments.shapes(outputs, 32 * blocks)
    found = fragments.numbers(lanes, words, outputs, 32 * blocks).float().numpy()
    np.testing.assert_array_equal(found, dequantise(codes, scales))


@pytest.mark.gpu
def test_every_code_at_every_scale_is_multiplied_as_the_number_it_stands_for() -> None:
    from headrace.backends.cuda import open_device

    torch, fragments = (import_module(name) for name in ("torch", f"{CUDA}.fragments"))
    experts: Any = import_module(f"{CUDA}.experts")
    device, outputs, inputs = open_device().torch_name, 127, 64
    codes = np.arange(outputs * 32, dtype=np.uint32).reshape(outputs, 2, 16).astype(np.uint8)
    scales = np.arange(2, 129, dtype=np.uint8).repeat(2).reshape(outputs, 2)
    wanted = dequantise(codes, scales)
    lanes, words = fragments.packed(torch.from_numpy(codes), torch.from_numpy(scales))
    x = torch.zeros((16, 2, inputs), dtype=torch.bfloat16)
    places = np.arange(0, inputs, 4)
    for row, k in enumerate(places):
        x[row, 0, k // 4 + k % 4 * (inputs // 4)] = 1
    out = torch.zeros((16, outputs), device=device)
    flat = {name: torch.zeros(16, dtype=torch.int32, device=device) for name in ("chosen", "none")}
    experts.down[(-(-outputs // 16) * 16,)](
        x=x.to(device),
        w=lanes.to(device),
        scales=words.to(device),
        bias=out,
        scores=torch.zeros(16, device=device),
        chosen=flat["chosen"],
        positions=flat["none"],
        out=out,
        gamma=out,
        next_x=out,
        next_squares=out,
        n_rows=16,
        K=inputs,
        N=outputs,
        EXPERTS=1,
        PADDED=1,
        TOP=1,
        NORMALISED=True,
        QUANTISED=True,
        HAS_BIAS=False,
        NEXT=False,
        GROUP=8,
        BN=16,
        PARTS=2,
        WIDE=2,
        DEEP=1,
        STAGES=2,
        FIRST=False,
        PDL=False,
        num_warps=2,
    )
    np.testing.assert_array_equal(out.cpu().numpy(), wanted[:, places].T)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", GPT_OSS)
def test_few_rows_of_gpt_oss_give_the_references_logits(shape: str) -> None:
    program, weights = gpt_oss(shape)
    ours, judge = cuda(program, weights), ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS)
    assert ours.report().fallback_ops == {}
    assert ours.report().phases["MixtureResidual"] == 2
    rng = np.random.default_rng(1)
    tables = scrambled_tables(2, 60, NUM_BLOCKS)
    lengths = [0, 0]
    for counts in ((20, 0), (2, 1), (1, 0)):  # the first on library kernels
        pieces = {
            s: (lengths[s], rng.integers(0, program.vocab_size, count).tolist())
            for s, count in enumerate(counts)
            if count
        }
        batch = rows_batch(pieces, tables)
        wanted, found = judge.step(batch), ours.step(batch)
        few = sum(counts) <= 16
        bound = FUSED_ERROR if few else relative_error_bound(program, weights)
        assert wanted.logits is not None
        assert found.logits is not None
        rms = np.sqrt((wanted.logits.astype(np.float64) ** 2).mean())
        errors = np.abs(wanted.logits - found.logits).max(axis=-1) / rms
        # Where bf16 keys and values of a prompt tip a router the row is another one.
        assert (errors.max() if few else np.quantile(errors, 0.8)) < bound
        lengths = [length + count for length, count in zip(lengths, counts, strict=True)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["gpt_oss", "gpt_oss_mxfp4"])
def test_gpt_oss_gives_the_references_greedy_tokens(name: str) -> None:
    from headrace.backends.cuda import open_device

    case = load_case(name)
    model = open_case(case)
    num_tokens = len(case.prompt) + len(case.greedy)
    num_blocks = -(-num_tokens // 16) + 3
    tables = scrambled_tables(1, num_tokens, num_blocks)
    ours = cuda(model.program, model.weights, num_blocks)
    # Interpreted, few rows take seconds: there library kernels read the prompt, whose rounding tips
    # the sixth token of the first case, and fewer tokens follow.
    is_fast = open_device().has_graphs
    piece, steps = (16, 64) if is_fast else (len(case.prompt), 5)
    for first in range(0, len(case.prompt) - 1, piece):
        tokens = case.prompt[first : min(first + piece, len(case.prompt) - 1)].tolist()
        ours.step(rows_batch({0: (first, tokens)}, tables))
    batch = rows_batch({0: (len(case.prompt) - 1, [int(case.prompt[-1])])}, tables)
    found = greedy(ours, replace(batch, want_logits=False), steps)
    assert [token for (token,) in found] == case.greedy[:steps].tolist()


@pytest.mark.gpu
@pytest.mark.parametrize("count", [3, 9])
def test_a_rows_bits_do_not_depend_on_which_experts_its_neighbours_chose(count: int) -> None:
    program, weights = gpt_oss("mxfp4")
    ours = cuda(program, weights)
    tables = scrambled_tables(count, 40, NUM_BLOCKS)
    tokens = np.random.default_rng(2).integers(0, program.vocab_size, count).tolist()
    alone = ours.step(rows_batch({0: (0, tokens[:1])}, tables)).logits
    among = ours.step(rows_batch({s: (0, [tokens[s]]) for s in range(count)}, tables)).logits
    assert alone is not None
    assert among is not None
    assert_same_bits(alone[0], among[0])


@pytest.mark.gpu
@pytest.mark.parametrize("position", [8, 63, 300])
def test_sinks_join_the_softmax_once_however_the_context_is_cut(position: int) -> None:
    program = build_program({**GPT_OSS["bf16"], "max_position_embeddings": 512})
    weights = tensors_of(program)
    for name, tensor in weights.items():
        if name.endswith("sinks"):  # some that take nearly all, some that take nothing
            weights[name] = np.resize(np.array([0x40E0, 0xC0E0], np.uint16), tensor.shape)
    assert error_at(program, weights, position) < relative_error_bound(program, weights)


@pytest.mark.gpu
def test_scales_the_kernels_do_not_reach_are_refused_by_name() -> None:
    program, weights = gpt_oss("mxfp4")
    name = "model.layers.1.mlp.experts.down_proj_scales"
    weights[name] = weights[name].copy()
    weights[name][2, 5, 0] = 129
    with pytest.raises(BackendError, match=r"down_proj_scales' has scales beyond 2\.\.128"):
        cuda(program, weights)


@pytest.mark.gpu
def test_blocks_that_are_all_zero_may_have_any_scale() -> None:
    program, weights = gpt_oss("mxfp4")
    name = "model.layers.1.mlp.experts.down_proj"
    codes, scales = weights[f"{name}_blocks"].copy(), weights[f"{name}_scales"].copy()
    codes[:, 5, 0], scales[:, 5, 0] = 0, 254
    weights |= {f"{name}_blocks": codes, f"{name}_scales": scales}
    batch = rows_batch({0: (0, [3])}, scrambled_tables(1, 20, NUM_BLOCKS))
    judge = ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS)
    found = cuda(program, weights).step(batch).logits
    assert error_of(judge.step(batch).logits, found) < FUSED_ERROR


@pytest.mark.gpu
def test_experts_keep_their_four_bits() -> None:
    program, weights = gpt_oss("whole tiles")
    report = cuda(program, weights).report()
    stored = sum(tensor.nbytes for tensor in weights.values())
    vectors = sum(t.nbytes for n, t in weights.items() if not n.endswith(("blocks", "scales")))
    assert stored <= report.weight_bytes <= stored + vectors + (1 << 16)


@pytest.mark.gpu
def test_the_experts_kernels_compile_for_hopper_and_keep_numbers_in_their_lanes() -> None:
    """What the interpreter cannot run, the assembler: at gpt-oss-120b's shape, without a card."""
    script = [sys.executable, "-m", "tests.backends.compiled_experts"]
    command = ["env", "-u", "TRITON_INTERPRET", *script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == ["up", "down"]
    for _, size, stores, copies in lines:
        assert 0 < int(size) <= 227 << 10
        assert int(stores) == 0
        beside, count = map(int, copies.split("/"))
        assert beside == count > 0
