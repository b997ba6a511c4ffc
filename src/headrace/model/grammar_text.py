"""Pieces of grammars in llguidance's Lark dialect, from values that callers chose."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

# One space after a comma and a colon, as models write JSON, or none; no other white space, which a
# model could prefer for ever.
_NO_LEAP_SECOND = {"time": "^.{6}[0-5]", "date-time": "^.{17}[0-5]"}
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
    known = cast("Mapping[str, Any]", _adapted(schema, strict=strict))
    return {**known, "x-guidance": options}


def _adapted(value: object, *, strict: bool) -> object:
    """`value` as the grammar library should read it.

    Without leap seconds, which it would write at any time of the day; unless `strict`, without the
    patterns that no finite automaton can match.
    """
    if isinstance(value, list):
        return [_adapted(item, strict=strict) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    known = cast("dict[str, object]", value)
    pattern, form = known.get("pattern"), known.get("format")
    kept = {key: _adapted(item, strict=strict) for key, item in known.items()}
    if not strict and isinstance(pattern, str) and looks_around(pattern):
        del kept["pattern"]
    if isinstance(form, str) and form in _NO_LEAP_SECOND and "pattern" not in kept:
        kept["pattern"] = _NO_LEAP_SECOND[form]
    return kept
