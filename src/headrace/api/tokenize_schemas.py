"""The bodies of POST /v1/tokenize and /v1/detokenize, as vLLM has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PlainValidator

from headrace.api.completion_schemas import TokenIds, token_ids
from headrace.api.fields import Check, screen, screen_level
from headrace.api.schemas import ChatMessage, Rules, messages_of, read_wire
from headrace.api.wire import Wire
from headrace.types import TokenizeRequest

_NOTHING: Mapping[str, Check] = {}

Model = Annotated[str, Field(min_length=1, max_length=512)]
Ids = Annotated[tuple[int, ...], PlainValidator(token_ids, json_schema_input_type=TokenIds)]


class TokenizeBody(Wire):
    """The body of POST /v1/tokenize, after `fields.screen`: a text, or messages."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}]}
    )

    model: Model
    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    add_special_tokens: bool = True  # the template alone says which, with messages
    add_generation_prompt: bool = True
    return_token_strs: bool = False


class DetokenizeBody(Wire):
    """The body of POST /v1/detokenize."""

    model: Model
    tokens: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class DetokenizeRequest:
    """Tokens whose text somebody wants to see."""

    model: str
    token_ids: tuple[int, ...]


def tokenize_request(document: dict[str, Any]) -> TokenizeRequest:
    """Check and convert the body. Raises InvalidRequest with one line for each offence."""
    wire = read_wire(TokenizeBody, screen(document), _RULES)
    return TokenizeRequest(
        model=wire.model,
        messages=messages_of(wire.messages or ()),
        prompt=wire.prompt,
        add_special_tokens=wire.add_special_tokens,
        add_generation_prompt=wire.add_generation_prompt,
        spellings=wire.return_token_strs,
    )


def detokenize_request(document: dict[str, Any]) -> DetokenizeRequest:
    """Check and convert the body. Raises InvalidRequest with one line for each offence."""
    wire = read_wire(DetokenizeBody, screen_level(document, _NOTHING, _NOTHING), ())
    return DetokenizeRequest(model=wire.model, token_ids=wire.tokens)


_RULES: Rules[TokenizeBody] = (
    (
        lambda wire: (wire.prompt is None) != (wire.messages is None),
        "prompt: send either prompt or messages",
    ),
)
