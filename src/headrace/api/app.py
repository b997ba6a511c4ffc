"""The ASGI application: the routes, and around them what happens to every exchange."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from headrace.accounts import AccountService, Anyone
from headrace.admission import Desk
from headrace.api.body import BodyReader
from headrace.api.limit_headers import RateLimits
from headrace.api.managers import Managers
from headrace.api.middleware import (
    BodyLimit,
    CleanPath,
    Cors,
    HostCheck,
    Problems,
    RequestId,
)
from headrace.api.money_calls import MONEY_CALLS
from headrace.api.organisation import Money, Organisation
from headrace.api.organisation_calls import CALLS
from headrace.api.peer import Peer
from headrace.api.pipeline import Pipeline, Rules
from headrace.api.record import OTHER, Record
from headrace.api.repeats import Repeats
from headrace.api.routes import api_routes
from headrace.api.scraping import metrics_route
from headrace.api.server_calls import SERVER_CALLS
from headrace.api.service_log import ServiceLog
from headrace.api.sessions import SessionRoutes, no_accounts
from headrace.api.sse import KEEP_ALIVE_S
from headrace.api.status import status_route
from headrace.api.usage_export import usage_export
from headrace.clock import Clock
from headrace.config import Config, MetricsFor
from headrace.errors import MethodNotAllowed, RequestError, UnknownPath
from headrace.gateway.base import Provider
from headrace.metering import Books, Meter, PriceList, Unmetered, new_entry_id
from headrace.store import SqliteStore
from headrace.telemetry.metrics import Metrics, ReadStats

SMALL_BODY_BYTES = 16 * 1024  # of log-ins and of what manages accounts


class App:
    """The application, and what its server may tell it: other settings, and to take no new work."""

    def __init__(
        self,
        inner: Starlette,
        pipeline: Pipeline,
        service: ServiceLog,
        follow: Callable[[Config], None],
    ) -> None:
        self.service = service  # its `keep` runs beside the server
        self._inner = inner
        self._pipeline = pipeline
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange; `scope["state"]["wire"]` is for what a stream goes on with."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["wire"] = send
        await self._inner(scope, receive, send)

    def drain(self) -> None:
        """Take no new work; what runs may finish."""
        self._pipeline.drain()

    def follow(self, config: Config) -> None:
        """Go by these settings from the next request on, as far as they are live.

        Raises ConfigError, and changes nothing, when they cannot be in force.
        """
        self._follow(config)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """All addresses."""
        return self._inner.routes


def build_app(  # noqa: PLR0913 (what a server is made of)
    provider: Provider,
    accounts: AccountService | None,
    config: Config,
    clock: Clock,
    *,
    meter: Meter | None = None,
    pages: Sequence[BaseRoute] = (),
    read_stats: ReadStats = dict,
    open_store: Callable[[], SqliteStore] | None = None,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> App:
    """The application over a started provider; without `accounts` nobody needs a key.

    Without `meter` nothing is written down.
    `pages` are more routes, behind the same middleware: the console's. `read_stats` gives what the
    engines say about themselves, by model; `open_store` opens what outlives the process of how well
    it was.
    """
    with_keys = accounts is not None
    desk = Desk(
        clock,
        config.tiers,
        time_zone=config.limits.time_zone,
        is_open=accounts is None or not config.limits.enabled,
    )
    if meter is not None and not desk.is_open:
        desk.remember(meter.used())
    metered = meter or Unmetered()
    is_billed = accounts is not None and config.metering.enabled
    prices = PriceList(config.prices if is_billed else ())

    def follow(changed: Config) -> None:
        if is_billed:
            prices.replace(changed.prices)  # first: it may refuse
            if meter is not None:
                meter.prices.replace(changed.prices)
        desk.replace_tiers(changed.tiers)
        pipeline.rules = _rules(changed)

    pipeline = Pipeline(
        provider,
        accounts or Anyone(),
        desk,
        metered,
        clock,
        _rules(config),
    )
    metrics = Metrics(read_stats)
    service = ServiceLog(clock, read_stats, lambda: pipeline.is_ready, open_store)
    managers = None if accounts is None else Managers(accounts, config.accounts.console_hosts)
    is_for_all = config.api.metrics is MetricsFor.ALL
    routes = [
        *api_routes(
            pipeline,
            BodyReader(timeout_s=config.api.body_timeout_s, max_bytes=config.api.max_body_bytes),
            Repeats(clock, metered.status_of),
            lambda model: prices.at(model, clock.unix_s()),
            public_models=config.api.public_models,
            keep_alive_s=keep_alive_s,
        ),
        status_route(pipeline, managers, service, read_stats),
        *_account_routes(accounts, managers, config, clock, desk, pipeline, prices),
        *(
            ()
            if config.api.metrics is MetricsFor.NOBODY
            else (metrics_route(metrics, None if is_for_all else managers),)
        ),
        *pages,
    ]
    middleware = [
        Middleware(CleanPath),
        Middleware(RequestId),
        Middleware(Peer, trusted=config.api.trusted_proxies),
        Middleware(Record, clock=clock, metrics=metrics, service=service, route_of=_namer(routes)),
        Middleware(RateLimits),
        Middleware(Cors, origins=config.api.cors_origins, local_only=not with_keys),
        Middleware(Problems),
        Middleware(HostCheck, local_only=not with_keys),
        Middleware(BodyLimit, max_bytes=config.api.max_body_bytes),
    ]
    inner = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _no_route},
    )
    inner.router.redirect_slashes = False
    return App(inner, pipeline, service, follow)


def _rules(config: Config) -> Rules:
    return Rules(
        request_timeout_s=config.api.request_timeout_s,
        strict_params=config.api.strict_params,
        end_revoked_streams=config.accounts.end_revoked_streams,
    )


def _account_routes(
    accounts: AccountService | None,
    managers: Managers | None,
    config: Config,
    clock: Clock,
    desk: Desk,
    pipeline: Pipeline,
    prices: PriceList,
) -> Sequence[BaseRoute]:
    """What manages accounts; a server without keys has none to manage."""
    if accounts is None or managers is None:
        return (no_accounts(),)
    bodies = BodyReader(timeout_s=config.api.body_timeout_s, max_bytes=SMALL_BODY_BYTES)
    sessions = SessionRoutes(accounts, managers, bodies, config.accounts)
    money = Money(
        books=Books(accounts.store, clock, new_entry_id),
        prices=prices,
        desk=desk,
        models=pipeline.models_of,
    )
    routes = [
        *Organisation(accounts, managers, bodies, clock, money).routes(
            (*CALLS, *MONEY_CALLS, *SERVER_CALLS)
        ),
        usage_export(accounts, managers, money.books, clock),
        *sessions.routes(),
    ]
    if config.accounts.oidc_issuer:
        from headrace.api.oidc import Issuer, OidcRoutes  # a client of HTTP takes a while to load

        issuer = Issuer.of(config.accounts)
        routes += OidcRoutes(accounts, managers, sessions, issuer).routes()
    return routes


def _namer(routes: Sequence[BaseRoute]) -> Callable[[Scope], str]:
    """Gives the address of an exchange that was routed, as its route spells it."""
    names: dict[object, str] = {r.endpoint: r.path for r in routes if isinstance(r, Route)}
    return lambda scope: names.get(scope.get("endpoint"), OTHER)


async def _no_route(_: Request, exc: Exception) -> Response:
    raise _translated(exc) from exc


def _translated(exc: Exception) -> RequestError:
    if isinstance(exc, HTTPException) and exc.status_code == 405:
        return MethodNotAllowed((exc.headers or {}).get("Allow", ""))
    return UnknownPath(
        "There is nothing at this address: the API is under /v1, its guide at /docs."
    )
