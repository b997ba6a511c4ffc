"""JSON schemas as gpt-oss was shown them."""

from typing import Any

import pytest

from headrace.model.typescript import MAX_REFERRED_CHARS, namespace


def shown(parameters: Any, description: str = "") -> str:
    """The one function of a namespace, without its frame."""
    function = {"name": "f", "description": description, "parameters": parameters}
    text = namespace("functions", [{"type": "function", "function": function}])
    return text.removeprefix("namespace functions {\n\n").removesuffix(
        "\n\n} // namespace functions"
    )


def typed(schema: Any, **root: Any) -> str:
    """How the type of one required property is written."""
    return (
        shown({"type": "object", "properties": {"x": schema}, "required": ["x"], **root})
        .removeprefix("type f = (_: {\nx: ")
        .removesuffix(",\n}) => any;")
    )


def test_functions_are_described_and_may_take_nothing() -> None:
    assert shown({}) == shown({"type": "object", "properties": {}}) == "type f = () => any;"
    assert shown({}, "Says\nthe time.") == "// Says\n// the time.\ntype f = () => any;"


def test_properties_have_descriptions_defaults_and_marks() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where."},
            "unit": {"enum": ["C", "F"], "default": "C"},
            "by": {"type": "string", "default": "day"},
        },
        "required": ["city"],
    }
    assert shown(schema) == (
        'type f = (_: {\n// Where.\ncity: string,\nunit?: "C" | "F", // default: C\n'
        'by?: string, // default: "day"\n}) => any;'
    )


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "array", "items": {"type": "number"}}, "number[]"),
        ({"type": "array", "items": {"enum": [1, "é"]}}, '(1 | "é")[]'),
        ({"type": "array"}, "any[]"),
        (
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "number"}]},
            "string | number",
        ),
        ({"const": None}, "null"),
        ({"type": "object"}, "{\n    }"),
        ({"type": "object", "properties": {"y": {"type": "null"}}}, "{\n    y?: null,\n    }"),
        ({}, "any"),
        (True, "any"),
        ({"type": 7, "enum": "x"}, "any"),
        ({"$ref": "#/nowhere"}, "any"),
        ({"$ref": "https://example.org/schema"}, "any"),
    ],
)
def test_types(schema: Any, written: str) -> None:
    assert typed(schema) == written


def test_references_are_followed() -> None:
    defs = {"a/b": {"type": "array", "items": {"$ref": "#/$defs/C"}}, "C": {"type": "string"}}
    assert typed({"$ref": "#/$defs/a~1b"}, **{"$defs": defs}) == "string[]"


def test_references_without_an_end_and_those_that_multiply_are_cut() -> None:
    loop = {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    assert typed({"$ref": "#/$defs/A"}, **{"$defs": loop}) == "any"
    tree = {
        f"D{i}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/D{i + 1}"} for k in "ab"}}
        for i in range(30)
    }
    text = typed({"$ref": "#/$defs/D0"}, **{"$defs": tree})
    assert len(text) < 2 * MAX_REFERRED_CHARS
    itself = {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "array", "items": {"$ref": "#"}}]}}
    assert len(typed({"$ref": "#/$defs/A"}, **{"$defs": itself})) < MAX_REFERRED_CHARS


def test_types_in_types_are_written_as_the_vendors_library_does() -> None:
    """What `openai-harmony` 0.0.8 makes of the same schema, to the letter."""
    point = {
        "type": "object",
        "properties": {
            "x": {"type": "number", "description": "X."},
            "y": {"type": ["string", "null"]},
            "all": {
                "type": "array",
                "description": "L.",
                "items": {
                    "type": "object",
                    "properties": {"q": {"type": "integer", "description": "Q.", "default": 1}},
                    "required": ["q"],
                },
            },
        },
        "required": ["x"],
    }
    properties = {"tags": {"type": "array", "items": {"type": "string"}}, "o": point}
    assert shown({"type": "object", "properties": properties}, "F.") == (
        "// F.\ntype f = (_: {\ntags?: string[],\no?: {\n    // X.\n    x: number,\n"
        "    y?: string | null,\n    // L.\n    all?: {\n        // Q.\n"
        "        q: number, // default: 1\n        }[],\n    },\n}) => any;"
    )
