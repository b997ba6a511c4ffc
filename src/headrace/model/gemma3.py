"""The Gemma 3 text family as a program.

Norms before and after attention and MLP, each by 1 + weight; q and k normed head by head; scaled
embeddings; gelu; most layers see a window, with positions of their own.
"""

import math

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import Program
from headrace.model.rotary import Rotation, scaled_rotation
from headrace.model.windows import FULL, SLIDING, layer_windows, window

ARCHITECTURES = ("Gemma3ForCausalLM",)


def build(config: ConfigJson) -> Program:
    """The program of a `Gemma3ForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, head_dim=256, norm_offset=1.0)
    config.expect("hidden_activation", "gelu_pytorch_tanh")
    config.expect("use_bidirectional_attention", False)
    config.expect("partial_rotary_factor", 1.0)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        config.expect(key, None)
    bias = config.flag("attention_bias", default=False)
    scale = 1 / math.sqrt(config.number("query_pre_attn_scalar", 1e-6, 1e6, 256.0))
    period = config.integer("sliding_window_pattern", 1, 1 << 20, 6)
    kinds = tuple(SLIDING if (i + 1) % period else FULL for i in range(net.layers))
    windows = layer_windows(config, window(config, default=4_096), kinds)
    near, far = _rotations(config, net.head_dim)
    net.embed(math.sqrt(net.hidden))
    for i, width in enumerate(windows):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention, bias=bias)
        net.norm(f"{attention}.q_norm", "q", "q", heads=net.heads)
        net.norm(f"{attention}.k_norm", "k", "k", heads=net.kv_heads)
        net.attend(i, far if width is None else near, window=width, scale=scale)
        net.linear(f"{attention}.o_proj", "a", "d", bias=bias)
        net.norm(f"layers.{i}.post_attention_layernorm", "d", "d")
        net.add()
        net.norm(f"layers.{i}.pre_feedforward_layernorm")
        net.gate_up(mlp)
        net.activate("gelu_tanh")
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.norm(f"layers.{i}.post_feedforward_layernorm", "d", "d")
        net.add()
        net.tap(i)
    net.head(tied=True)
    return net.program()


def _rotations(config: ConfigJson, head_dim: int) -> tuple[Rotation, Rotation]:
    """Of the layers with a window, and of those without; in the older and the newer writing."""
    rope = config.section("rope_parameters")
    near, far = rope.section(SLIDING), rope.section(FULL)
    if FULL not in rope:
        far = config.section("rope_scaling")
    near_theta = config.number("rope_local_base_freq", 1.0, 1e12, 10_000.0)
    far_theta = config.number("rope_theta", 1.0, 1e12, 1_000_000.0)
    near_theta = near.number("rope_theta", 1.0, 1e12, near_theta)
    far_theta = far.number("rope_theta", 1.0, 1e12, far_theta)
    return (
        scaled_rotation(config, near, near_theta, head_dim),
        scaled_rotation(config, far, far_theta, head_dim),
    )
