"""Which JSON schemas are taken, and how the others are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.api.json_schema import KEYWORDS, offences

OBJECT: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


def of(**properties: Any) -> dict[str, Any]:
    return {**OBJECT, "properties": properties}


def strict(schema: dict[str, Any]) -> list[str]:
    return offences(schema, "schema", strict=True)


def test_what_pydantic_and_the_helpers_write_is_taken() -> None:
    leaf = {**OBJECT, "properties": {"n": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}
    schema = {
        "$defs": {"Leaf": leaf, "Tree": of(left={"$ref": "#/$defs/Tree"})},
        "title": "Answer",
        **of(
            leaf={"$ref": "#/$defs/Leaf"},
            tree={"$ref": "#/$defs/Tree"},
            kind={"enum": ["a", 1, None], "default": "a"},
            many={"type": "array", "items": {"type": ["string", "null"]}, "maxItems": 3},
            when={"type": "string", "format": "date-time"},
            code={"type": "string", "pattern": "^[A-Z]{3}$", "maxLength": 3},
            part={"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5},
        ),
        "required": ["leaf"],
    }
    assert strict(schema) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "items": {"type": "string"}}, "the root must be an object"),
        ({"anyOf": [OBJECT]}, "the root must be an object"),
        ({"type": "object", "properties": {}}, "'additionalProperties' must be false"),
        (of(a={"type": "stsring"}), "schema.properties.a.type: 'stsring' is no type"),
        (of(a={"type": "string", "pattern": "*"}), "schema.properties.a.pattern: is no regular"),
        (of(a={"type": "string", "pattern": "(" * 101 + ")" * 101}), "nests more than 100 groups"),
        (of(a={"not": {}}), "schema.properties.a: keyword 'not' is not supported"),
        (of(a={"allOf": []}), "keyword 'allOf' is not supported"),
        (of(a={"type": "string", "nullable": True}), "write the type as an array"),
        (of(a={"type": "string", "format": "color"}), "format 'color' is not supported"),
        (of(a={"type": "array"}), "an array needs 'items'"),
        (of(a={"type": "array", "items": True}), "an array needs 'items'"),
        (of(a={"$ref": "https://example.com/x.json"}), "nothing is fetched"),
        (of(a={"$ref": "#/$defs/none"}), "schema.properties.a.$ref: '#/$defs/none' leads nowhere"),
        (of(a={"type": "string", "pattern": "(?=x)"}), "look-around and back-references"),
        (of(a={"enum": []}), "schema.properties.a.enum: must be an array that is not empty"),
        (of(a={"type": "string", "minLength": -1}), "minLength: must be a whole number"),
        (of(a={"type": "number", "minimum": "1"}), "minimum: must be a number"),
        ({**OBJECT, "required": ["b"]}, "'b' is not in 'properties'"),
        (of(a=7), "schema.properties.a: must be an object"),
    ],
)
def test_what_is_not_taken_is_named_by_keyword_and_place(schema: dict[str, Any], said: str) -> None:
    found = strict(schema)
    assert any(said in offence for offence in found), found


@pytest.mark.guards("D70")
def test_sizes_are_bounded() -> None:
    assert strict(of(**{f"p{i}": {"type": "null"} for i in range(500)})) == []
    assert "501 properties" in strict(of(**{f"p{i}": {"type": "null"} for i in range(501)}))[0]
    assert "501 enum values" in strict(of(a={"enum": list(range(501))}))[0]
    deep: dict[str, Any] = {"type": "null"}
    for _ in range(11):
        deep = of(a=deep)
    assert "nests deeper than 10 levels" in strict(deep)[0]


def test_a_hint_is_refused_only_where_it_makes_no_sense() -> None:
    loose = {"type": "array", "not": {}, "contains": {"type": "string"}, "format": "color"}
    assert offences(loose, "schema", strict=False) == []
    assert offences({"type": "strng"}, "schema", strict=False) != []
    assert offences({"pattern": "*"}, "schema", strict=False) != []


def test_no_depth_overflows_the_walk() -> None:
    deep: dict[str, Any] = {}
    for _ in range(60):  # a body nests 64 deep at most
        deep = {"items": deep}
    assert offences(deep, "schema", strict=False) == []


def test_keywords_are_what_the_documentation_lists() -> None:
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs/structured_output.md"
    text = page.read_text()
    assert [word for word in KEYWORDS if f"`{word}`" not in text] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "#/a", "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(KEYWORDS)), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.guards("D64")
@given(
    schema=st.dictionaries(st.sampled_from(sorted(KEYWORDS)), VALUES, max_size=5),
    is_strict=st.booleans(),
)
def test_whatever_stands_in_a_schema_is_judged(schema: dict[str, Any], is_strict: bool) -> None:
    assert all(offence.startswith("s") for offence in offences(schema, "s", strict=is_strict))


@pytest.mark.guards("D64")
@pytest.mark.parametrize(
    "odd", [{"type": 5}, {"type": {}}, {"type": [[]]}, {"type": "object", "required": [[]]}]
)
def test_odd_values_of_keywords_are_refused(odd: dict[str, Any]) -> None:
    assert any("schema.properties.a" in said for said in strict(of(a=odd)))
