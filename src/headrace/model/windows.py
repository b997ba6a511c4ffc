"""Which layers see a window only, as checkpoints describe it."""

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson

FULL, SLIDING = "full_attention", "sliding_attention"


def window(config: ConfigJson, default: int | None = None) -> int | None:
    """`sliding_window`, tokens; `default` when absent or null; None: all positions are seen."""
    if "sliding_window" not in config:
        return default
    return config.integer("sliding_window", 1, 1 << 30)


def layer_windows(
    config: ConfigJson, width: int | None, kinds: tuple[str, ...]
) -> tuple[int | None, ...]:
    """Each layer's window: `width` where `layer_types`, or else `kinds`, says sliding_attention.

    `kinds` has one word for each layer. Raises CheckpointError when the config's does not, when it
    knows other words, or when a layer shall slide and there is no width.
    """
    named = config.words("layer_types")
    types = kinds if named is None else named
    if len(types) != len(kinds) or not set(types) <= {FULL, SLIDING}:
        raise CheckpointError(
            f"config.json: 'layer_types' must have {len(kinds)} words, each {FULL} or {SLIDING}"
        )
    if SLIDING in types and width is None:
        raise CheckpointError(
            f"config.json: 'layer_types' has {SLIDING}, but no sliding window is set"
        )
    return tuple(width if kind == SLIDING else None for kind in types)
