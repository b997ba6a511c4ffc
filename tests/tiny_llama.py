"""Random Llama programs small enough to check by eye: a config, its program, its weights."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.model.precision import round_to_bf16
from headrace.model.program import Program
from headrace.model.registry import build_program

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "vocab_size": 101,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}


def tiny_program(**changes: object) -> Program:
    """The program of `CONFIG` with `changes`."""
    return build_program({**CONFIG, **changes})


def random_values(program: Program, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Normal weights scaled so that logits spread; norms near one."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, weight in program.weights().items():
        values = rng.standard_normal(weight.shape).astype(np.float32)
        values *= 1.5 / np.sqrt(weight.shape[-1]) if len(weight.shape) == 2 else 0.2
        if "norm" in name:
            values += 1
        weights[name] = values.astype(np.float32)
    return weights


def random_weights(program: Program, seed: int = 0) -> dict[str, NDArray[np.uint16]]:
    """The same as bf16 bits."""
    return {name: round_to_bf16(values) for name, values in random_values(program, seed).items()}


def rows_batch(
    pieces: Mapping[int, tuple[int, list[int]]],
    tables: NDArray[np.int32],
    *,
    taps: tuple[int, ...] = (),
) -> Batch:
    """A greedy batch, logits of every row. `pieces`: sequence -> (first position, token ids)."""
    token_ids = [token for _, tokens in pieces.values() for token in tokens]
    positions = [start + i for start, tokens in pieces.values() for i in range(len(tokens))]
    sequences = [s for s, (_, tokens) in pieces.items() for _ in tokens]
    return Batch(
        token_ids=np.array(token_ids, np.int32),
        positions=np.array(positions, np.int32),
        row_sequence=np.array(sequences, np.int32),
        block_tables=tables,
        sample_rows=np.arange(len(token_ids), dtype=np.int32),
        sampling=Sampling.greedy(len(token_ids)),
        taps=taps,
        want_logits=True,
    )


def scrambled_tables(
    sequences: int, num_tokens: int, num_blocks: int, seed: int = 0
) -> NDArray[np.int32]:
    """Block tables that share nothing and follow no order."""
    width = -(-num_tokens // BLOCK_TOKENS)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(num_blocks)[: sequences * width]
    return chosen.reshape(sequences, width).astype(np.int32)
