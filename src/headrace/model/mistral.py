"""The Mistral family as a program: Llama whose every layer may see a window only."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation
from headrace.model.windows import window

ARCHITECTURES = ("MistralForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `MistralForCausalLM` checkpoint; raises CheckpointError on a bad config.

    `sliding_window` null (7B v0.2 and later): every position is seen.
    """
    net = Decoder(config)
    config.expect("hidden_act", "silu")
    turn = rotation(config, net.head_dim)
    width = window(config)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention)
        net.attend(i, turn, window=width)
        net.linear(f"{attention}.o_proj", "a", "d")
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.gate_up(mlp)
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
