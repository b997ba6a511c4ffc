"""The DeepSeek-V3 and V2 families as a program, where every layer is dense.

Latent attention (DeepSeek-V2, 2.1): the cache holds, once per token and for all heads, a normed
latent and a rotary key. `kv_b_proj` would make each head's keys and values of the latents; instead
its key half takes the queries to the latents' space, and its value half what was attended to back.

Buffers besides those of `Decoder`: c compressed queries, p queries before they are taken to the
latents' space, o heads' outputs.
"""

from dataclasses import dataclass

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import KvSpec, Program
from headrace.model.rotary import rotation, softmax_scale

ARCHITECTURES = ("DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM")
_LATENT_EPS = 1e-6  # of the norms of latents, whatever rms_norm_eps says


def build(config: ConfigJson) -> Program:
    """The program of a dense DeepSeek checkpoint; raises CheckpointError on a bad config.

    Layers with experts are refused by name.
    """
    net, sizes = Decoder(config), _sizes(config)
    config.expect("hidden_act", "silu")
    _expect_dense(config, net.layers)
    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    _declare_buffers(net, sizes)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        _project(net, sizes, attention, bias=attention_bias)
        _attend(net, sizes, config, i)
        net.linear(f"{attention}.o_proj", "o", "d", bias=attention_bias)
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.gate_up(mlp, bias=mlp_bias)
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d", bias=mlp_bias)
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Of latent attention: ranks of the latents, and numbers per head."""

    query_rank: int | None  # None: queries are not compressed
    rank: int
    nope: int  # of a query and key that do not turn
    rope: int  # that do
    value: int


def _sizes(config: ConfigJson) -> _Sizes:
    """Read them; absent ones are as transformers has them, V3's and V2's alike."""
    compressed = "q_lora_rank" in config
    return _Sizes(
        query_rank=config.integer("q_lora_rank", 1, 1 << 20) if compressed else None,
        rank=config.integer("kv_lora_rank", 1, 1 << 20, 512),
        nope=config.integer("qk_nope_head_dim", 1, 4_096, 128),
        rope=config.integer("qk_rope_head_dim", 2, 4_096, 64),
        value=config.integer("v_head_dim", 1, 4_096, 128),
    )


def _expect_dense(config: ConfigJson, layers: int) -> None:
    is_v3 = config.words("architectures") == ("DeepseekV3ForCausalLM",)
    first = config.integer("first_k_dense_replace", 0, 1 << 20, 3 if is_v3 else 0)
    if first < layers:
        raise CheckpointError(
            f"config.json: 'first_k_dense_replace' {first} makes mixtures of experts of layers "
            f"{first}..{layers - 1}; this version knows dense layers only, mixtures come later"
        )
    if not is_v3:
        config.expect("rope_interleave", True)


def _declare_buffers(net: Decoder, sizes: _Sizes) -> None:
    key = sizes.rank + sizes.rope
    if key % 2:
        raise CheckpointError(
            f"config.json: 'kv_lora_rank' {sizes.rank} and 'qk_rope_head_dim' {sizes.rope} add up "
            "to an odd number"
        )
    net.cache(
        KvSpec(kv_heads=1, head_dim=key, value_dim=sizes.rank),
        c=sizes.query_rank or 1,
        p=net.heads * (sizes.nope + sizes.rope),
        q=net.heads * key,
        k=key,
        a=net.heads * sizes.rank,
        o=net.heads * sizes.value,
    )


def _project(net: Decoder, sizes: _Sizes, attention: str, *, bias: bool) -> None:
    """From t: queries p, and key k, which is the normed latent and the rotary key."""
    compressed = sizes.query_rank is not None
    name = "q_a_proj" if compressed else "q_proj"
    net.linear(f"{attention}.{name}", "t", "c" if compressed else "p", bias=bias and compressed)
    net.linear(f"{attention}.kv_a_proj_with_mqa", "t", "k", bias=bias)
    net.norm(f"{attention}.kv_a_layernorm", "k", "k", rest=sizes.rope, eps=_LATENT_EPS)
    if compressed:
        net.norm(f"{attention}.q_a_layernorm", "c", "c", eps=_LATENT_EPS)
        net.linear(f"{attention}.q_b_proj", "c", "p")


def _attend(net: Decoder, sizes: _Sizes, config: ConfigJson, layer: int) -> None:
    """Queries to the latents' space, attention there, and back to the heads' outputs o."""
    name = f"layers.{layer}.self_attn.kv_b_proj"
    keys, values = slice(0, sizes.nope), slice(sizes.nope, sizes.nope + sizes.value)
    tensor = net.heads * values.stop, sizes.rank
    net.head_linear(name, "p", "q", tensor=tensor, rows=keys, transposed=True)
    net.attend(
        layer,
        rotation(config, sizes.rope),
        scale=softmax_scale(config, sizes.nope + sizes.rope),
        first=sizes.rank,
        interleaved=config.flag("rope_interleave", default=True),
    )
    net.head_linear(name, "a", "o", tensor=tensor, rows=values)
