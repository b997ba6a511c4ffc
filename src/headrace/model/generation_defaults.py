"""What a checkpoint says about generating: which tokens end a turn, how to sample by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from headrace.errors import CheckpointError
from headrace.model.plain_file import shown
from headrace.types import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """`generation_config.json`, with `config.json` behind it."""

    stop_ids: tuple[int, ...]  # any of these ends a turn; may be empty
    sampling: SamplingParams  # None where the checkpoint is silent


def generation_defaults(
    config: Mapping[str, object], generation_config: Mapping[str, object], vocab_size: int
) -> GenerationDefaults:
    """The defaults of a checkpoint; raises CheckpointError naming file and key."""
    file, source = "generation_config.json", generation_config
    if source.get("eos_token_id") is None:
        file, source = "config.json", config
    top_k = _number(generation_config, "top_k", 0, 1 << 24)
    return GenerationDefaults(
        stop_ids=_ids(source.get("eos_token_id"), vocab_size, file),
        sampling=SamplingParams(
            temperature=_number(generation_config, "temperature", 0, 2),
            top_k=None if top_k is None else int(top_k),
            top_p=_number(generation_config, "top_p", 0, 1) or None,
            min_p=_number(generation_config, "min_p", 0, 1),
        ),
    )


def _ids(value: object, vocab_size: int, file: str) -> tuple[int, ...]:
    if value is None:
        return ()
    ids = cast("list[object]", value) if isinstance(value, list) else [value]
    found: list[int] = []
    for item in ids:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < vocab_size:
            raise CheckpointError(
                f"{file}: 'eos_token_id' must hold token ids in 0..{vocab_size - 1}, "
                f"not {shown(item)}"
            )
        found.append(item)
    return tuple(dict.fromkeys(found))


def _number(values: Mapping[str, object], key: str, low: float, high: float) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise CheckpointError(
            f"generation_config.json: '{key}' must be a number in {low}..{high}, not {shown(value)}"
        )
    return float(value)
