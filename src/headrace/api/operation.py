"""One method of one address, as the OpenAPI document has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from headrace.api.body import MSGPACK_TYPES
from headrace.api.openapi_schemas import ref

JSON = "application/json"

ANY = (400, 403, 413, 500)  # of every address: Host, Origin, Content-Length, a fault of ours
KEYED = (401, 429, 503)  # wrong keys slow down; the database of keys may not answer

_ALLOWS_BODY = (
    "JSON or msgpack, plain or with `Content-Encoding: gzip`. A field that is null is absent. "
)
_ALLOWS_HINTS = (
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
    statuses: tuple[int, ...] = ANY  # of errors
    parameters: tuple[Mapping[str, Any], ...] = ()
    has_key: bool = True
    has_session: bool = False  # that of a user serves as well, or alone

    @property
    def is_inference(self) -> bool:
        """Whether a key of a project, and nothing else, opens it."""
        return self.has_key and not self.has_session

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
                "description": _ALLOWS_BODY + (_ALLOWS_HINTS if self.is_inference else ""),
                "content": content,
            }
        ways = {"key": self.has_key, "session": self.has_session}
        written["security"] = [{name: []} for name, is_one in ways.items() if is_one]
        return written


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": content}


def query(name: str, schema: Mapping[str, Any], about: str) -> Mapping[str, Any]:
    """A parameter of the query."""
    return {"name": name, "in": "query", "schema": schema, "description": about}
