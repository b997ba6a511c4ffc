"""How a checkpoint turns queries and keys by position: what its config.json says, as numbers.

Some checkpoints (LongRoPE, Phi-3.5) have two sets of frequencies, for contexts up to the one they
were trained on and beyond. Keys turned by one set mean nothing to queries turned by the other, and
the cache holds turned keys; so the set is chosen once, by the longest context that is served, and
never changes within a sequence. transformers chooses by each call's length and drops its cache
where that crosses: its answers equal ours beyond the original context, and below it where no more
is served (setting `engine.context_tokens`).
"""

import math
from dataclasses import dataclass

import numpy as np

from headrace.errors import CheckpointError
from headrace.model import frequencies as formulas
from headrace.model.config_json import ConfigJson
from headrace.model.frequencies import F32, Llama3Scaling, YarnScaling
from headrace.model.plain_file import shown

KINDS = ("default", "linear", "llama3", "yarn", "longrope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """`frequencies`, radians per position of each pair; `scale` of cos and sin."""

    frequencies: tuple[float, ...]
    scale: float = 1.0

    @property
    def width(self) -> int:
        """How many values of a head turn."""
        return 2 * len(self.frequencies)


def rotation(
    config: ConfigJson, head_dim: int, *, partial: bool = False, theta: float = 10_000.0
) -> Rotation:
    """The rotation of heads of `head_dim`, of which only a part turns if `partial` allows it.

    Reads `rope_theta`, by default `theta`, with `rope_scaling`, or the newer `rope_parameters`
    that holds both; see `scaled_rotation`. Raises CheckpointError.
    """
    rope, key = config.section("rope_parameters"), "partial_rotary_factor"
    sections = rope, config.section("rope_scaling"), config
    for section in sections:
        if not partial:
            section.expect(key, 1.0)
    source = next((section for section in sections if key in section), config)
    width = int(head_dim * source.number(key, 0.0, 1.0, 1.0))
    if width < 2 or width % 2:
        raise CheckpointError(
            f"config.json: 'partial_rotary_factor' turns {width} of {head_dim} values of a head; "
            "it must be an even number of them"
        )
    theta = (rope if "rope_theta" in rope else config).number("rope_theta", 1.0, 1e12, theta)
    return scaled_rotation(config, scaling_section(config), theta, width)


def scaling_section(config: ConfigJson) -> ConfigJson:
    """Where `config` says how frequencies are scaled, in the older or the newer writing."""
    rope = config.section("rope_parameters")
    return rope if "rope_type" in rope else config.section("rope_scaling")


def scaled_rotation(config: ConfigJson, scaling: ConfigJson, theta: float, width: int) -> Rotation:
    """The rotation of `width` values, as the section `scaling` says.

    Kinds: "default" (theta^(-2i / width), Su et al. 2021), "linear" (all divided by `factor`, Chen
    et al. 2023), "llama3" (the Llama 3.1 release), "yarn" (Peng et al. 2023), and "longrope" (each
    divided by a factor of its own, Ding et al. 2024; once called "su"). Others: CheckpointError.
    """
    plain = np.float32(1.0) / formulas.periods(theta, width)
    match kind_of(scaling):
        case "default":
            return _rotation(plain)
        case "linear":
            return _rotation(plain / np.float32(scaling.number("factor", 1.0, 1e6)))
        case "llama3":
            return _rotation(formulas.llama3(plain, _llama3(config, scaling)))
        case "yarn":
            numbers = yarn_scaling(config, scaling)
            turned = formulas.yarn(theta, width, numbers)
            return _rotation(turned, _yarn_scale(scaling, numbers.factor))
        case _:
            return _longrope(config, scaling, theta, width)


def kind_of(scaling: ConfigJson) -> str:
    """One of `KINDS`; raises CheckpointError for another."""
    kind = scaling.word("rope_type", scaling.word("type", "default"))
    kind = "longrope" if kind == "su" else kind
    if kind not in KINDS:
        raise CheckpointError(
            f"config.json: rope type {shown(kind)} is not known; "
            f"this version knows {', '.join(KINDS)}"
        )
    return kind


def longest_context(config: ConfigJson) -> int:
    """Tokens a sequence may have: what the checkpoint allows, or is served if that is less.

    A YaRN factor allows its multiple of the original context, whatever `max_position_embeddings`
    says: Qwen2.5's is left as it was when the factor is added.
    """
    allowed = _positions(config)
    scaling = scaling_section(config)
    if kind_of(scaling) == "yarn":
        numbers = yarn_scaling(config, scaling)
        allowed = max(allowed, int(numbers.original * numbers.factor))
    return allowed if config.context is None else min(allowed, config.context)


def yarn_scaling(config: ConfigJson, scaling: ConfigJson) -> YarnScaling:
    """The numbers of a "yarn" section."""
    original = _original(config, scaling)
    return YarnScaling(
        factor=scaling.number("factor", 1e-6, 1e6, _positions(config) / original),
        original=original,
        fast=scaling.number("beta_fast", 1e-6, 1e6, 32.0),
        slow=scaling.number("beta_slow", 1e-6, 1e6, 1.0),
        truncate=scaling.flag("truncate", default=True),
    )


def softmax_scale(config: ConfigJson, head_dim: int) -> float:
    """DeepSeek's scale of scores: 1 / sqrt(head_dim), sharper where YaRN has `mscale_all_dim`."""
    scaling = scaling_section(config)
    weight = scaling.number("mscale_all_dim", 0.0, 1e6, 0.0)
    if kind_of(scaling) == "default" or not weight:
        return 1 / math.sqrt(head_dim)
    mscale = formulas.yarn_mscale(yarn_scaling(config, scaling).factor, weight)
    return mscale * mscale / math.sqrt(head_dim)


def _rotation(values: F32, scale: float = 1.0) -> Rotation:
    return Rotation(frequencies=tuple(values.tolist()), scale=scale)


def _positions(config: ConfigJson) -> int:
    return config.integer("max_position_embeddings", 1, 1 << 30, 2_048)


def _original(config: ConfigJson, scaling: ConfigJson) -> int:
    """Tokens of the context the checkpoint was trained on, before it was stretched."""
    key = "original_max_position_embeddings"
    source = config if key in config else scaling
    return source.integer(key, 1, 1 << 30, _positions(config))


def _llama3(config: ConfigJson, scaling: ConfigJson) -> Llama3Scaling:
    low = scaling.number("low_freq_factor", 1e-6, 1e6, 1.0)
    high = scaling.number("high_freq_factor", 1e-6, 1e6, 4.0)
    if high <= low:
        raise CheckpointError("config.json: 'high_freq_factor' must be above 'low_freq_factor'")
    factor = scaling.number("factor", 1.0, 1e6)
    return Llama3Scaling(factor=factor, low=low, high=high, original=_original(config, scaling))


def _yarn_scale(scaling: ConfigJson, factor: float) -> float:
    weight = scaling.number("mscale", 0.0, 1e6, 0.0)
    weight_all = scaling.number("mscale_all_dim", 0.0, 1e6, 0.0)
    inferred = formulas.yarn_mscale(factor)
    if weight and weight_all:  # the scores' own scale has the rest: see `softmax_scale`
        inferred = formulas.yarn_mscale(factor, weight) / formulas.yarn_mscale(factor, weight_all)
    return scaling.number("attention_factor", 1e-6, 1e6, inferred)


def _longrope(config: ConfigJson, scaling: ConfigJson, theta: float, width: int) -> Rotation:
    original = _original(config, scaling)
    factor = scaling.number("factor", 1e-6, 1e6, _positions(config) / original)
    key = "long_factor" if longest_context(config) > original else "short_factor"
    stretch = scaling.numbers(key, 1e-6, 1e6, count=width // 2)
    turned = np.float32(1) / (np.array(stretch, np.float32) * formulas.periods(theta, width))
    scale = formulas.longrope_scale(factor, original)
    return _rotation(turned, scaling.number("attention_factor", 1e-6, 1e6, scale))
