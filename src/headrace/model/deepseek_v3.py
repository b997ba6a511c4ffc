"""The DeepSeek-V3 family as a program, and V2 where every layer is dense.

Latent attention (DeepSeek-V2, 2.1): the cache holds, once per token and for all heads, a normed
latent and a rotary key. `kv_b_proj` would make each head's keys and values of the latents; instead
its key half takes the queries to the latents' space, and its value half what was attended to back.

Buffers besides those of `Decoder`: c compressed queries, p queries before they are taken to the
latents' space, o heads' outputs.
"""

from dataclasses import dataclass

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder, Sigmoid
from headrace.model.program import KvSpec, Program
from headrace.model.rotary import rotation, softmax_scale

ARCHITECTURES = ("DeepseekV3ForCausalLM", "DeepseekV2ForCausalLM")
_LATENT_EPS = 1e-6  # of the norms of latents, whatever rms_norm_eps says


def build(config: ConfigJson) -> Program:
    """The program of a DeepSeek checkpoint; raises CheckpointError on a bad config.

    Layers of V2 with experts are refused by name.
    """
    net, sizes = Decoder(config), _sizes(config)
    config.expect("hidden_act", "silu")
    first = _first_mixture(config, net.layers)
    mixture = _mixture(config) if first < net.layers else None
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
        if mixture is None or i < first:
            net.gate_up(mlp, bias=mlp_bias)
            net.activate()
            net.linear(f"{mlp}.down_proj", "m", "d", bias=mlp_bias)
        else:
            _mix(net, mixture, mlp)
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


def _first_mixture(config: ConfigJson, layers: int) -> int:
    """The first layer with experts."""
    is_v3 = config.words("architectures") == ("DeepseekV3ForCausalLM",)
    first = config.integer("first_k_dense_replace", 0, 1 << 20, 3 if is_v3 else 0)
    if not is_v3 and first < layers:
        raise CheckpointError(
            f"config.json: 'first_k_dense_replace' {first} makes mixtures of experts of layers "
            f"{first}..{layers - 1}; of DeepSeek-V2 this version knows dense layers only"
        )
    if not is_v3:
        config.expect("rope_interleave", True)
    return first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mixture:
    """What layers with experts have in common."""

    count: int
    top: int
    inner: int
    shared: int  # experts that every row has, as one
    normalised: bool
    sigmoid: Sigmoid


def _mixture(config: ConfigJson) -> _Mixture:
    """V3's; absent values are as transformers has them."""
    count = config.integer("n_routed_experts", 1, 4_096, 256)
    groups = config.integer("n_group", 1, 4_096, 8)
    best = config.integer("topk_group", 1, groups, 4)
    if count % groups or count // groups < 2:
        raise CheckpointError(
            f"config.json: 'n_group' {groups} does not cut {count} experts into equal groups of "
            "two or more"
        )
    config.expect("scoring_func", "sigmoid")
    config.expect("topk_method", "noaux_tc")
    config.expect("moe_layer_freq", 1)
    return _Mixture(
        count=count,
        top=config.integer("num_experts_per_tok", 1, count // groups * best, 8),
        inner=config.integer("moe_intermediate_size", 1, 1 << 24, 2_048),
        shared=config.integer("n_shared_experts", 1, 4_096, 1),
        normalised=config.flag("norm_topk_prob", default=True),
        sigmoid=Sigmoid(
            correction="e_score_correction_bias",
            groups=(groups, best),
            scale=config.number("routed_scaling_factor", 0.0, 1e6, 2.5),
        ),
    )


def _mix(net: Decoder, mixture: _Mixture, mlp: str) -> None:
    """From t: the experts its router chooses, added to h; then the shared one, into d."""
    net.experts(
        mlp,
        count=mixture.count,
        top=mixture.top,
        inner=mixture.inner,
        normalised=mixture.normalised,
        sigmoid=mixture.sigmoid,
    )
    net.add()
    net.shared_expert(f"{mlp}.shared_experts", inner=mixture.shared * mixture.inner)


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
