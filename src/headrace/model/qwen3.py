"""The dense Qwen3 family as a program: Llama whose q and k are normed head by head."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.qwen2 import qwen_windows
from headrace.model.rotary import rotation

ARCHITECTURES = ("Qwen3ForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `Qwen3ForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, head_dim=128)
    config.expect("hidden_act", "silu")
    bias = config.flag("attention_bias", default=False)
    turn = rotation(config, net.head_dim)
    windows = qwen_windows(config, net.layers)
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
        net.gate_up(mlp)
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
