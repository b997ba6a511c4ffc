"""What stays of an exchange when it is over: a line in the log, a count in the metrics."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.api.answers import Tally
from headrace.api.service_log import ServiceLog
from headrace.clock import Clock
from headrace.errors import Draining, EngineError, HeadraceError, RequestTimeout
from headrace.telemetry.logs import Event
from headrace.telemetry.metrics import Metrics

logger = logging.getLogger("headrace.api")

QUIET_PATHS = frozenset({"/health/live", "/health/ready", "/metrics", "/v1/tcp_warming"})
NOBODY = 499  # the status of an exchange whose client left before it was answered
OTHER = "other"  # the route of an address that is none of ours

_REASONS: Mapping[type[HeadraceError], str] = {
    EngineError: "engine_failure",
    RequestTimeout: "deadline",
    Draining: "shutdown",
}
_NOT_OURS = frozenset({"disconnect", "deadline", "shutdown"})  # reasons that are no fault of ours


@dataclass(slots=True)
class Completion:
    """A completion somebody asked for, and how far it came."""

    tally: Tally = field(default_factory=Tally)
    model: str = ""
    admitted_s: float | None = None  # on the application's clock; None: not yet


class Record:
    """Writes down each exchange when it is over. Health and the like are counted, not logged.

    Routes leave facts in `scope["state"]`: fields for the log, and the `Completion` they work on.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Clock,
        metrics: Metrics,
        service: ServiceLog,
        route_of: Callable[[Scope], str],
    ) -> None:
        """`route_of` gives the address as the application spells it, one of a few."""
        self._app = app
        self._clock = clock
        self._metrics = metrics
        self._service = service
        self._route_of = route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, and time it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = NOBODY
        started_s = self._clock.now_s()

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        finally:
            ended_s = self._clock.now_s()
            self._count(scope, status, started_s, ended_s)
            if scope["path"] not in QUIET_PATHS:
                _log(scope, status, ended_s - started_s)

    def _count(self, scope: Scope, status: int, started_s: float, ended_s: float) -> None:
        state = scope["state"]
        code = str(state["log"].get("code", ""))
        self._metrics.exchange(self._route_of(scope), status, code)
        asked = cast("Completion | None", state.get("completion"))
        if asked is None:
            return
        tally, tier = asked.tally, str(state.get("tier", ""))
        if asked.admitted_s is None:
            bucket = str(state["log"].get("bucket", ""))
            self._metrics.refused(tier, code or "disconnect", bucket)
            if status >= 500:
                self._service.failed()
        elif tally.finish is None or tally.timing is None:
            reason = _reason(tally.failure)
            self._metrics.aborted(asked.model, tier, tally.usage, reason)
            if reason not in _NOT_OURS:
                self._service.failed(asked.model)
        else:
            admission_s, total_s = asked.admitted_s - started_s, ended_s - started_s
            self._metrics.completed(
                asked.model,
                tier,
                tally.usage,
                tally.timing,
                admission_s=admission_s,
                total_s=total_s,
            )
            self._service.answered(
                asked.model,
                tally.usage,
                tally.timing,
                first_s=admission_s + tally.timing.queue_s + tally.timing.prompt_s,
                total_s=total_s,
            )


def _log(scope: Scope, status: int, took_s: float) -> None:
    event = Event(
        "request",
        id=scope["state"]["request_id"],
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=took_s * 1e3,
        **scope["state"]["log"],
    )
    logger.info(event)


def _reason(failure: HeadraceError | None) -> str:
    """Why a completion broke off; without a failure its client went away."""
    if failure is None:
        return "disconnect"
    for kind, reason in _REASONS.items():
        if isinstance(failure, kind):
            return reason
    return "engine_failure" if type(failure) is HeadraceError else failure.code
