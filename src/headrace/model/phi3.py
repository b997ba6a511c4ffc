"""The Phi-3 family (3.5, 4 and 4-mini too) as a program.

One tensor for q, k and v, one for gate and up; heads may turn in part, and by the context's length.
"""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation
from headrace.model.windows import window

ARCHITECTURES = ("Phi3ForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `Phi3ForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, eps=1e-5)
    config.expect("hidden_act", "silu")
    config.expect("attention_bias", False)
    turn = rotation(config, net.head_dim, partial=True)
    width = window(config)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.split_linear(f"{attention}.qkv_proj", "t", "qkv")
        net.attend(i, turn, window=width)
        net.linear(f"{attention}.o_proj", "a", "d")
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.split_linear(f"{mlp}.gate_up_proj", "t", "gu")
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
