"""The server's numbers, for those who run it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.accounts import Permission
from headrace.api.managers import Managers
from headrace.telemetry.metrics import CONTENT_TYPE, Metrics


def metrics_route(metrics: Metrics, managers: Managers | None) -> BaseRoute:
    """`/metrics`, for who may see the whole server; without `managers` for everybody."""

    async def numbers(request: Request) -> Response:
        if managers is not None:
            managers.actor(request).require_of_server(Permission.SERVER_READ)
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return Route("/metrics", numbers)
