"""The organisation API: who asks, for what, and the answer; `organisation_calls` has the calls."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.accounts import Account, AccountService, Actor
from headrace.admission import Desk
from headrace.api.answers import PRIVATE, JsonResponse
from headrace.api.body import BodyReader
from headrace.api.managers import Managers
from headrace.api.organisation_objects import Object, checked_limit, invite_object, page
from headrace.api.organisation_schemas import B, Nothing, read_body
from headrace.api.strict_json import parse_object
from headrace.clock import Clock
from headrace.metering import Books, PriceList
from headrace.store import InviteRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What use is measured by, and what it costs."""

    books: Books
    prices: PriceList
    desk: Desk
    models: Callable[[Account], tuple[str, ...]]  # that an account may use, by their own names


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for, beside its body, and of whom."""

    accounts: AccountService
    money: Money
    actor: Actor
    ids: Mapping[str, str]  # of the address
    query: QueryParams
    now_unix: float

    @property
    def after(self) -> str | None:
        """The id after which a list goes on."""
        return self.query.get("after")

    @property
    def limit(self) -> int:
        """How many of a list are asked for. Raises InvalidRequest."""
        return checked_limit(self.query.get("limit"))

    def listed(self, items: Sequence[Any], form: Callable[[Any], Object]) -> Object:
        """The part of a list that is asked for."""
        return page(items, form, after=self.after, limit=self.limit)

    def invite(self, record: InviteRecord) -> Object:
        """An invitation, as it stands now."""
        return invite_object(record, self.now_unix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[B]):
    """One method of one address. `work` runs on a thread: its commit takes milliseconds."""

    method: str
    path: str
    summary: str
    answer: str  # its schema
    work: Callable[[Asked, B], Object]
    body: type[B]
    parameters: tuple[Mapping[str, Any], ...] = ()  # of its query
    is_list: bool = False  # whether its answer has pages, as `Asked.listed` makes them

    @property
    def takes_body(self) -> bool:
        """Whether it reads one."""
        return self.body is not Nothing


ROOT = "/v1/organization"


def get(
    path: str,
    summary: str,
    answer: str,
    work: Callable[[Asked], Object],
    *,
    parameters: tuple[Mapping[str, Any], ...] = (),
    is_list: bool = False,
) -> Call[Nothing]:
    """A call that reads; `path` follows ROOT, as in the next two."""
    call = bare("GET", path, summary, answer, work)
    return replace(call, parameters=parameters, is_list=is_list)


def bare(
    method: str, path: str, summary: str, answer: str, work: Callable[[Asked], Object]
) -> Call[Nothing]:
    """A call without a body."""
    return Call(
        method=method,
        path=ROOT + path,
        summary=summary,
        answer=answer,
        work=lambda asked, _: work(asked),
        body=Nothing,
    )


def post(
    path: str, summary: str, answer: str, body: type[B], work: Callable[[Asked, B], Object]
) -> Call[B]:
    """A call that makes or changes something."""
    return Call(
        method="POST", path=ROOT + path, summary=summary, answer=answer, work=work, body=body
    )


class Organisation:
    """Answers the calls."""

    def __init__(
        self,
        accounts: AccountService,
        managers: Managers,
        bodies: BodyReader,
        clock: Clock,
        money: Money,
    ) -> None:
        self._accounts = accounts
        self._money = money
        self._managers = managers
        self._bodies = bodies
        self._clock = clock

    def routes(self, calls: Sequence[Call[Any]]) -> Sequence[BaseRoute]:
        """A route for each address, with all its methods."""
        paths = dict.fromkeys(call.path for call in calls)
        return [
            self._route(path, {call.method: call for call in calls if call.path == path})
            for path in paths
        ]

    def _route(self, path: str, by_method: Mapping[str, Call[Any]]) -> BaseRoute:
        async def endpoint(request: Request) -> Response:
            call = by_method["GET" if request.method == "HEAD" else request.method]
            return JsonResponse(await self._answer(call, request), headers=PRIVATE)

        return Route(path, endpoint, methods=list(by_method))

    async def _answer(self, call: Call[B], request: Request) -> Object:
        """First who asks, then what; whether he may is for the accounts to say."""
        actor = self._managers.actor(request)
        document: dict[str, Any] = {}
        if call.takes_body:
            body = await self._bodies.read(request.scope, request.receive)
            document = await parse_object(body)
        asked = Asked(
            accounts=self._accounts,
            money=self._money,
            actor=actor,
            ids=request.path_params,
            query=request.query_params,
            now_unix=self._clock.unix_s(),
        )
        return await asyncio.to_thread(call.work, asked, read_body(call.body, document))
