"""Tools as the TypeScript-like types that gpt-oss was shown them in.

    // Adds two numbers.
    type add = (_: {
    // The first.
    a: number,
    b?: number, // default: 0
    }) => any;

After the published description of harmony (OpenAI, 2025-08) and, for what it leaves open, what the
library `openai-harmony` 0.0.8 writes. What JSON schemas say beyond that is left out: the grammar of
an answer holds all of it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import cast

# Of what references lead to, in one tool: definitions may refer to each other, and to themselves.
MAX_REFERRED_CHARS = 4_096
_DEEPER = "    "
_DEEPEST = 32  # characters of indentation: types in types are not to multiply a prompt, either
_PLAIN = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}

_Object = Mapping[str, object]


def namespace(name: str, tools: Sequence[_Object]) -> str:
    """The functions of `tools`, JSON objects of the OpenAI form, as a namespace."""
    functions = [_function(cast("_Object", tool["function"])) for tool in tools]
    return "\n\n".join((f"namespace {name} {{", *functions, f"}} // namespace {name}"))


def _function(function: _Object) -> str:
    schema = _object(function.get("parameters"))
    comment = _comment(function.get("description"))
    types = _Types(schema)
    takes = types.of(schema) if _object(schema.get("properties")) else ""
    arguments = f"(_: {takes})" if takes else "()"
    return f"{comment}type {function['name']} = {arguments} => any;"


class _Types:
    """Spells the types of one tool."""

    def __init__(self, root: _Object) -> None:
        self._root = root
        self._left = MAX_REFERRED_CHARS

    def of(self, schema: object, indent: str = "") -> str:
        """The type of what `schema` allows; `indent` stands before each of its further lines."""
        known = self._followed(_object(schema))
        for word in ("anyOf", "oneOf"):
            options = known.get(word)
            if isinstance(options, list):
                return self._any_of(cast("list[object]", options), indent)
        if "const" in known:
            return _spelled(known["const"])
        values, kind = known.get("enum"), known.get("type")
        if isinstance(values, list):
            return " | ".join(map(_spelled, cast("list[object]", values))) or "any"
        if isinstance(kind, list):
            kinds = cast("list[object]", kind)
            return self._any_of([{**known, "type": each} for each in kinds], indent)
        if kind == "array":
            inner = self.of(known.get("items"), indent)
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        if kind == "object" or "properties" in known:
            return self._object_type(known, indent)
        return _PLAIN.get(kind, "any") if isinstance(kind, str) else "any"

    def _any_of(self, options: Sequence[object], indent: str) -> str:
        return " | ".join(dict.fromkeys(self.of(each, indent) for each in options)) or "any"

    def _object_type(self, schema: _Object, indent: str) -> str:
        properties = _object(schema.get("properties"))
        named = schema.get("required")
        required = cast("list[object]", named) if isinstance(named, list) else []
        lines = [
            self._property(f"{name}{'' if name in required else '?'}", own, indent)
            for name, own in properties.items()
        ]
        return "\n".join(("{", *lines, f"{indent}}}"))

    def _property(self, name: str, own: object, indent: str) -> str:
        schema = _object(own)
        default = f" // default: {_default(schema)}" if "default" in schema else ""
        comment = _comment(schema.get("description"), indent)
        deeper = (indent + _DEEPER)[:_DEEPEST]
        return f"{comment}{indent}{name}: {self.of(schema, deeper)},{default}"

    def _followed(self, schema: _Object) -> _Object:
        """What a reference to another place in the schema leads to; too many lead to anything."""
        while isinstance(place := schema.get("$ref"), str):
            if not place.startswith("#"):
                return {}
            found: _Object = self._root
            for step in place.removeprefix("#").split("/")[1:]:
                found = _object(found.get(step.replace("~1", "/").replace("~0", "~")))
            self._left -= len(str(found))
            if self._left < 0:
                return {}
            schema = found
        return schema


def _object(value: object) -> _Object:
    return cast("_Object", value) if isinstance(value, Mapping) else {}


def _comment(text: object, indent: str = "") -> str:
    if not isinstance(text, str) or not text.strip():
        return ""
    return "".join(f"{indent}// {line}\n" for line in text.splitlines())


def _default(schema: _Object) -> str:
    """As the model was shown it: one of several words stands without quotes."""
    default = schema["default"]
    return default if isinstance(default, str) and "enum" in schema else _spelled(default)


def _spelled(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
