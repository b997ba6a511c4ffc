"""The field `response_format`: what the text of an answer is held to."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from headrace.api.json_schema import MAX_PATTERN_CHARS, offences, pattern_problem
from headrace.api.wire import Wire
from headrace.types import Format, JsonFormat, LarkFormat, RegexFormat

MAX_GRAMMAR_CHARS = 100_000


class TextFormat(Wire):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Wire):
    """Some JSON object."""

    type: Literal["json_object"]


class NamedSchema(Wire):
    """A JSON schema and how strictly it is meant."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: Annotated[str, Field(max_length=65_536)] | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class JsonSchemaFormat(Wire):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class RegexWire(Wire):
    """Text that a regular expression matches as a whole. An extension."""

    type: Literal["regex"]
    regex: Annotated[str, Field(min_length=1, max_length=MAX_PATTERN_CHARS)]


class LarkWire(Wire):
    """Text that a grammar derives, in llguidance's dialect of Lark. An extension."""

    type: Literal["grammar"]
    grammar: Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR_CHARS)]


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexWire | LarkWire,
    Field(discriminator="type"),
]

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


def format_of(said: "ResponseFormat | None") -> Format | None:
    """What it means; None: free text."""
    match said:
        case JsonObjectFormat():
            return JsonFormat(schema=_ANY_OBJECT, strict=True)
        case JsonSchemaFormat(json_schema=named):
            schema = _ANY_OBJECT if named.schema_ is None else named.schema_
            return JsonFormat(schema=schema, strict=bool(named.strict))
        case RegexWire():
            return RegexFormat(pattern=said.regex)
        case LarkWire():
            return LarkFormat(grammar=said.grammar)
        case _:
            return None


def format_offences(said: "ResponseFormat | None") -> list[str]:
    """One line for each thing that is wrong with it."""
    match said:
        case JsonSchemaFormat(json_schema=named) if named.schema_ is not None:
            place = "response_format.json_schema.schema"
            return offences(named.schema_, place, strict=bool(named.strict))
        case RegexWire():
            problem = pattern_problem(said.regex)
            return [f"response_format.regex: {problem}"] if problem else []
        case _:
            return []
