"""The API's description for programs: an OpenAPI 3.1 document, made of what the server reads by.

Bodies come from the wire models, statuses from `problems`; answers are in `openapi_schemas`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from headrace import __version__
from headrace.api.body import MSGPACK_TYPES
from headrace.api.completion_schemas import CompletionRequest
from headrace.api.model_lists import FORMATS
from headrace.api.openapi_schemas import SCHEMAS, ref
from headrace.api.schemas import ChatCompletionRequest
from headrace.api.tokenize_schemas import DetokenizeBody, TokenizeBody

JSON = "application/json"
EVENTS = "text/event-stream"
TEXT = "text/plain"

_ANY = (400, 403, 413, 500)  # of every address: Host, Origin, Content-Length, a fault of ours
_KEYED = (401, 503)  # the database of keys may not answer
_WITH_BODY = (404, 408, 415)  # its model, its time, its type
_COMPLETING = (429,)

_ALLOWS_BODY = (
    "JSON or msgpack, plain or with `Content-Encoding: gzip`. A field that is null is absent. "
    "Known hints of other vendors are accepted beside these fields and named in "
    "`x-ignored-params`; all others are refused."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one address."""

    summary: str
    answer: str = ""  # the schema of a 200's JSON; "": none
    body: type[BaseModel] | None = None
    others: Mapping[int, str] = field(default_factory=dict[int, str])  # status -> type, no schema
    statuses: tuple[int, ...] = _ANY  # of errors
    parameters: tuple[Mapping[str, Any], ...] = ()
    has_key: bool = True

    def written(self) -> dict[str, Any]:
        """As the document has it."""
        responses: dict[str, Any] = {}
        if self.answer:
            responses["200"] = _response(200, {JSON: {"schema": ref(self.answer)}})
        for status, media_type in self.others.items():
            entry = responses.setdefault(str(status), _response(status, {}))
            if media_type:
                entry["content"][media_type] = {"schema": {"type": "string"}}
        for status in sorted(self.statuses):
            responses[str(status)] = _response(status, {JSON: {"schema": ref("Error")}})
        written: dict[str, Any] = {"summary": self.summary, "responses": responses}
        if self.parameters:
            written["parameters"] = list(self.parameters)
        if self.body is not None:
            kinds = (JSON, *(kind.decode() for kind in MSGPACK_TYPES))
            schema = {"schema": ref(self.body.__name__)}
            content = dict.fromkeys(kinds, schema)
            written["requestBody"] = {
                "required": True,
                "description": _ALLOWS_BODY,
                "content": content,
            }
        written["security"] = [{"key": []}] if self.has_key else []
        return written


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": content}


def _query(name: str, schema: Mapping[str, Any], about: str) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _reads(summary: str, answer: str, body: type[BaseModel]) -> Operation:
    statuses = _ANY + _KEYED + _WITH_BODY
    return Operation(summary=summary, answer=answer, body=body, statuses=statuses)


def _completes(summary: str, answer: str, body: type[BaseModel]) -> Operation:
    plain = _reads(summary, answer, body)
    return replace(plain, others={200: EVENTS}, statuses=plain.statuses + _COMPLETING)


def _lists(summary: str, *, has_key: bool) -> Operation:
    return Operation(
        summary=summary,
        answer="ModelList",
        statuses=_ANY + (_KEYED if has_key else ()),
        parameters=(_FORMAT,),
        has_key=has_key,
    )


def _shows(*, has_key: bool) -> Operation:
    return Operation(
        summary="One of them",
        answer="Model",
        statuses=(*_ANY, *(_KEYED if has_key else ()), 404),
        parameters=(_ID, _FORMAT),
        has_key=has_key,
    )


def _open(summary: str, answer: str = "Status", *, errors: tuple[int, ...] = ()) -> Operation:
    return Operation(summary=summary, answer=answer, statuses=_ANY + errors, has_key=False)


_FORMAT = _query("format", {"enum": list(FORMATS)}, "for whom the models are described")
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
            has_key=False,
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
            "schemas": {**definitions["$defs"], **SCHEMAS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
