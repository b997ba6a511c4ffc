"""The cuda backend against the reference: on a GPU, or under Triton's interpreter without one.

`make test-cuda` runs what is marked `gpu`, in an environment with PyTorch and Triton.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.base import Backend, Batch, Sampling, Weights
from headrace.backends.cpu import relative_error_bound
from headrace.backends.reference import ReferenceBackend
from headrace.backends.registry import load_backend
from headrace.backends.sampling import sample
from headrace.errors import BackendError, KernelMissing
from headrace.model.program import Program
from headrace.model.registry import build_program
from tests.backends.cpu_cases import SHAPES, calm_weights
from tests.golden_cases import CASES, load_case, open_case
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

if TYPE_CHECKING:
    from headrace.backends.cuda.backend import CudaBackend

# The interpreter's own, of Triton 3.6 under NumPy 2.2.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim:DeprecationWarning"
)

NUM_BLOCKS = 48
CUDA = "headrace.backends.cuda"
# Rows in fused kernels carry float32's precision; what is left is a key or value that float32 sums
# in another order tip over to the next bf16, which attention may amplify.
FUSED_ERROR = 0.02
# Rows on library kernels enter products rounded to bf16, as on the cpu backend, whose
# `relative_error_bound` holds for them.
NOT_BUILT = {"deepseek_v3_moe": "of Route"}


def cuda(program: Program, weights: Weights, num_blocks: int = NUM_BLOCKS) -> "CudaBackend":
    from headrace.backends.cuda.backend import CudaBackend

    return CudaBackend(program, weights, num_blocks=num_blocks)


def error_of(wanted: NDArray[np.float32] | None, found: NDArray[np.float32] | None) -> float:
    assert wanted is not None
    assert found is not None
    return float(np.abs(wanted - found).max() / np.sqrt((wanted.astype(np.float64) ** 2).mean()))


def assert_same_bits(wanted: NDArray[np.float32] | None, found: NDArray[np.float32] | None) -> None:
    """Bit for bit on a device; interpreted, a product is NumPy's, whose order goes by the shape."""
    from headrace.backends.cuda import open_device

    if open_device().has_graphs:
        np.testing.assert_array_equal(found, wanted)
    else:
        assert error_of(wanted, found) < FUSED_ERROR


def error_at(program: Program, weights: Weights, position: int) -> float:
    """How far the logits of one row are from the reference's, after a prompt of `position`."""
    blocks = position // 16 + 2
    ours, judge = (
        cuda(program, weights, blocks),
        ReferenceBackend(program, weights, num_blocks=blocks),
    )
    tables = scrambled_tables(1, position + 2, blocks)
    prompt = np.random.default_rng(4).integers(0, program.vocab_size, position + 1).tolist()
    for backend in (ours, judge):
        for first in range(0, position, 128):
            piece = rows_batch({0: (first, prompt[first : min(position, first + 128)])}, tables)
            backend.step(replace(piece, want_logits=False))
    batch = rows_batch({0: (position, prompt[-1:])}, tables)
    return error_of(judge.step(batch).logits, ours.step(batch).logits)


def greedy(backend: Backend, batch: Batch, steps: int) -> list[list[int]]:
    """The tokens of `steps` calls one after the other, each for the rows the last ended with."""
    drawn: list[list[int]] = []
    for _ in range(steps):
        found = backend.step(batch).token_ids.reshape(batch.steps, -1)
        drawn += found.tolist()
        batch = replace(
            batch, token_ids=found[-1].copy(), positions=batch.positions + np.int32(batch.steps)
        )
    return drawn


def test_without_pytorch_or_a_gpu_it_says_what_is_missing() -> None:
    program = tiny_program()
    try:
        from headrace.backends.cuda import open_device

        open_device()
    except KernelMissing:
        with pytest.raises(KernelMissing, match=r"cuda backend needs"):
            load_backend("cuda", program, random_weights(program), num_blocks=4)
        return
    load_backend("cuda", program, random_weights(program), num_blocks=4).close()


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_few_rows_give_the_references_logits(shape: str) -> None:
    program = tiny_program(**SHAPES[shape])
    weights = calm_weights(program)
    ours, judge = cuda(program, weights), ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS)
    assert ours.report().fallback_ops == {}
    rng = np.random.default_rng(1)
    tables = scrambled_tables(3, 60, NUM_BLOCKS)
    lengths = [0, 0, 0]
    for counts in ((16, 0, 0), (1, 7, 0), (0, 0, 1), (2, 0, 2), (5, 1, 9), (1, 1, 1)):
        pieces = {
            s: (lengths[s], rng.integers(0, program.vocab_size, count).tolist())
            for s, count in enumerate(counts)
            if count
        }
        batch = rows_batch(pieces, tables)
        assert error_of(judge.step(batch).logits, ours.step(batch).logits) < FUSED_ERROR
        lengths = [length + count for length, count in zip(lengths, counts, strict=True)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in CASES if name not in {*NOT_BUILT, "fp16"}])
def test_every_family_gives_the_references_logits(name: str) -> None:
    case = load_case(name)
    model = open_case(case)
    num_tokens = len(case.prompt) + len(case.greedy)
    num_blocks = -(-num_tokens // 16) + 3
    ours = cuda(model.program, model.weights, num_blocks)
    judge = ReferenceBackend(model.program, model.weights, num_blocks=num_blocks)
    bound = relative_error_bound(model.program)
    tables = scrambled_tables(1, num_tokens, num_blocks)
    few = min(16, len(case.prompt) - 1)
    for first, end in ((0, few), (few, len(case.prompt))):
        batch = rows_batch({0: (first, case.prompt[first:end].tolist())}, tables)
        wanted, found = judge.step(batch), ours.step(batch)
        assert error_of(wanted.logits, found.logits) < bound
    token = int(wanted.token_ids[-1])
    for position in range(len(case.prompt), len(case.prompt) + 8):
        batch = rows_batch({0: (position, [token])}, tables)
        wanted, found = judge.step(batch), ours.step(batch)
        assert error_of(wanted.logits, found.logits) < bound
        token = int(wanted.token_ids[0])


@pytest.mark.gpu
@pytest.mark.parametrize("name", NOT_BUILT)
def test_what_is_not_built_is_refused_by_name(name: str) -> None:
    model = open_case(load_case(name))
    with pytest.raises(KernelMissing, match=NOT_BUILT[name]):
        cuda(model.program, model.weights)


@pytest.mark.gpu
def test_a_matrix_that_is_not_bf16_is_refused_by_name() -> None:
    model = open_case(load_case("fp16"))
    with pytest.raises(BackendError, match=r"float16 .*needs bf16"):
        cuda(model.program, model.weights)


@pytest.mark.gpu
def test_a_program_gives_the_references_greedy_tokens() -> None:
    program = tiny_program()
    weights = calm_weights(program)
    tables = scrambled_tables(2, 120, NUM_BLOCKS)
    start = rows_batch({0: (0, [3, 1, 4, 1, 5]), 1: (0, [9, 2, 6])}, tables)
    found: list[list[list[int]]] = []
    for backend in (
        cuda(program, weights),
        ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS),
    ):
        first = backend.step(start).token_ids
        batch = replace(
            rows_batch({0: (5, [int(first[4])]), 1: (3, [int(first[7])])}, tables),
            want_logits=False,
        )
        found.append(greedy(backend, batch, 64))
    assert found[0] == found[1]


@pytest.mark.gpu
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 16])
def test_a_rows_bits_do_not_depend_on_its_neighbours(count: int) -> None:
    program = tiny_program(**SHAPES["odd"])
    ours = cuda(program, calm_weights(program))
    tables = scrambled_tables(count, 40, NUM_BLOCKS)
    rng = np.random.default_rng(2)
    prompts = rng.integers(0, program.vocab_size, (count, 3)).tolist()
    for s in range(count):
        ours.step(rows_batch({s: (0, prompts[s][:2])}, tables))
    alone = ours.step(rows_batch({0: (2, prompts[0][2:])}, tables)).logits
    among = ours.step(rows_batch({s: (2, prompts[s][2:]) for s in range(count)}, tables)).logits
    assert alone is not None
    assert among is not None
    assert_same_bits(alone[0], among[0])


@pytest.mark.gpu
def test_a_rows_bits_do_not_depend_on_how_its_sequence_was_cut() -> None:
    program = tiny_program()
    ours = cuda(program, calm_weights(program))
    tables = scrambled_tables(2, 40, NUM_BLOCKS)
    prompt = np.random.default_rng(3).integers(0, program.vocab_size, 16).tolist()
    whole = ours.step(rows_batch({0: (0, prompt)}, tables)).logits
    assert whole is not None
    for first, end in ((0, 1), (1, 8), (8, 16)):
        piece = ours.step(rows_batch({1: (first, prompt[first:end])}, tables)).logits
        assert_same_bits(whole[first:end], piece)


@pytest.mark.gpu
@pytest.mark.parametrize("position", [63, 64, 130, 2_100])
def test_a_context_may_be_cut_into_any_number_of_splits(position: int) -> None:
    program = tiny_program(max_position_embeddings=4_096, num_hidden_layers=1)
    weights = calm_weights(program)
    assert error_at(program, weights, position) < relative_error_bound(program)


def _sampling(rows: int, **fields: float) -> Sampling:
    plain = Sampling.greedy(rows)
    return replace(
        plain,
        temperature=np.full(rows, fields.get("temperature", 0.8), np.float32),
        top_k=np.full(rows, fields.get("top_k", 0), np.int32),
        top_p=np.full(rows, fields.get("top_p", 1.0), np.float32),
        min_p=np.full(rows, fields.get("min_p", 0.0), np.float32),
        seed=np.arange(rows, dtype=np.uint64) + np.uint64(2**63 + 5),
    )


def _biased(rows: int) -> Sampling:
    ids = np.tile(np.array([1, 7, 50], np.int32), rows)
    values = np.tile(np.array([3.0, -np.inf, 12.0], np.float32), rows)
    offsets = np.arange(rows + 1, dtype=np.int32) * 3
    return replace(_sampling(rows), bias_offsets=offsets, bias_ids=ids, bias_values=values)


def _masked(rows: int) -> Sampling:
    bits = np.array([[0x0F0F0F0F, 0x80000001, 0, 0x10]], np.uint32)
    which = np.where(np.arange(rows) % 2, 0, -1).astype(np.int32)
    return replace(Sampling.greedy(rows), mask_rows=which, mask_bits=bits)


SAMPLINGS: dict[str, Callable[[int], Sampling]] = {
    "temperature": _sampling,
    "top-k": lambda rows: _sampling(rows, top_k=5),
    "top-p": lambda rows: _sampling(rows, top_p=0.7),
    "min-p": lambda rows: _sampling(rows, min_p=0.2),
    "all": lambda rows: _sampling(rows, top_k=20, top_p=0.9, min_p=0.05),
    "bias": _biased,
    "mask": _masked,
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", SAMPLINGS)
def test_draws_are_those_the_sampler_defines(name: str) -> None:
    program = tiny_program()
    ours = cuda(program, calm_weights(program))
    batch = rows_batch({0: (0, list(range(12)))}, scrambled_tables(1, 20, NUM_BLOCKS))
    batch = replace(batch, sampling=SAMPLINGS[name](12))
    found = ours.step(batch)
    assert found.logits is not None
    wanted = sample(found.logits, batch.sampling, batch.positions + 1)
    np.testing.assert_array_equal(found.token_ids, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize(("steps", "calls"), [(1, 20), (3, 7), (70, 1)])
def test_several_steps_in_a_call_and_those_run_ahead_are_the_same_steps(
    steps: int, calls: int
) -> None:
    program = tiny_program(num_hidden_layers=1)
    weights = calm_weights(program)
    tables = scrambled_tables(2, 160, NUM_BLOCKS)
    batch = replace(rows_batch({0: (0, [5]), 1: (0, [9])}, tables), want_logits=False)
    batch = replace(batch, sampling=_sampling(2))
    judge = ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS)
    wanted = greedy(judge, batch, calls * steps)
    assert greedy(cuda(program, weights), replace(batch, steps=steps), calls) == wanted


@pytest.mark.gpu
def test_steps_run_ahead_are_forgotten_when_something_changes() -> None:
    program = tiny_program()
    weights = calm_weights(program)
    tables = scrambled_tables(2, 60, NUM_BLOCKS)
    judge, ours = (
        ReferenceBackend(program, weights, num_blocks=NUM_BLOCKS),
        cuda(program, weights),
    )
    plain = replace(rows_batch({0: (0, [5])}, tables), want_logits=False)
    calls = [
        plain,
        replace(plain, positions=plain.positions + np.int32(1)),  # another token than was drawn
        replace(plain, positions=plain.positions + np.int32(2), sampling=_sampling(1)),
        replace(rows_batch({0: (3, [8]), 1: (0, [7])}, tables), want_logits=False),
        replace(rows_batch({1: (1, [7])}, tables), want_logits=False),
        rows_batch({0: (4, [2, 3, 4])}, tables),
        replace(rows_batch({1: (2, [9])}, tables), want_logits=False, steps=2),
    ]
    for batch in calls:
        np.testing.assert_array_equal(ours.step(batch).token_ids, judge.step(batch).token_ids)


@pytest.mark.gpu
def test_logits_that_are_not_numbers_are_an_error() -> None:
    program = tiny_program()
    weights = dict(calm_weights(program))
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], 0x7FC0)
    ours = cuda(program, weights)
    batch = rows_batch({0: (0, [1])}, scrambled_tables(1, 20, NUM_BLOCKS))
    for asked in (batch, replace(batch, want_logits=False)):
        with pytest.raises(BackendError, match="not numbers"):
            ours.step(asked)


@pytest.mark.gpu
def test_a_batch_out_of_range_is_refused() -> None:
    program = tiny_program()
    ours = cuda(program, calm_weights(program))
    batch = rows_batch({0: (0, [1, 2])}, scrambled_tables(1, 20, NUM_BLOCKS))
    for wrong in (
        replace(batch, token_ids=np.array([1, program.vocab_size], np.int32)),
        replace(batch, positions=np.array([254, 256], np.int32)),
        replace(batch, block_tables=np.full_like(batch.block_tables, NUM_BLOCKS)),
        replace(batch, sample_rows=np.array([2], np.int32)),
        replace(batch, steps=2),
    ):
        with pytest.raises(BackendError, match="not valid"):
            ours.step(wrong)


def wide_program() -> Program:
    """Small, but of whole pieces for the kernel that stays."""
    return build_program(
        {
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 499,
            "hidden_size": 1024,
            "intermediate_size": 2048,
            "num_hidden_layers": 3,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5,
            "rope_theta": 5e5,
            "tie_word_embeddings": False,
        }
    )


@pytest.mark.gpu
def test_a_chain_stands_for_the_products_between_two_attentions() -> None:
    from headrace.backends.cuda import persistent
    from headrace.backends.cuda.launch import Launch
    from headrace.backends.cuda.persistent_chains import Chains

    program = wide_program()
    backend = cuda(program, calm_weights(program))
    launches = backend.launches(1, 20)
    chained = Chains(3, "cpu").chained(launches)
    layers = ["attention", "chain"] * 3
    assert [x.phase for x in chained] == ["embed", "first qkv", *layers, "head", "draw"]
    assert sum(x.read_bytes for x in chained) == sum(x.read_bytes for x in launches)
    kernel: Any = persistent.chain
    for launch in chained:
        if isinstance(launch, Launch) and launch.kernel is kernel:
            assert set(launch.arguments) | {"PDL"} == set(kernel.arg_names)


@pytest.mark.gpu
@pytest.mark.parametrize("columns", [1, 8, 16])
def test_the_kernel_that_stays_compiles_for_hopper_within_a_multiprocessor(columns: int) -> None:
    """What the interpreter cannot run: at Llama-3.1-8B's shape, for real, without a card."""
    script = [sys.executable, "-m", "tests.backends.compiled_chain", str(columns)]
    command = ["env", "-u", "TRITON_INTERPRET", *script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < int(done.stdout) <= 227 << 10


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["gpt_oss", "mistral"])
def test_a_prompt_may_attend_some_rows_at_a_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CUDA}.operations.MOST_SCORES", 700)
    model = open_case(load_case(name))
    tokens = np.random.default_rng(6).integers(0, model.program.vocab_size, 60).tolist()
    tables = scrambled_tables(1, 60, NUM_BLOCKS)
    ours, judge = (
        cuda(model.program, model.weights),
        ReferenceBackend(model.program, model.weights, num_blocks=NUM_BLOCKS),
    )
    for first, end in ((0, 25), (25, 60)):
        batch = rows_batch({0: (first, tokens[first:end])}, tables)
        wanted, found = judge.step(batch).logits, ours.step(batch).logits
        assert error_of(wanted, found) < relative_error_bound(model.program, model.weights)
