"""The Qwen2 and Qwen2.5 families as a program: Llama with biases on q, k and v.

Optional windows: layers from `max_window_layers` on see `sliding_window` tokens.
"""

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import rotation
from headrace.model.windows import FULL, SLIDING, layer_windows, window

ARCHITECTURES = ("Qwen2ForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `Qwen2ForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config)
    config.expect("hidden_act", "silu")
    turn = rotation(config, net.head_dim)
    windows = qwen_windows(config, net.layers)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention, bias=True)
        net.attend(i, turn, window=windows[i])
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


def qwen_windows(config: ConfigJson, layers: int) -> tuple[int | None, ...]:
    """Each layer's window, or None: `use_sliding_window` is off in the released checkpoints."""
    width = window(config) if config.flag("use_sliding_window", default=False) else None
    first = layers
    if width is not None:
        first = config.integer("max_window_layers", 0, 1 << 20, 28)
    kinds = tuple(SLIDING if i >= first else FULL for i in range(layers))
    return layer_windows(config, width, kinds)
