"""The fields we do not act on: other vendors' hints we ignore, and features not offered yet.

A hint is accepted in its harmless values and named in `x-ignored-params`. A feature not offered
yet is refused by name, never ignored; only the value that asks for nothing is accepted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

Check = Callable[[Any], bool]


def _text(limit: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= limit


def _is(*values: object) -> Check:
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def _number(value: object, *, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _equal(number: float) -> Check:
    return lambda value: _number(value, low=number, high=number)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _empty(value: object) -> bool:
    return isinstance(value, list | dict | str) and not value


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _metadata(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    pairs = cast("dict[str, object]", value)
    return len(pairs) <= 16 and all(len(k) <= 64 and _text(512)(v) for k, v in pairs.items())


def _prediction(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    said = cast("dict[str, object]", value)
    return said.get("type") == "content" and isinstance(said.get("content"), str | list)


# Hints: name -> whether this value is harmless to ignore.
IGNORED: Mapping[str, Check] = {
    "store": _flag,
    "metadata": _metadata,
    "verbosity": _is("low", "medium", "high"),
    "safety_identifier": _text(512),
    "modalities": _is(["text"]),
    "prompt_cache_key": _text(1024),
    "prompt_cache_retention": _text(64),
    "prompt_cache_options": _object,
    "moderation": _object,
    "tool_stream": _flag,
    "citation_options": _is("enabled", "disabled"),
    "disable_tool_validation": _flag,
    "repetition_penalty": _equal(1),
    "chat_template_kwargs": _empty,
    "prediction": _prediction,  # used once speculation exists
}

# Features to come: name -> whether this value asks for nothing.
NOT_OFFERED: Mapping[str, Check] = {
    "functions": _empty,  # `tools` by their old names
    "function_call": _is("none", "auto"),
    "model_parameters": _empty,
    "audio": lambda _: False,
    "web_search_options": lambda _: False,
}

_NOT_YET = "'{}' is not offered yet, leave it out"
_INSTEAD = {
    "functions": "'{}' is of old: use 'tools'",
    "function_call": "'{}' is of old: use 'tool_choice'",
}

# In messages. Clients echo `model_dump()` of our answers, with all their nulls.
MESSAGE_IGNORED: Mapping[str, Check] = {
    "name": _text(64),
    "refusal": _empty,
    "annotations": _empty,
    "audio": _empty,
    "function_call": _empty,
}
MESSAGE_NOT_OFFERED: Mapping[str, Check] = {}


@dataclass(slots=True)
class Screened:
    """A document without the fields we do not act on."""

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    ignored: list[str] = field(default_factory=list[str])  # names for x-ignored-params
    offences: list[str] = field(default_factory=list[str])  # one line each


def screen(document: Mapping[str, Any]) -> Screened:
    """Take out nulls, hints and neutral values; note what may not be ignored."""
    found = Screened()
    found.fields = _screen_level(document, "", (IGNORED, NOT_OFFERED), found)
    messages = found.fields.get("messages")
    if isinstance(messages, list):
        found.fields["messages"] = [
            _screen_message(number, message, found)
            for number, message in enumerate(cast("list[object]", messages))
        ]
    return found


def screen_level(
    document: Mapping[str, Any], ignored: Mapping[str, Check], not_offered: Mapping[str, Check]
) -> Screened:
    """As `screen`, for a document without messages and its own two tables."""
    found = Screened()
    found.fields = _screen_level(document, "", (ignored, not_offered), found)
    return found


def _screen_message(number: int, message: object, found: Screened) -> object:
    if not isinstance(message, dict):
        return message
    known = cast("dict[str, Any]", message)
    role = known.get("role")
    if role == "function":
        found.offences.append(f"messages.{number}: role 'function' is of old: use role 'tool'")
        return {"role": "user", "content": ""}  # one offence is enough for this message
    path = f"messages.{number}.{role}." if isinstance(role, str) else f"messages.{number}."
    return _screen_level(known, path, (MESSAGE_IGNORED, MESSAGE_NOT_OFFERED), found)


def _screen_level(
    level: Mapping[str, Any],
    path: str,
    tables: tuple[Mapping[str, Check], Mapping[str, Check]],
    found: Screened,
) -> dict[str, Any]:
    ignored, not_offered = tables
    kept: dict[str, Any] = {}
    for name, value in level.items():
        if value is None:
            continue  # null is the same as absent
        if name in ignored:
            if ignored[name](value):
                _note(found.ignored, "messages." + name if path else name)
            else:
                found.offences.append(f"{path}{name}: this value is not supported")
        elif name in not_offered:
            if not not_offered[name](value):
                found.offences.append(f"{path}{name}: {_INSTEAD.get(name, _NOT_YET).format(name)}")
        else:
            kept[name] = value
    return kept


def _note(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
