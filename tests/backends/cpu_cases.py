"""Shapes and helpers the tests of the cpu backend share."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import Batch, Sampling, StepResult, Weights
from headrace.backends.cpu import CpuBackend, cpu_features
from headrace.model.precision import round_to_bf16, widen
from headrace.model.program import Program
from tests.tiny_llama import random_values, random_weights, tiny_program

ISAS = cpu_features()  # without the native library these tests fail: it is part of the package

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Odd on purpose: sizes that fill no vector, no pair and no panel.
SHAPES: dict[str, dict[str, object]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True, "vocab_size": 97},
    "odd": {
        "hidden_size": 45,
        "intermediate_size": 61,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 10,
        "vocab_size": 131,
        "tie_word_embeddings": True,
    },
    "biases": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 6},
    "llama3": {"rope_scaling": LLAMA3_ROPE, "head_dim": 34, "num_key_value_heads": 2},
    "wide": {
        "hidden_size": 192,
        "intermediate_size": 400,
        "num_attention_heads": 7,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "vocab_size": 1031,
        "num_hidden_layers": 3,
    },
}
NUM_BLOCKS = 48


def calm_weights(program: Program) -> dict[str, NDArray[np.uint16]]:
    """Random weights of unit gain: what enters a layer is not amplified, as in trained networks."""
    return {
        name: round_to_bf16(widen(bits) / np.float32(1.5)) if bits.ndim == 2 else bits
        for name, bits in random_weights(program).items()
    }


# fp16: all of it; layers: every other layer, vectors in fp32; tensors: every other tensor, so that
# what is usually stacked cannot be.
FP16_KINDS = ("fp16", "layers", "tensors")


def weights_with_fp16(program: Program, kind: str) -> Weights:
    """The like of `calm_weights` with fp16 in it, as one of `FP16_KINDS` says."""
    weights: dict[str, NDArray[np.uint16 | np.float16 | np.float32]] = {}
    for i, (name, values) in enumerate(random_values(program).items()):
        calm = values / np.float32(1.5) if values.ndim == 2 else values
        if kind == "layers" and values.ndim == 1:
            weights[name] = calm
        elif kind == "fp16" or (i % 2 == 0 if kind == "tensors" else "layers.1" not in name):
            weights[name] = calm.astype(np.float16)
        else:
            weights[name] = round_to_bf16(calm)
    return weights


def make(
    shape: str,
    *,
    isa: str | None = None,
    threads: int = 1,
    num_blocks: int = NUM_BLOCKS,
    kind: str = "bf16",
) -> CpuBackend:
    """A backend on the random model `shape`, its weights bf16 or one of `FP16_KINDS`."""
    program = tiny_program(**SHAPES[shape])
    weights = calm_weights(program) if kind == "bf16" else weights_with_fp16(program, kind)
    return CpuBackend(program, weights, num_blocks=num_blocks, threads=threads, isa=isa)


def tokens(program: Program, count: int, seed: int = 1) -> list[int]:
    """Random token ids."""
    return np.random.default_rng(seed).integers(0, program.vocab_size, count).tolist()


def row_rms(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Root mean square of each row [T, V] -> [T]."""
    return np.sqrt(np.mean(logits.astype(np.float64) ** 2, axis=-1)).astype(np.float32)


def logits_of(result: StepResult) -> NDArray[np.float32]:
    """The logits, which must have been asked for."""
    assert result.logits is not None
    return result.logits


def drawn(batch: Batch, *, want_logits: bool = False, **sampling: float) -> Batch:
    """`batch` with every row sampled by `sampling`, each with its own seed, none biased."""
    rows = len(batch.sample_rows)
    return replace(
        batch,
        want_logits=want_logits,
        sampling=Sampling(
            temperature=np.full(rows, sampling.get("temperature", 1.0), np.float32),
            top_k=np.full(rows, sampling.get("top_k", 0), np.int32),
            top_p=np.full(rows, sampling.get("top_p", 1.0), np.float32),
            min_p=np.full(rows, sampling.get("min_p", 0.0), np.float32),
            seed=np.arange(rows, dtype=np.uint64) + np.uint64(7),
        ),
    )


def biased(batch: Batch, vocab: int, seed: int = 3) -> Batch:
    """`batch` with biases that matter, bans among them, on two rows of three."""
    rng = np.random.default_rng(seed)
    offsets, ids, values = [0], list[int](), list[float]()
    for row in range(len(batch.sample_rows)):
        if row % 3:
            chosen = np.sort(rng.permutation(vocab)[: rng.integers(1, vocab)])
            own = rng.normal(0, 4, len(chosen))
            own[rng.random(len(chosen)) < 0.3] = -np.inf
            ids += chosen.tolist()
            values += own.tolist()
        offsets.append(len(ids))
    return replace(
        batch,
        sampling=replace(
            batch.sampling,
            bias_offsets=np.array(offsets, np.int32),
            bias_ids=np.array(ids, np.int32),
            bias_values=np.array(values, np.float32),
        ),
    )
