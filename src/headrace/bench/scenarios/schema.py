"""Whether a value follows a JSON schema, in the subset that benchmarks write.

Keywords: type, properties, required, additionalProperties (a boolean), items, enum, const, minimum,
maximum, minLength, maxLength, minItems, maxItems, pattern; title and description say nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, cast

from headrace.errors import ConfigError

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
_KNOWN = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "minimum",
    "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern", "title", "description",
}  # fmt: skip


def check_schema(schema: Mapping[str, Any], *, where: str) -> None:
    """Raise ConfigError for a keyword or form that `follows` cannot judge."""
    unknown = sorted(set(schema) - _KNOWN)
    if unknown:
        raise ConfigError(f"{where}: the schema keyword {unknown[0]!r} cannot be checked here")
    if not isinstance(schema.get("additionalProperties", True), bool):
        raise ConfigError(f"{where}: additionalProperties must be true or false")
    for name in _names(schema.get("type", [])):
        if name not in _TYPES:
            raise ConfigError(f"{where}: no such type: {name!r}")
    below = dict(cast("Mapping[str, Any]", schema.get("properties", {})))
    if "items" in schema:
        below["items"] = schema["items"]
    for name, inner in below.items():
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{where}: {name} is no schema")
        check_schema(cast("Mapping[str, Any]", inner), where=f"{where}.{name}")


def follows(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether `value`, as JSON gave it, is an instance of `schema`."""
    return _is_listed(value, schema) and _is_bounded(value, schema) and _is_inside(value, schema)


def _names(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind


def _is_a(value: Any, name: str) -> bool:
    if name in ("integer", "number") and isinstance(value, bool):
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _is_listed(value: Any, schema: Mapping[str, Any]) -> bool:
    if "type" in schema and not any(_is_a(value, name) for name in _names(schema["type"])):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    return "const" not in schema or value == schema["const"]


def _is_bounded(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, str):
        size, least, most = len(value), "minLength", "maxLength"
    elif isinstance(value, list):
        size, least, most = len(cast("list[Any]", value)), "minItems", "maxItems"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        size, least, most = value, "minimum", "maximum"
    else:
        return True
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return False
    return schema.get(least, size) <= size <= schema.get(most, size)


def _is_inside(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, list):
        inner: Mapping[str, Any] = schema.get("items", {})
        return all(follows(item, inner) for item in cast("list[Any]", value))
    if not isinstance(value, dict):
        return True
    members = cast("dict[str, Any]", value)
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    if any(name not in members for name in schema.get("required", ())):
        return False
    if not schema.get("additionalProperties", True) and set(members) - set(properties):
        return False
    return all(follows(members[name], properties[name]) for name in members if name in properties)
