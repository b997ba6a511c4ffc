"""The OLMo 2 family as a program: norms after attention and MLP, and over all of q and of k."""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation

ARCHITECTURES = ("Olmo2ForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of an `Olmo2ForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, eps=1e-5)
    config.expect("hidden_act", "silu")
    bias = config.flag("attention_bias", default=False)
    turn = rotation(config, net.head_dim)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.qkv(attention, "h", bias=bias)
        net.norm(f"{attention}.q_norm", "q", "q")
        net.norm(f"{attention}.k_norm", "k", "k")
        net.attend(i, turn)
        net.linear(f"{attention}.o_proj", "a", "d", bias=bias)
        net.norm(f"layers.{i}.post_attention_layernorm", "d", "d")
        net.add()
        net.gate_up(mlp, "h")
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.norm(f"layers.{i}.post_feedforward_layernorm", "d", "d")
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
