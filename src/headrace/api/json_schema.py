"""The subset of JSON Schema that a strict answer or tool may ask for, checked by walking it.

What is refused is named by keyword and place. What is accepted the grammar engine enforces; wider
than Cerebras' subset (`pattern`, `format`, `minItems` and `maxItems`, lengths, recursion, `oneOf`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from headrace.model.grammar_text import looks_around

MAX_DEPTH = 10  # of objects and arrays in each other, as written
MAX_PROPERTIES = 500
MAX_ENUM_VALUES = 500
MAX_NAME_CHARS = 100_000  # of property names, definitions' names, enum and const strings
MAX_NESTED_GROUPS = 100  # in a pattern
# Chosen: Python's compiler takes time with the square of the length when alternatives begin alike.
MAX_PATTERN_CHARS = 10_000
MAX_PATTERNS_CHARS = 100_000  # of all patterns of a schema

TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
)
_ANNOTATIONS = ("title", "description", "default", "$schema", "$id", "examples", "$comment")
_REFUSED_HINTS = {"nullable": "write the type as an array that has 'null'"}
KEYWORDS = frozenset(
    (
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "$ref",
        "$defs",
        "definitions",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        *_ANNOTATIONS,
    )
)
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def offences(schema: Mapping[str, Any], place: str, *, strict: bool) -> list[str]:
    """One line for each thing that is wrong with `schema`, which stands at `place` of the request.

    Not `strict`: only what no reading makes sense of (a type that does not exist, a pattern that
    is none); keywords that the grammar does not know are no offence then.
    """
    walk = _Walk(schema, strict=strict)
    if strict:
        walk.check_root(schema, place)
    walk.check(schema, place, depth=1)
    walk.check_sizes(place)
    return walk.offences


class _Walk:
    def __init__(self, root: Mapping[str, Any], *, strict: bool) -> None:
        self.offences: list[str] = []
        self._root = root
        self._strict = strict
        self._num_properties = self._num_enum_values = self._num_name_chars = 0
        self._num_pattern_chars = 0

    def check_root(self, schema: Mapping[str, Any], place: str) -> None:
        if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
            self._say(place, "the root must be an object with 'properties'")

    def check_sizes(self, place: str) -> None:
        for name, count, most in (
            ("properties", self._num_properties, MAX_PROPERTIES),
            ("enum values", self._num_enum_values, MAX_ENUM_VALUES),
            ("characters of names and enum values", self._num_name_chars, MAX_NAME_CHARS),
        ):
            if self._strict and count > most:
                self._say(place, f"has {count} {name}, at most {most} are allowed")

    def check(self, schema: object, place: str, depth: int) -> None:
        """Check `schema` and all below it."""
        if isinstance(schema, bool):
            if self._strict:
                self._say(place, "must be an object, not a bool")
            return
        if not isinstance(schema, dict):
            self._say(place, "must be an object")
            return
        known = cast("dict[str, Any]", schema)
        if self._strict and depth > MAX_DEPTH:
            self._say(place, f"nests deeper than {MAX_DEPTH} levels")
            return
        if self._strict:
            self._check_keywords(known, place)
        self._check_type(known, place)
        self._check_values(known, place)
        self._check_pattern(known, place)
        self._check_reference(known, place)
        if self._strict and "object" in _types_of(known):
            self._check_object(known, place)
        if self._strict and "array" in _types_of(known):
            self._check_array(known, place)
        for below, below_place, is_deeper in _below(known, place):
            self.check(below, below_place, depth + is_deeper)

    def _check_keywords(self, schema: Mapping[str, Any], place: str) -> None:
        for keyword in schema:
            if keyword not in KEYWORDS:
                hint = _REFUSED_HINTS.get(keyword)
                self._say(place, f"keyword '{keyword}' is not supported", hint)
        form = schema.get("format")
        if form is not None and form not in FORMATS:
            self._say(place, f"format '{_short(form)}' is not supported", ", ".join(FORMATS))
        for keyword in _COUNTS:
            value = schema.get(keyword)
            if value is not None and (
                not isinstance(value, int) or isinstance(value, bool) or value < 0
            ):
                self._say(f"{place}.{keyword}", "must be a whole number that is not negative")
        for keyword in _NUMBERS:
            value = schema.get(keyword)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float)
            ):
                self._say(f"{place}.{keyword}", "must be a number")

    def _check_type(self, schema: Mapping[str, Any], place: str) -> None:
        if "type" not in schema:
            return
        said: object = schema["type"]
        names: list[object] = [said]
        if isinstance(said, list) and said:
            names = cast("list[object]", said)
        for name in names:
            if not isinstance(name, str) or name not in TYPES:
                allowed = ", ".join(TYPES)
                self._say(f"{place}.type", f"'{_short(name)}' is no type", allowed)

    def _check_values(self, schema: Mapping[str, Any], place: str) -> None:
        said = schema.get("enum")
        if said is not None and (not isinstance(said, list) or not said):
            self._say(f"{place}.enum", "must be an array that is not empty")
            return
        values = cast("list[object]", said or [])
        listed = [*values, *([schema["const"]] if "const" in schema else [])]
        self._num_enum_values += len(values)
        self._num_name_chars += sum(len(value) for value in listed if isinstance(value, str))
        if self._strict and any(isinstance(value, dict | list) for value in listed):
            self._say(place, "'enum' and 'const' take strings, numbers, booleans and null only")

    def _check_pattern(self, schema: Mapping[str, Any], place: str) -> None:
        pattern = schema.get("pattern")
        if pattern is None:
            return
        self._num_pattern_chars += len(pattern) if isinstance(pattern, str) else 0
        if self._num_pattern_chars > MAX_PATTERNS_CHARS:
            problem = f"the schema's patterns are longer than {MAX_PATTERNS_CHARS} characters"
        else:
            problem = pattern_problem(pattern)
        if problem is None and self._strict and looks_around(pattern):
            problem = "look-around and back-references are not supported"
        if problem:
            self._say(f"{place}.pattern", problem)

    def _check_reference(self, schema: Mapping[str, Any], place: str) -> None:
        reference = schema.get("$ref")
        if reference is None:
            return
        if not isinstance(reference, str) or not reference.startswith("#"):
            self._say(
                f"{place}.$ref", "must lead into this schema ('#/$defs/…'): nothing is fetched"
            )
        elif not _resolves(reference, self._root):
            self._say(f"{place}.$ref", f"'{_short(reference)}' leads nowhere")

    def _check_object(self, schema: Mapping[str, Any], place: str) -> None:
        if schema.get("additionalProperties") is not False:
            self._say(place, "'additionalProperties' must be false")
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict):
            self._say(f"{place}.properties", "must be an object")
            return
        names = cast("dict[str, object]", properties)
        self._num_properties += len(names)
        self._num_name_chars += sum(map(len, names))
        if not isinstance(required, list):
            self._say(f"{place}.required", "must be an array")
            return
        for name in cast("list[object]", required):
            if not isinstance(name, str) or name not in names:
                self._say(f"{place}.required", f"'{_short(name)}' is not in 'properties'")

    def _check_array(self, schema: Mapping[str, Any], place: str) -> None:
        items = schema.get("items")
        if items is None or items is True or (items is False and "prefixItems" not in schema):
            self._say(place, "an array needs 'items', a schema")

    def _say(self, place: str, what: str, more: str | None = None) -> None:
        self.offences.append(f"{place}: {what}" + (f" ({more})" if more else ""))


def pattern_problem(pattern: object) -> str | None:
    """Why `pattern` is no regular expression we take; None: it is one."""
    if not isinstance(pattern, str):
        return "must be a string"
    if len(pattern) > MAX_PATTERN_CHARS:
        return f"is longer than {MAX_PATTERN_CHARS} characters"
    depth = deepest = 0
    for char in pattern:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTED_GROUPS:
        return f"nests more than {MAX_NESTED_GROUPS} groups"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        return f"is no regular expression: {exc}"
    return None


def _resolves(reference: str, root: object) -> bool:
    """Whether a JSON pointer behind '#' leads to a schema (RFC 6901)."""
    place = root
    for step in reference[1:].split("/")[1:]:
        if not isinstance(place, dict):
            return False
        name = step.replace("~1", "/").replace("~0", "~")
        place = cast("dict[str, object]", place).get(name)
    return isinstance(place, dict)


def _types_of(schema: Mapping[str, Any]) -> Sequence[str]:
    said = schema.get("type")
    if isinstance(said, str):
        return (said,)
    return cast("Sequence[str]", said) if isinstance(said, list) else ()


def _below(schema: Mapping[str, Any], place: str) -> Iterator[tuple[object, str, int]]:
    """The schemas inside one, their places, and whether they lie a level deeper."""
    for keyword in ("properties", "$defs", "definitions", "patternProperties"):
        named = schema.get(keyword)
        if isinstance(named, dict):
            for name, below in cast("dict[str, object]", named).items():
                yield below, f"{place}.{keyword}.{_short(name)}", keyword == "properties"
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        listed = schema.get(keyword)
        if isinstance(listed, list):
            for number, below in enumerate(cast("list[object]", listed)):
                yield below, f"{place}.{keyword}.{number}", keyword == "prefixItems"
    for keyword in ("items", "additionalProperties", "not"):
        below = schema.get(keyword)
        if isinstance(below, dict):
            yield cast("object", below), f"{place}.{keyword}", True


def _short(value: object) -> str:
    text = str(value)[:64]
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
