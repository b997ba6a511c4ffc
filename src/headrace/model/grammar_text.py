"""Pieces of grammars in llguidance's Lark dialect, from values that callers chose."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

# One space after a comma and a colon, as models write JSON, or none; no other white space, which a
# model could prefer for ever.
_AROUND = re.compile(r"\(\?(=|!|<=|<!|P=)|\\[1-9]")
_SPACING = {"item_separator": ", ?", "key_separator": ": ?", "whitespace_flexible": False}


def looks_around(pattern: str) -> bool:
    """Whether a regular expression looks around or back, which no finite automaton can do."""
    return _AROUND.search(pattern) is not None


def literal(text: str) -> str:
    """`text`, and nothing else. Its escapes are JSON's, all of which the dialect knows."""
    return json.dumps(text)


def choice(rules: Sequence[str]) -> str:
    """Any of several."""
    return "(" + " | ".join(rules) + ")"


def json_rule(name: str, schema: Mapping[str, Any], *, strict: bool) -> str:
    """A rule of JSON that follows `schema`; unless `strict`, unknown keywords are left out."""
    return f"{name}: %json {json.dumps(spaced(schema, strict=strict))}"


def spaced(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """`schema` with how its JSON is spaced; `oneOf` counts as `anyOf`."""
    options = {**_SPACING, "coerce_one_of": True, "lenient": not strict}
    known = schema if strict else _without_odd_patterns(schema)
    return {**cast("Mapping[str, Any]", known), "x-guidance": options}


def _without_odd_patterns(value: object) -> object:
    """`value` without the patterns of strings that no finite automaton can match."""
    if isinstance(value, list):
        return [_without_odd_patterns(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    pairs = cast("dict[str, object]", value).items()
    return {
        key: _without_odd_patterns(item)
        for key, item in pairs
        if key != "pattern" or not isinstance(item, str) or not looks_around(item)
    }
