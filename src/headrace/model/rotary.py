"""Rotary frequencies as checkpoints describe them: plain, slowed down, and Llama 3's form."""

import math

import numpy as np

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson


def rotary_frequencies(config: ConfigJson, head_dim: int) -> tuple[float, ...]:
    """Radians per position for each of the `head_dim / 2` pairs, rounded to float32.

    Reads `rope_theta` with `rope_scaling`, or the newer `rope_parameters` that holds both; see
    `scaled_frequencies`. Heads that are rotated in part are refused.
    """
    rope = config.section("rope_parameters")
    for section in (config, rope):
        section.expect("partial_rotary_factor", 1.0)
    scaling = rope if "rope_type" in rope else config.section("rope_scaling")
    theta = (rope if "rope_theta" in rope else config).number("rope_theta", 1.0, 1e12, 10_000.0)
    return scaled_frequencies(scaling, theta, head_dim)


def scaled_frequencies(scaling: ConfigJson, theta: float, head_dim: int) -> tuple[float, ...]:
    """Radians per position of each pair, as the section `scaling` says.

    Kinds: "default" (theta^(-2i/d), Su et al. 2021), "linear" (all divided by `factor`, Chen et al.
    2023) and "llama3" (long wavelengths divided by `factor`, short ones kept, a linear blend
    between; the Llama 3.1 release). Others: CheckpointError.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = np.float32(1.0) / np.float32(theta) ** exponents
    kind = scaling.word("rope_type", scaling.word("type", "default"))
    if kind == "default":
        return tuple(float(f) for f in plain)
    if kind == "linear":
        factor = np.float32(scaling.number("factor", 1.0, 1e6))
        return tuple(float(f) for f in plain / factor)
    if kind == "llama3":
        return _llama3(plain.astype(np.float64), scaling)
    raise CheckpointError(
        f"config.json: rope type '{kind}' is not known; "
        "this version knows default, linear and llama3"
    )


def _llama3(plain: np.ndarray, scaling: ConfigJson) -> tuple[float, ...]:
    factor = scaling.number("factor", 1.0, 1e6)
    low = scaling.number("low_freq_factor", 1e-6, 1e6, 1.0)
    high = scaling.number("high_freq_factor", 1e-6, 1e6, 4.0)
    original = scaling.integer("original_max_position_embeddings", 1, 1 << 30, 8_192)
    if high <= low:
        raise CheckpointError("config.json: 'high_freq_factor' must be above 'low_freq_factor'")
    turns = original * plain / (2 * math.pi)  # full turns over the original context
    blend = np.clip((turns - low) / (high - low), 0.0, 1.0)
    scaled = plain * (blend + (1 - blend) / factor)
    return tuple(float(np.float32(f)) for f in scaled)
