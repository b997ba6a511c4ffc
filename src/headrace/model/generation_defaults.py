"""What a checkpoint says about generating: which tokens end a turn, how to sample by default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from headrace.errors import CheckpointError
from headrace.types import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """`generation_config.json`, with `config.json` behind it."""

    stop_ids: tuple[int, ...]  # any of these ends a turn; may be empty
    sampling: SamplingParams


def generation_defaults(
    config: Mapping[str, object], generation_config: Mapping[str, object], vocab_size: int
) -> GenerationDefaults:
    """The defaults of a checkpoint; raises CheckpointError naming file and key."""
    file, source = "generation_config.json", generation_config
    if source.get("eos_token_id") is None:
        file, source = "config.json", config
    settings = _Settings(generation_config)
    top_k = settings.number("top_k", 0, 1 << 24, 0)
    top_p = settings.number("top_p", 0, 1, 1.0)
    return GenerationDefaults(
        stop_ids=_ids(source.get("eos_token_id"), vocab_size, file),
        sampling=SamplingParams(
            temperature=settings.number("temperature", 0, 2, 1.0),
            top_k=int(top_k),
            top_p=top_p or 1.0,
            min_p=settings.number("min_p", 0, 1, 0.0),
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
                f"{file}: 'eos_token_id' must hold token ids in 0..{vocab_size - 1}, not {item!r}"
            )
        found.append(item)
    return tuple(dict.fromkeys(found))


class _Settings:
    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def number(self, key: str, low: float, high: float, default: float) -> float:
        value = self._values.get(key)
        if value is None:
            return default
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise CheckpointError(
                f"generation_config.json: '{key}' must be a number in {low}..{high}, not {value!r}"
            )
        return float(value)
