"""The reference backend against mathematics written out by hand, and against itself."""

import numpy as np
import pytest

from headrace.backends.reference import ReferenceBackend
from headrace.backends.sampling import sample
from headrace.errors import BackendError
from headrace.model.precision import round_to_bf16, widen
from tests.backends.cpu_cases import biased
from tests.latent_program import LatentSizes, latent_program
from tests.tiny_llama import random_weights, rows_batch, scrambled_tables, tiny_program

PROMPT = [5, 99, 3, 3, 42, 17, 100, 0, 64, 28, 7, 81, 2, 55, 13, 9, 31, 77, 20, 46]


def test_one_layer_equals_the_equations_written_out() -> None:
    program = tiny_program(
        num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=4
    )
    bits = random_weights(program)
    w = {name: widen(b).astype(np.float64) for name, b in bits.items()}
    tokens = [7, 3, 90]
    angle = np.outer(np.arange(3), [1.0, 1 / np.sqrt(10_000.0)])
    h = w["model.embed_tokens.weight"][tokens]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"model.{name}.weight"]

    def rotate(x: np.ndarray) -> np.ndarray:  # as complex numbers: an independent form
        z = (x[:, :2] + 1j * x[:, 2:]) * np.exp(1j * angle)
        return np.hstack([z.real, z.imag])

    layer = "layers.0"
    t = norm(h, f"{layer}.input_layernorm")
    q, k, v = (t @ w[f"model.{layer}.self_attn.{n}_proj.weight"].T for n in "qkv")
    scores = rotate(q) @ rotate(k).T / 2
    scores[np.triu_indices(3, 1)] = -np.inf
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    h = h + p @ v @ w[f"model.{layer}.self_attn.o_proj.weight"].T
    t = norm(h, f"{layer}.post_attention_layernorm")
    gate = t @ w[f"model.{layer}.mlp.gate_proj.weight"].T
    up = t @ w[f"model.{layer}.mlp.up_proj.weight"].T
    h = h + (gate / (1 + np.exp(-gate)) * up) @ w[f"model.{layer}.mlp.down_proj.weight"].T
    expected = norm(h, "norm") @ w["lm_head.weight"].T

    backend = ReferenceBackend(program, bits, num_blocks=1, round_kv=False)
    result = backend.step(rows_batch({0: (0, tokens)}, np.zeros((1, 1), np.int32), taps=(0,)))
    assert result.logits is not None
    assert result.hidden is not None
    np.testing.assert_allclose(result.logits, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(result.hidden[0], h, rtol=2e-5, atol=2e-5)
    assert result.token_ids.tolist() == expected.argmax(-1).tolist()


@pytest.mark.parametrize("interleaved", [True, False])
def test_latent_attention_equals_keys_and_values_written_out(interleaved: bool) -> None:
    sizes = LatentSizes(layers=1, interleaved=interleaved)
    program = latent_program(sizes)
    bits = random_weights(program)
    w = {name.split(".", 1)[1]: widen(b).astype(np.float64) for name, b in bits.items()}
    tokens = [7, 3, 90, 90, 12]
    heads, nope, rope, rank = sizes.heads, sizes.nope, sizes.rope, sizes.rank
    turn = np.exp(1j * np.outer(np.arange(len(tokens)), 0.5 ** np.arange(rope // 2))) * 1.125

    def norm(x: np.ndarray, name: str, eps: float = 1e-5) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w[f"{name}.weight"]

    def rotate(x: np.ndarray) -> np.ndarray:  # as complex numbers; the pairs' order is no matter
        even, odd = (x[:, 0::2], x[:, 1::2]) if interleaved else np.hsplit(x, 2)
        z = (even + 1j * odd) * turn
        return np.hstack([z.real, z.imag])

    a = "layers.0.self_attn"
    h = w["embed_tokens.weight"][tokens]
    t = norm(h, "layers.0.input_layernorm")
    q = (t @ w[f"{a}.q_proj.weight"].T).reshape(len(tokens), heads, nope + rope)
    down = t @ w[f"{a}.kv_a_proj.weight"].T
    latent = norm(down[:, :rank], f"{a}.kv_a_norm", 1e-6)
    up = (latent @ w[f"{a}.kv_b_proj.weight"].T).reshape(len(tokens), heads, -1)
    attended: list[np.ndarray] = []
    for head in range(heads):
        query = np.hstack([q[:, head, :nope], rotate(q[:, head, nope:])])
        key = np.hstack([up[:, head, :nope], rotate(down[:, rank:])])
        scores = query @ key.T * 0.25
        scores[np.triu_indices(len(tokens), 1)] = -np.inf
        p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        attended.append(p @ up[:, head, nope:])
    h = h + np.hstack(attended) @ w[f"{a}.o_proj.weight"].T
    t = norm(h, "layers.0.post_attention_layernorm")
    gate, more = (t @ w[f"layers.0.mlp.{n}_proj.weight"].T for n in ("gate", "up"))
    h = h + (gate / (1 + np.exp(-gate)) * more) @ w["layers.0.mlp.down_proj.weight"].T

    backend = ReferenceBackend(program, bits, num_blocks=1, round_kv=False)
    result = backend.step(rows_batch({0: (0, tokens)}, np.zeros((1, 1), np.int32), taps=(0,)))
    assert result.hidden is not None
    np.testing.assert_allclose(result.hidden[0], h, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("chunk", [1, 7, 16, 19])
def test_many_chunks_equal_one_bit_for_bit(chunk: int) -> None:
    program = tiny_program()
    weights = random_weights(program)
    tables = scrambled_tables(1, len(PROMPT), num_blocks=8)
    whole = ReferenceBackend(program, weights, num_blocks=8).step(
        rows_batch({0: (0, PROMPT)}, tables)
    )
    pieces = ReferenceBackend(program, weights, num_blocks=8)
    logits = [
        pieces.step(rows_batch({0: (i, PROMPT[i : i + chunk])}, tables)).logits
        for i in range(0, len(PROMPT), chunk)
    ]
    np.testing.assert_array_equal(
        whole.logits, np.concatenate([x for x in logits if x is not None])
    )


def test_alone_equals_among_others_bit_for_bit() -> None:
    program = tiny_program()
    weights = random_weights(program)
    tables = scrambled_tables(2, len(PROMPT), num_blocks=8)
    alone = ReferenceBackend(program, weights, num_blocks=8).step(
        rows_batch({0: (0, PROMPT)}, tables)
    )
    both = ReferenceBackend(program, weights, num_blocks=8).step(
        rows_batch({1: (0, PROMPT[::-1]), 0: (0, PROMPT)}, tables)
    )
    assert alone.logits is not None
    assert both.logits is not None
    np.testing.assert_array_equal(alone.logits, both.logits[len(PROMPT) :])


def test_biases_move_the_token_and_not_the_logits() -> None:
    program = tiny_program()
    backend = ReferenceBackend(program, random_weights(program), num_blocks=4)
    plain = rows_batch({0: (0, [5, 6, 7, 8])}, np.zeros((1, 1), np.int32))
    before = backend.step(plain)
    moved = biased(plain, program.vocab_size)
    after = backend.step(moved)
    assert before.logits is not None
    assert after.logits is not None
    np.testing.assert_array_equal(after.logits, before.logits)
    expected = sample(before.logits, moved.sampling, plain.positions + 1)
    assert after.token_ids.tolist() == expected.tolist() != before.token_ids.tolist()


def test_logits_that_are_not_numbers_are_an_error() -> None:
    program = tiny_program()
    weights = random_weights(program)
    weights["model.norm.weight"][:] = round_to_bf16(np.full(48, np.nan, np.float32))
    backend = ReferenceBackend(program, weights, num_blocks=1)
    with pytest.raises(BackendError, match="not numbers"):
        backend.step(rows_batch({0: (0, [1])}, np.zeros((1, 1), np.int32)))
