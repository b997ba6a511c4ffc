"""The Llama family (Llama 2, 3, 3.1, 3.2, 3.3 and models of the same architecture) as a program."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation

ARCHITECTURES = ("LlamaForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `LlamaForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config)
    config.expect("hidden_act", "silu")
    turn = rotation(config, net.head_dim)
    attention_bias = config.flag("attention_bias", default=False)
    mlp_bias = config.flag("mlp_bias", default=False)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention, bias=attention_bias)
        net.attend(i, turn)
        net.linear(f"{attention}.o_proj", "a", "d", bias=attention_bias)
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.gate_up(mlp, bias=mlp_bias)
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d", bias=mlp_bias)
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
