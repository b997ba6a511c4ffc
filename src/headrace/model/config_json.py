"""Typed, range-checked reading of a checkpoint's `config.json`, before anything is allocated."""

from collections.abc import Mapping
from typing import cast

from headrace.errors import CheckpointError
from headrace.model.plain_file import shown


class ConfigJson:
    """The values of one `config.json`; every reader raises CheckpointError naming the key.

    `context`: tokens a sequence may have where it is served; None: what the checkpoint allows.
    """

    def __init__(self, values: Mapping[str, object], *, context: int | None = None) -> None:
        self._values = values
        self.context = context

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer in low..high; `default` when absent or null, else absence is an error."""
        value = self._values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise CheckpointError(
                f"config.json: '{key}' must be an integer in {low}..{high}, not {shown(value)}"
            )
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number in low..high; `default` when absent or null, else absence is an error."""
        value = self._values.get(key)
        if value is None:
            value = default
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise CheckpointError(
                f"config.json: '{key}' must be a number in {low}..{high}, not {shown(value)}"
            )
        return float(value)

    def numbers(self, key: str, low: float, high: float, *, count: int) -> tuple[float, ...]:
        """A list of `count` numbers, each in low..high."""
        value = self._values.get(key)
        items = cast("list[object]", value) if isinstance(value, list) else []
        found = tuple(
            float(item)
            for item in items
            if isinstance(item, int | float) and not isinstance(item, bool) and low <= item <= high
        )
        if len(items) != count or len(found) != count:
            raise CheckpointError(
                f"config.json: '{key}' must be a list of {count} numbers in {low}..{high}"
            )
        return found

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of integers, each in low..high; empty when absent or null."""
        value = self._values.get(key)
        if value is None:
            return ()
        items = cast("list[object]", value) if isinstance(value, list) else [value]
        found = tuple(
            item
            for item in items
            if isinstance(item, int) and not isinstance(item, bool) and low <= item <= high
        )
        if not isinstance(value, list) or len(found) < len(items):
            raise CheckpointError(
                f"config.json: '{key}' must be a list of integers in {low}..{high}"
            )
        return found

    def flag(self, key: str, default: bool) -> bool:
        """A boolean; `default` when absent or null."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise CheckpointError(f"config.json: '{key}' must be true or false, not {shown(value)}")
        return value

    def word(self, key: str, default: str) -> str:
        """A string; `default` when absent or null."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise CheckpointError(f"config.json: '{key}' must be a string, not {shown(value)}")
        return value

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of strings; None when absent or null."""
        value = self._values.get(key)
        if value is None:
            return None
        items = cast("list[object]", value) if isinstance(value, list) else [value]
        words = tuple(item for item in items if isinstance(item, str))
        if not isinstance(value, list) or len(words) < len(items):
            raise CheckpointError(f"config.json: '{key}' must be a list of strings")
        return words

    def expect(self, key: str, known: object) -> None:
        """Refuse a `key` that asks for anything but `known`, which absent and null stand for."""
        value = self._values.get(key)
        if value is not None and value != known:
            raise CheckpointError(
                f"config.json: '{key}' {shown(value)} is not known for this architecture; "
                f"this version knows {known!r}"
            )

    def section(self, key: str) -> "ConfigJson":
        """A nested object; empty when absent or null."""
        value = self._values.get(key)
        if value is None:
            return ConfigJson({})
        if not isinstance(value, dict):
            raise CheckpointError(f"config.json: '{key}' must be an object, not {shown(value)}")
        return ConfigJson(cast("dict[str, object]", value))

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None
