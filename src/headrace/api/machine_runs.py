"""What the page of several machines asks for: which are there, and an answer of one of them."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

import msgspec
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from headrace.accounts import AccountService, Permission
from headrace.api.answers import PRIVATE, JsonResponse
from headrace.api.body import BodyReader
from headrace.api.managers import Managers
from headrace.api.organisation_schemas import read_body
from headrace.api.problems import as_ours, body_of
from headrace.api.strict_json import parse_object
from headrace.api.wire import Wire, printable
from headrace.config import Config
from headrace.errors import HeadraceError, UnknownModel
from headrace.gateway.machines import MOST_TOKENS, Ending, Machines, Piece

LIST = "/console/machines/list.json"
RUN = "/console/machines/run"
_BODY_BYTES = 16 * 1024
_BODY_S = 10.0


class RunBody(Wire):
    """A prompt for one machine."""

    model: Annotated[str, Field(max_length=200)]
    machine: Annotated[str, Field(max_length=16)]
    prompt: Annotated[str, Field(min_length=1, max_length=4_000)]
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 32


def machine_routes(
    machines: Machines, accounts: AccountService | None, config: Config
) -> Sequence[BaseRoute]:
    """Both routes, for who may see the whole server; without accounts for everybody.

    What runs there is nobody's use: it is bounded, one answer at a time for each machine.
    """
    if not config.machines.enabled:
        return ()
    managers = None if accounts is None else Managers(accounts, config.accounts.console_hosts)
    bodies = BodyReader(timeout_s=_BODY_S, max_bytes=_BODY_BYTES)

    def check(request: Request) -> None:
        if managers is not None:
            managers.actor(request).require_of_server(Permission.SERVER_READ)

    async def listed(request: Request) -> Response:
        check(request)
        names = list(machines.models)
        model = request.query_params.get("model") or (names[0] if names else "")
        if model not in machines.models:
            raise UnknownModel(printable(model))
        found = await asyncio.to_thread(machines.found_for, model)
        answer = {"model": model, "models": names, "machines": msgspec.to_builtins(found)}
        return JsonResponse(answer, headers=PRIVATE)

    async def run(request: Request) -> Response:
        check(request)
        document = await parse_object(await bodies.read(request.scope, request.receive))
        asked = read_body(RunBody, document)
        if asked.model not in machines.models:
            raise UnknownModel(printable(asked.model))
        events = machines.run(asked.model, asked.machine, asked.prompt, asked.max_tokens)
        first = await anext(events)  # what refuses it does so with a status
        lines = _lines(first, events, request.state.request_id)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=PRIVATE)

    return Route(LIST, listed), Route(RUN, run, methods=["POST"])


async def _lines(
    first: Piece | Ending, rest: AsyncGenerator[Piece | Ending, None], request_id: str
) -> AsyncGenerator[bytes, None]:
    """A JSON object a line: pieces, then the ending, or an error's body."""
    try:
        yield _line(first)
        async for event in rest:
            yield _line(event)
    except HeadraceError as exc:
        yield msgspec.json.encode(body_of(as_ours(exc), request_id)) + b"\n"
    finally:
        await rest.aclose()


def _line(event: Piece | Ending) -> bytes:
    kind = "piece" if isinstance(event, Piece) else "ending"
    line: dict[str, Any] = {kind: event}
    return msgspec.json.encode(line) + b"\n"
