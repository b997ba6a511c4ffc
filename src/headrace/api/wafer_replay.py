"""What the console's wafer page plays: a model that is served, on a mesh of the reader's choice."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.api.answers import JsonResponse
from headrace.api.headers import caller_of
from headrace.api.pipeline import Doorkeeper
from headrace.api.wire import printable
from headrace.errors import ConfigError, InvalidRequest, UnknownModel
from headrace.model.program import Program

if TYPE_CHECKING:
    from headrace.backends.wafer.replay import Replay

LARGEST_SIDE = 128  # cores: chosen; what a page can draw
_KEPT = 32  # answers
_MESH, _CONTEXT = "64x64", "128"


def replay_route(programs: Mapping[str, Program], doorkeeper: Doorkeeper) -> BaseRoute:
    """GET /console/wafer/replay.json?model=&mesh=&context=, for whoever may use the models.

    `programs` by model id, the first is the default. Placing takes milliseconds, on a thread, and
    the last answers are kept.
    """

    @lru_cache(maxsize=_KEPT)
    def played(model: str, mesh: str, context: int) -> "Replay":
        # Imported by the first reader: a server starts without it.
        from headrace.backends.wafer.replay import replay
        from headrace.wafer.machine import machine_named

        return replay(programs[model], machine_named(mesh), context)

    async def send(request: Request) -> Response:
        caller = caller_of(request.scope)
        doorkeeper.authenticate(caller.secret, address=caller.address, route=caller.route)
        asked = request.query_params
        model = asked.get("model") or next(iter(programs), "")
        if model not in programs:
            raise UnknownModel(printable(model))
        mesh = _mesh(asked.get("mesh", _MESH))
        context = _context(asked.get("context", _CONTEXT), programs[model].max_positions)
        try:
            found = await asyncio.to_thread(played, model, mesh, context)
        except ConfigError as exc:  # it does not fit: the reader's choice, not a setting of ours
            raise InvalidRequest(f"mesh: {exc}", param="mesh") from exc
        return JsonResponse({"model": model, "models": list(programs), "replay": found})

    return Route("/console/wafer/replay.json", send)


def _mesh(word: str) -> str:
    columns, _, rows = word.partition("x")
    for side in (columns, rows):
        if not (side.isascii() and side.isdecimal() and len(side) <= 4):
            raise InvalidRequest(
                f"mesh: columns x rows such as 64x64, not '{printable(word)}'", param="mesh"
            )
        if not 1 <= int(side) <= LARGEST_SIDE:
            raise InvalidRequest(f"mesh: each side is 1 to {LARGEST_SIDE}", param="mesh")
    return f"{int(columns)}x{int(rows)}"


def _context(word: str, most: int) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 9 and 1 <= int(word) <= most):
        raise InvalidRequest(f"context: 1 to {most} tokens", param="context")
    return int(word)
