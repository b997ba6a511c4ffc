"""Pieces of grammars in llguidance's Lark dialect, from values that callers chose."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

# One space after a comma and a colon, as models write JSON, or none; no other white space, which a
# model could prefer for ever.
_SPACING = {"item_separator": ", ?", "key_separator": ": ?", "whitespace_flexible": False}


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
    return {**schema, "x-guidance": options}
