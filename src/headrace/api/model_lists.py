"""Models as the lists show them, with what they cost: one form for each kind of reader."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from headrace.api.wire import printable
from headrace.errors import InvalidRequest
from headrace.gateway.base import ModelCard
from headrace.metering import Price

DEFAULT = "default"

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "seed",
    "stop",
    "max_tokens",
)


def model_object(card: ModelCard, _: Price) -> dict[str, Any]:
    """A model in GET /v1/models: the usual four fields, and the facts the console shows.

    `root` is the model's own id, which differs from `id` for an alias.
    """
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "root": card.root,
        "context_length": card.context_tokens,
        "parameters": card.parameters,
        "backend": card.backend,
    }


def public_object(card: ModelCard, price: Price) -> dict[str, Any]:
    """A model in GET /public/v1/models."""
    return {
        "id": card.id,
        "object": "model",
        "name": card.id,
        "description": _description(card),
        "owned_by": card.owned_by,
        "created": card.created,
        "pricing": {
            "prompt": _a_token(price.input_micros),
            "completion": _a_token(price.output_micros),
        },
        "capabilities": {
            "streaming": True,
            "function_calling": True,
            "tools": True,
            "tool_choice": True,
            "parallel_tool_calls": True,
            "structured_outputs": True,
            "json_mode": True,
            "response_format": True,
            "reasoning": card.thinks,
            "vision": False,
        },
        "supported_parameters": {
            "temperature": True,
            "top_p": True,
            "seed": True,
            "stop": True,
            "max_completion_tokens": True,
            "frequency_penalty": True,
            "presence_penalty": True,
            "repetition_penalty": False,
            "logit_bias": True,
            "logprobs": True,
            "top_logprobs": True,
        },
        "architecture": {"modality": "text", "tokenizer": "other"},
        "limits": {
            "max_context_length": card.context_tokens,
            "max_completion_tokens": card.context_tokens,
        },
        "deprecated": False,
        "preview": False,
        **_known(quantization=card.quantization, hugging_face_id=card.hugging_face_id),
    }


def openrouter_object(card: ModelCard, price: Price) -> dict[str, Any]:
    """A model with `format=openrouter`; every price is a text, US dollars for a token."""
    return {
        "id": card.id,
        "name": card.id,
        "created": card.created,
        "context_length": card.context_tokens,
        "max_output_length": card.context_tokens,
        "pricing": {
            "prompt": _a_token(price.input_micros),
            "completion": _a_token(price.output_micros),
            "image": "0",
            "request": "0",
            "input_cache_read": _a_token(price.cached_micros),
            "input_cache_write": "0",
        },
        "description": _description(card),
        "hugging_face_id": card.hugging_face_id,
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "quantization": card.quantization or "unknown",
        "supported_features": [
            "tools",
            "json_mode",
            "structured_outputs",
            *(["reasoning"] if card.thinks else []),
        ],
        "supported_sampling_parameters": list(_SAMPLING),
        "datacenters": [],
        "openrouter": {"slug": card.id},
    }


def huggingface_object(card: ModelCard, price: Price) -> dict[str, Any]:
    """A model with `format=huggingface`; prices are numbers, US dollars for a million tokens."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "context_length": card.context_tokens,
        "pricing": {"input": price.input_micros / 1e6, "output": price.output_micros / 1e6},
        "capabilities": {
            "function_calling": True,
            "streaming": True,
            "structured_outputs": True,
            "vision": False,
        },
        "hugging_face_id": card.hugging_face_id,
    }


Form = Callable[[ModelCard, Price], dict[str, Any]]

_FORMS: Mapping[str, Form] = {
    "openrouter": openrouter_object,
    "huggingface": huggingface_object,
}
FORMATS = (DEFAULT, *_FORMS)


def form_of(word: str | None, default: Form) -> Form:
    """How `?format=` wants a model. Raises InvalidRequest for a word we do not know."""
    if word in (None, DEFAULT):
        return default
    if word not in _FORMS:
        raise InvalidRequest(
            f"format: must be one of {', '.join(FORMATS)}, not '{printable(word)}'", param="format"
        )
    return _FORMS[word]


def list_of(objects: Sequence[dict[str, Any]], word: str | None) -> dict[str, Any]:
    """The list itself; OpenRouter's has no name."""
    named = {} if word == "openrouter" else {"object": "list"}
    return {**named, "data": list(objects)}


def _a_token(micros: int) -> str:
    """Micro-dollars for a million tokens as dollars for one."""
    return f"{Decimal(micros).scaleb(-12).normalize():f}"


def _description(card: ModelCard) -> str:
    return card.description or f"{card.root}, served by Headrace"


def _known(**words: str) -> dict[str, str]:
    return {name: word for name, word in words.items() if word}
