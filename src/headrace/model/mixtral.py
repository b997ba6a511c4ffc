"""The Mixtral family as a program: Mistral whose layers choose two of eight experts."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation
from headrace.model.windows import window

ARCHITECTURES = ("MixtralForCausalLM",)

_NAMES = ("w1", "w3", "w2")  # gate, up, down


def build(config: ConfigJson) -> Program:
    """The program of a `MixtralForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, eps=1e-5)
    config.expect("hidden_act", "silu")
    turn = rotation(config, net.head_dim)
    width = window(config)
    count = config.integer("num_local_experts", 1, 4_096, 8)
    top = config.integer("num_experts_per_tok", 1, count, 2)
    inner = config.integer("intermediate_size", 1, 1 << 24)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.block_sparse_moe"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention)
        net.attend(i, turn, window=width)
        net.linear(f"{attention}.o_proj", "a", "d")
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.experts(mlp, count=count, top=top, inner=inner, names=_NAMES)
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
