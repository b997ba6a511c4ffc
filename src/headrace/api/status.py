"""How the server does, for those who use it: GET /v1/status."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.api.answers import JsonResponse
from headrace.api.headers import caller_of
from headrace.api.managers import Managers
from headrace.api.pipeline import Pipeline
from headrace.api.service_log import KEPT_S, ServiceLog
from headrace.errors import Forbidden, MissingKey
from headrace.gateway.base import ModelCard
from headrace.telemetry.metrics import ReadStats
from headrace.telemetry.service_hour import ServiceHour, Spread

_DAY_S = 86_400
_NOW_TICKS = 5  # looks that the present speed is the mean of


def status_route(
    pipeline: Pipeline, managers: Managers | None, service: ServiceLog, read_stats: ReadStats
) -> BaseRoute:
    """What a caller's models do now, and how well they have served: counts and times, no callers.

    A caller has a key of any kind, or a session.
    """

    def models(request: Request) -> Sequence[ModelCard]:
        try:
            return pipeline.models(caller_of(request.scope))
        except (MissingKey, Forbidden):
            if managers is None:
                raise
            return pipeline.models_for(managers.actor(request).organisation_id)

    async def status(request: Request) -> Response:
        cards = [card for card in models(request) if not card.alias_of]
        stats = read_stats()
        watched = service.watched
        answer = {
            "object": "status",
            "ready": pipeline.is_ready,
            "window_days": KEPT_S // _DAY_S,
            "since": None if watched is None else watched.since_unix,
            "availability": None
            if watched is None or watched.elapsed_s <= 0
            else watched.up_s / watched.elapsed_s,
            "refused": service.month().failed,
            "models": [_model(card, service, stats) for card in cards],
        }
        return JsonResponse(answer, headers={"cache-control": "no-store"})

    return Route("/v1/status", status)


def _model(card: ModelCard, service: ServiceLog, stats: Mapping[str, object]) -> dict[str, Any]:
    told = stats.get(card.id)
    blocks = int(getattr(told, "total_blocks", 0))
    speeds = service.speeds(card.id)
    recent = speeds[-_NOW_TICKS:]
    return {
        "id": card.id,
        "backend": card.backend,
        "running": int(getattr(told, "running", 0)),
        "waiting": int(getattr(told, "waiting", 0)),
        "cache_used": 1 - int(getattr(told, "free_blocks", 0)) / blocks if blocks else 0.0,
        "tokens_per_second": sum(recent) / len(recent) if recent else 0.0,
        "last_minute": speeds,
        "last_hours": figures(service.last_hour(card.id)),
        "last_30_days": figures(service.month(card.id)),
    }


def figures(hour: ServiceHour) -> dict[str, Any]:
    """What of it is told: seconds, and tokens a second of a stream."""
    asked = hour.answered + hour.failed
    return {
        "answered": hour.answered,
        "failed": hour.failed,
        "success": hour.answered / asked if asked else None,
        "tokens": hour.tokens,
        "engine_restarts": hour.restarts,
        "time_to_first_token_s": _percentiles(hour.first_token),
        "request_s": _percentiles(hour.total),
        "tokens_per_second": {
            # The slow end of the speeds is the long end of the gaps.
            name: None if gap is None else 1 / gap
            for name, gap in (("p50", hour.gap.quantile(0.5)), ("p1", hour.gap.quantile(0.99)))
        },
    }


def _percentiles(spread: Spread) -> dict[str, float | None]:
    return {f"p{percent}": spread.quantile(percent / 100) for percent in (50, 90, 99)}
