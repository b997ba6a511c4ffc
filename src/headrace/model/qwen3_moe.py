"""The Qwen3-MoE family as a program: Qwen3 whose layers, but for some, choose among experts."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.qwen2 import qwen_windows
from headrace.model.rotary import rotation

ARCHITECTURES = ("Qwen3MoeForCausalLM",)

_COUNT, _NEW_COUNT = "num_experts", "num_local_experts"  # the second since transformers 5


def build(config: ConfigJson) -> Program:
    """The program of a `Qwen3MoeForCausalLM` checkpoint; raises CheckpointError on a bad config.

    Layer i has experts where `decoder_sparse_step` divides i + 1 and `mlp_only_layers` does not
    name it.
    """
    net = Decoder(config)
    config.expect("hidden_act", "silu")
    bias = config.flag("attention_bias", default=False)
    turn = rotation(config, net.head_dim)
    windows = qwen_windows(config, net.layers)
    count = config.integer(_COUNT if _COUNT in config else _NEW_COUNT, 1, 4_096, 128)
    top = config.integer("num_experts_per_tok", 1, count, 8)
    inner = config.integer("moe_intermediate_size", 1, 1 << 24, 768)
    normalised = config.flag("norm_topk_prob", default=False)
    every = config.integer("decoder_sparse_step", 1, 4_096, 1)
    dense = frozenset(config.integers("mlp_only_layers", 0, 4_095))
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention, bias=bias)
        net.norm(f"{attention}.q_norm", "q", "q", heads=net.heads)
        net.norm(f"{attention}.k_norm", "k", "k", heads=net.kv_heads)
        net.attend(i, turn, window=windows[i])
        net.linear(f"{attention}.o_proj", "a", "d", bias=bias)
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        if i in dense or (i + 1) % every:
            net.gate_up(mlp)
            net.activate()
            net.linear(f"{mlp}.down_proj", "m", "d")
        else:
            net.experts(mlp, count=count, top=top, inner=inner, normalised=normalised)
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
