"""The Llama family (Llama 2, 3, 3.1, 3.2, 3.3 and models of the same architecture) as a program."""

import math

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    Embed,
    Head,
    KvSpec,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Tap,
    Weight,
)
from headrace.model.rotary import rotary_frequencies

ARCHITECTURE = "LlamaForCausalLM"


def build_llama(config: ConfigJson) -> Program:
    """The program of a `LlamaForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    hidden = config.integer("hidden_size", 1, 1 << 20)
    ffn = config.integer("intermediate_size", 1, 1 << 24)
    layers = config.integer("num_hidden_layers", 1, 4_096)
    heads = config.integer("num_attention_heads", 1, 4_096)
    kv_heads = config.integer("num_key_value_heads", 1, 4_096, heads)
    head_dim = config.integer("head_dim", 2, 4_096, hidden // heads)
    vocab = config.integer("vocab_size", 2, 1 << 24)
    eps = config.number("rms_norm_eps", 0.0, 1.0, 1e-6)
    if heads % kv_heads or head_dim % 2:
        raise CheckpointError(
            f"config.json: {heads} query heads do not share {kv_heads} kv heads evenly, "
            f"or head_dim {head_dim} is odd"
        )
    if config.word("hidden_act", "silu") != "silu":
        raise CheckpointError("config.json: 'hidden_act' must be silu for this architecture")
    frequencies = rotary_frequencies(config, head_dim)
    q_width, kv_width = heads * head_dim, kv_heads * head_dim

    def norm(name: str) -> Norm:
        weight = Weight(name=f"model.{name}.weight", shape=(hidden,))
        return Norm(inp="h", out="t", weight=weight, eps=eps)

    def linear(name: str, inp: str, out: str, *, bias: bool) -> Linear:
        rows, columns = buffers[out], buffers[inp]
        return Linear(
            inp=inp,
            out=out,
            weight=Weight(name=f"model.{name}.weight", shape=(rows, columns)),
            bias=Weight(name=f"model.{name}.bias", shape=(rows,)) if bias else None,
        )

    def rope(buffer: str, count: int) -> Rope:
        return Rope(buffer=buffer, heads=count, head_dim=head_dim, frequencies=frequencies)

    def layer(i: int) -> list[Op]:
        attn, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        return [
            norm(f"layers.{i}.input_layernorm"),
            linear(f"{attn}.q_proj", "t", "q", bias=attention_bias),
            linear(f"{attn}.k_proj", "t", "k", bias=attention_bias),
            linear(f"{attn}.v_proj", "t", "v", bias=attention_bias),
            rope("q", heads),
            rope("k", kv_heads),
            AppendKv(layer=i, k="k", v="v"),
            Attend(
                layer=i,
                q="q",
                out="a",
                heads=heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                scale=1 / math.sqrt(head_dim),
            ),
            linear(f"{attn}.o_proj", "a", "d", bias=attention_bias),
            Add(inp="d", out="h"),
            norm(f"layers.{i}.post_attention_layernorm"),
            linear(f"{mlp}.gate_proj", "t", "g", bias=mlp_bias),
            linear(f"{mlp}.up_proj", "t", "u", bias=mlp_bias),
            Activate(gate="g", up="u", out="m"),
            linear(f"{mlp}.down_proj", "m", "d", bias=mlp_bias),
            Add(inp="d", out="h"),
            Tap(inp="h", layer=i),
        ]

    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    buffers = {"h": hidden, "t": hidden, "d": hidden, "q": q_width, "k": kv_width, "v": kv_width}
    buffers |= {"a": q_width, "g": ffn, "u": ffn, "m": ffn}
    table = Weight(name="model.embed_tokens.weight", shape=(vocab, hidden))
    tied = config.flag("tie_word_embeddings", default=False)
    head = table if tied else Weight(name="lm_head.weight", shape=(vocab, hidden))
    ops: list[Op] = [Embed(out="h", table=table)]
    for i in range(layers):
        ops += layer(i)
    ops += [norm("norm"), Head(inp="t", weight=head)]
    return Program(
        architecture=ARCHITECTURE,
        vocab_size=vocab,
        hidden_size=hidden,
        max_positions=config.integer("max_position_embeddings", 1, 1 << 30, 2_048),
        buffers=buffers,
        kv=tuple(KvSpec(kv_heads=kv_heads, head_dim=head_dim) for _ in range(layers)),
        ops=tuple(ops),
    )
