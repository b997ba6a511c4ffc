"""The gpt-oss family as a program: experts in every layer, sinks, every other layer a window.

As transformers lays it out, with experts in MXFP4 (as released) or in bf16, where a tensor has the
matrices of all experts, and the rows of gate and up in turn.
"""

from dataclasses import dataclass

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import MXFP4_BLOCK, ClampedSwiglu, Program, Weight
from headrace.model.rotary import Rotation, rotation, scaled_rotation
from headrace.model.windows import FULL, SLIDING, layer_windows, window

ARCHITECTURES = ("GptOssForCausalLM",)

_THETA = 150_000.0
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "truncate": False,
    "original_max_position_embeddings": 4_096,
}  # where the configuration is silent


def build(config: ConfigJson) -> Program:
    """The program of a `GptOssForCausalLM` checkpoint; raises CheckpointError on a bad config."""
    net = Decoder(config, eps=1e-5, head_dim=64)
    config.expect("hidden_act", "silu")
    bias = config.flag("attention_bias", default=True)
    turn = _rotation(config, net.head_dim)
    kinds = tuple(FULL if i % 2 else SLIDING for i in range(net.layers))
    windows = layer_windows(config, window(config, 128), kinds)
    mixture = _mixture(config, net.hidden)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.qkv(attention, bias=bias)
        net.attend(i, turn, window=windows[i], sinks=f"{attention}.sinks")
        net.linear(f"{attention}.o_proj", "a", "d", bias=bias)
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        _experts(net, mixture, mlp)
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()


def _rotation(config: ConfigJson, head_dim: int) -> Rotation:
    if "rope_parameters" in config or "rope_scaling" in config:
        return rotation(config, head_dim, theta=_THETA)
    return scaled_rotation(config, ConfigJson(_YARN), _THETA, head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mixture:
    """What the mixtures of all layers have in common."""

    count: int
    top: int
    hidden: int
    inner: int
    quantised: bool
    clamp: ClampedSwiglu


def _mixture(config: ConfigJson, hidden: int) -> _Mixture:
    count = config.integer("num_local_experts", 1, 4_096, 128)
    inner = config.integer("intermediate_size", 1, 1 << 24)
    quantised = "quantization_config" in config
    if quantised:
        config.section("quantization_config").expect("quant_method", "mxfp4")
        if hidden % MXFP4_BLOCK or inner % MXFP4_BLOCK:
            raise CheckpointError(
                f"config.json: 'hidden_size' {hidden} and 'intermediate_size' {inner} must be "
                f"multiples of {MXFP4_BLOCK} for experts in MXFP4"
            )
    return _Mixture(
        count=count,
        top=config.integer("num_experts_per_tok", 1, count, 4),
        hidden=hidden,
        inner=inner,
        quantised=quantised,
        clamp=ClampedSwiglu(
            alpha=config.number("swiglu_alpha", 0.0, 1e3, 1.702),
            limit=config.number("swiglu_limit", 0.0, 1e6, 7.0),
        ),
    )


def _experts(net: Decoder, mixture: _Mixture, mlp: str) -> None:
    """From t: the router, and the experts it chooses, into d."""
    net.route(f"{mlp}.router", count=mixture.count, top=mixture.top, bias=True)
    experts = range(mixture.count)
    name, inner = f"model.{mlp}.experts", mixture.inner
    both = f"{name}.gate_up_proj"
    into, out = (inner, mixture.hidden), (mixture.hidden, inner)
    net.mix(
        mixture.top,
        tuple(_matrix(mixture, both, e, into, place=(0, 2)) for e in experts),
        tuple(_matrix(mixture, both, e, into, place=(1, 2)) for e in experts),
        tuple(_matrix(mixture, f"{name}.down_proj", e, out) for e in experts),
        biases=tuple(
            (
                _part(mixture, f"{both}_bias", e, into[:1], place=(0, 2)),
                _part(mixture, f"{both}_bias", e, into[:1], place=(1, 2)),
                _part(mixture, f"{name}.down_proj_bias", e, out[:1]),
            )
            for e in experts
        ),
        clamp=mixture.clamp,
    )


def _matrix(
    mixture: _Mixture,
    name: str,
    expert: int,
    shape: tuple[int, ...],
    place: tuple[int, int] = (0, 1),
) -> Weight:
    """Of the tensor `name`, or of `name` in blocks and scales, the matrix of one expert."""
    if not mixture.quantised:
        return _part(mixture, name, expert, shape, place=place, transposed=True)
    codes, scales = f"{name}_blocks", f"{name}_scales"
    return _part(mixture, codes, expert, shape, place=place, scales=scales)


def _part(
    mixture: _Mixture,
    name: str,
    expert: int,
    shape: tuple[int, ...],
    *,
    place: tuple[int, int] = (0, 1),
    transposed: bool = False,
    scales: str | None = None,
) -> Weight:
    """Of expert's rows those at `place[0]` of each `place[1]`."""
    first, step = place
    return Weight(
        name=name,
        shape=shape,
        first_row=first,
        tensor_rows=step * shape[0],
        row_step=step,
        stack=(expert, mixture.count),
        transposed=transposed,
        scales=scales,
    )
