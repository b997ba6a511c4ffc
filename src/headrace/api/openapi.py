"""The API's description for programs: an OpenAPI 3.1 document, made of what the server reads by.

Bodies come from the wire models, statuses from `problems`; answers are in `openapi_schemas`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace import __version__
from headrace.api import usage_export
from headrace.api.completion_schemas import CompletionRequest
from headrace.api.managers import COOKIE
from headrace.api.model_lists import FORMATS
from headrace.api.openapi_schemas import SCHEMAS
from headrace.api.operation import ANY, KEYED, Operation, query
from headrace.api.organisation_openapi import ORGANISATION_OPERATIONS, ORGANISATION_SCHEMAS
from headrace.api.schemas import ChatCompletionRequest
from headrace.api.tokenize_schemas import DetokenizeBody, TokenizeBody
from headrace.api.usage_query import TIME_PARAMETERS

EVENTS = "text/event-stream"
TEXT = "text/plain"

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "a repeat gets the first answer, for a day, and is not billed",
}
_WITH_BODY = (404, 408, 415)  # its model, its time, its type


def _reads(summary: str, answer: str, body: type[BaseModel]) -> Operation:
    statuses = ANY + KEYED + _WITH_BODY
    return Operation(summary=summary, answer=answer, body=body, statuses=statuses)


def _completes(summary: str, answer: str, body: type[BaseModel]) -> Operation:
    plain = _reads(summary, answer, body)
    return replace(
        plain,
        others={200: EVENTS},
        statuses=(*plain.statuses, 409),
        parameters=(_IDEMPOTENCY_KEY,),
    )


def _lists(summary: str, *, has_key: bool) -> Operation:
    return Operation(
        summary=summary,
        answer="ModelList",
        statuses=ANY + (KEYED if has_key else ()),
        parameters=(_FORMAT,),
        has_key=has_key,
    )


def _shows(*, has_key: bool) -> Operation:
    return Operation(
        summary="One of them",
        answer="Model",
        statuses=(*ANY, *(KEYED if has_key else ()), 404),
        parameters=(_ID, _FORMAT),
        has_key=has_key,
    )


def _open(summary: str, answer: str = "Status", *, errors: tuple[int, ...] = ()) -> Operation:
    return Operation(summary=summary, answer=answer, statuses=ANY + errors, has_key=False)


_FORMAT = query("format", {"enum": list(FORMATS)}, "for whom the models are described")
_ID = {
    "name": "model_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "may hold slashes, plain or encoded",
}

# address -> method -> what it does. A test compares this with the routes.
OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "/v1/chat/completions": {
        "post": _completes("Answer a dialogue", "ChatCompletion", ChatCompletionRequest)
    },
    "/v1/completions": {"post": _completes("Go on with a text", "Completion", CompletionRequest)},
    "/v1/tokenize": {"post": _reads("The tokens of a prompt", "Tokenized", TokenizeBody)},
    "/v1/detokenize": {"post": _reads("The text of tokens", "Detokenized", DetokenizeBody)},
    "/v1/models": {"get": _lists("The models this key may use", has_key=True)},
    "/v1/models/{model_id}": {"get": _shows(has_key=True)},
    "/v1/status": {
        "get": Operation(
            summary="What the models do now, and how well they have served in 30 days",
            answer="ServiceStatus",
            statuses=ANY + KEYED,
            has_session=True,
        )
    },
    "/public/v1/models": {"get": _lists("The models, for everybody", has_key=False)},
    "/public/v1/models/{model_id}": {"get": _shows(has_key=False)},
    "/v1/tcp_warming": {"get": _open("Opens a connection early")},
    "/health/live": {"get": _open("Whether the process lives")},
    "/health/ready": {"get": _open("Whether requests are taken", errors=(503,))},
    "/openapi.json": {"get": _open("This document", "Document")},
    "/": {"get": Operation(summary="Leads to the console", others={307: ""}, has_key=False)},
    "/metrics": {
        "get": Operation(
            summary="Counts and times, as Prometheus reads them",
            others={200: TEXT},
            statuses=ANY + KEYED,
            has_session=True,
        )
    },
    **ORGANISATION_OPERATIONS,
    usage_export.PATH: {
        "get": Operation(
            summary="Every usage record, a line each",
            others={200: "text/csv"},
            statuses=ANY + KEYED,
            parameters=(
                *TIME_PARAMETERS,
                query("format", {"enum": list(usage_export.FORMS)}, "csv, or JSON lines"),
            ),
            has_session=True,
        )
    },
}


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    bodies = {
        operation.body
        for methods in OPERATIONS.values()
        for operation in methods.values()
        if operation.body is not None
    }
    named = sorted(bodies, key=lambda body: body.__name__)
    _, definitions = models_json_schema(
        [(body, "validation") for body in named], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": __version__,
            "description": (
                "Inference behind the OpenAI API. Everything under `/v1` answers under "
                "`/openai/v1` and `/v1/v1`, too."
            ),
        },
        "paths": {
            path: {method: operation.written() for method, operation in methods.items()}
            for path, methods in OPERATIONS.items()
        },
        "components": {
            "schemas": {**definitions["$defs"], **SCHEMAS, **ORGANISATION_SCHEMAS},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
    }
