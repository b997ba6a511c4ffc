"""One request, through all who have a say in it. The diagram of ARCHITECTURE.md, as code."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar
from uuid import uuid4

from headrace.accounts import Account
from headrace.admission import Desk
from headrace.api.answers import AnswerHead
from headrace.api.body import Body
from headrace.api.charge import Charge, payer_of
from headrace.api.headers import Caller
from headrace.api.offload import off_loop
from headrace.api.revocation import RECHECK_S, while_active
from headrace.api.schemas import StreamUsage
from headrace.api.strict_json import MAX_IDS, MAX_VALUES, parse_object
from headrace.api.terms import ServiceTier, Wishes, patience_s, terms_of
from headrace.api.tokenize_schemas import detokenize_request, tokenize_request
from headrace.clock import Clock
from headrace.errors import ContextTooLong, Draining, InvalidRequest, UnknownModel
from headrace.gateway.base import ModelCard, Provider, Tokenized
from headrace.gateway.several import stream_all
from headrace.metering import Meter, Unmetered
from headrace.types import Request, TokenEvent

MAX_SHOWN_CHARS = 128  # of a model's name nobody knows


class Doorkeeper(Protocol):
    """Knows callers by their keys."""

    def authenticate(self, secret: str | None, *, address: str, route: str) -> Account:
        """The account of a key. Raises MissingKey, Unauthenticated, Forbidden, TooManyAttempts."""
        ...

    def is_active(self, account: Account) -> bool:
        """Whether the key of an account would still be recognised."""
        ...


class Call(Protocol):
    """What a body of any kind asks for, understood."""

    @property
    def requests(self) -> tuple[Request, ...]:
        """One for each prompt, of one model."""
        ...

    @property
    def stream(self) -> bool:
        """Whether tokens go out as they come."""
        ...

    @property
    def stream_usage(self) -> StreamUsage:
        """Where a stream says what was used."""
        ...

    @property
    def stream_interval_s(self) -> float:
        """The least time between two writes of a stream, seconds; 0: none."""
        ...

    @property
    def service_tier(self) -> ServiceTier | None:
        """The caller's own word."""
        ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields that were accepted and mean nothing here."""
        ...

    @property
    def of_thought(self) -> tuple[str, ...]:
        """Fields that mean nothing to a model that does not think."""
        ...


C = TypeVar("C", bound=Call)
Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[C]):
    """How a route reads its bodies."""

    read: Callable[[dict[str, Any], str], C]  # the document and the answer's id; InvalidRequest
    prefix: str  # of the answer's id
    max_values: int = MAX_VALUES  # in the document


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[C]):
    """An admitted request and its answer to come."""

    account: Account
    charge: Charge  # counts tokens, and is settled with the usage
    call: C
    head: AnswerHead
    admitted_s: float  # on the clock's monotonic reading
    first: TokenEvent
    events: AsyncGenerator[TokenEvent, None]  # the rest
    ignored: tuple[str, ...]  # fields that were accepted and meant nothing to this model


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator has decided."""

    request_timeout_s: float = 0.0  # no answer may take longer; 0: no limit
    strict_params: bool = False  # fields that would be accepted and mean nothing are refused
    end_revoked_streams: bool = False  # an answer that runs ends when its key is revoked


class Pipeline:
    """Who? May it, now? Where? Each stage adds one concern and knows no other."""

    def __init__(
        self,
        provider: Provider,
        doorkeeper: Doorkeeper,
        desk: Desk,
        meter: Meter | Unmetered,
        clock: Clock,
        rules: Rules,
    ) -> None:
        self._provider = provider
        self._doorkeeper = doorkeeper
        self._desk = desk
        self._meter = meter
        self._clock = clock
        self.rules = rules
        self._is_draining = False

    @property
    def is_ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._provider.ready and not self._is_draining

    def drain(self) -> None:
        """Take no new work; what runs may finish."""
        self._is_draining = True

    @asynccontextmanager
    async def complete(
        self, caller: Caller, body: Body, wishes: Wishes, route: Reading[C], notes: dict[str, Any]
    ) -> AsyncGenerator[Answer[C], None]:
        """Answer the request in `body`, read as its route does; leaving the block ends the answer.

        The checks come in the order of the reference, and all before the first token: text (400),
        key (401), model (404), fields (400), terms (400, 403), context (400), credit (402), limits
        (413, 429), then the provider's own (400, 503). `notes` may hold the `answer_id`. As soon as
        it is known who calls they get the caller's tier and, if there are limits, `standings`: what
        tells how they stand.
        """
        document = await parse_object(body, route.max_values)
        account = self.account(caller)
        notes["tier"] = account.tier.value
        if not self._desk.is_open:
            notes["standings"] = lambda: self._desk.standings(account, self._root(document))
        self._check_model(document, account)
        answer_id = notes.get("answer_id") or f"{route.prefix}{uuid4()}"
        call = await off_loop(route.read, document, answer_id, size=len(body.data))
        card = _find(self._provider.models, call.requests[0].model)
        ignored = call.ignored + (() if card.thinks else call.of_thought)
        if self.rules.strict_params and ignored:
            raise _unsupported(ignored)
        if self._is_draining:
            raise Draining("The server is stopping and takes no new work.")
        entitled = self._desk.entitled(account)
        terms = terms_of(
            entitled,
            call.service_tier,
            wishes,
            self.rules.request_timeout_s,
            group=account.tier.value,
            kept=self._desk.kept_from(account),
        )
        tenant = self._desk.tenant(account)
        requests = [replace(each, tenant=tenant, terms=terms) for each in call.requests]
        context = min(card.context_tokens, entitled.context_tokens or card.context_tokens)
        requests = [_fitted(await self._provider.prepared(each), context) for each in requests]
        prompt_tokens = sum(_prompt_tokens(each) for each in requests)
        most_outputs = [_most_output(each, context) for each in requests for _ in range(each.n)]
        with Charge() as charge:
            metered = await self._meter.reserve(
                payer_of(account, entitled),
                card.root,
                answer_id,
                prompt_tokens=prompt_tokens,
                most_outputs=most_outputs,
            )
            charge.add(metered)
            admission = await self._desk.admit(
                account,
                card.root,
                prompt_tokens=prompt_tokens,
                most_outputs=[min(most, metered.most) for most in most_outputs],
                patience_s=patience_s(wishes),
            )
            charge.add(admission)
            if not self._desk.is_open:
                notes["standings"] = admission.standings
            requests = [_paid(each, metered.most, context) for each in requests]
            async with aclosing(stream_all(self._provider, requests)) as events:
                first = await anext(events)
                charge.start(prompt_tokens)
                rest = events
                if self.rules.end_revoked_streams:
                    is_active = partial(self._doorkeeper.is_active, account)
                    rest = while_active(is_active, events, recheck_s=RECHECK_S)
                yield Answer(
                    account=account,
                    charge=charge,
                    call=call,
                    head=AnswerHead(
                        id=answer_id,
                        card=card,
                        created_unix=self._clock.unix_s(),
                        service_tier=call.service_tier,
                    ),
                    admitted_s=self._clock.now_s(),
                    first=first,
                    events=rest,
                    ignored=ignored,
                )

    async def tokenize(self, caller: Caller, body: Body) -> Tokenized:
        """The tokens of the prompt in `body`; the checks as in `complete`."""
        return await self._provider.tokenize(await self._small(caller, body, tokenize_request))

    async def detokenize(self, caller: Caller, body: Body) -> str:
        """The text of the token ids in `body`; the checks as in `complete`."""
        asked = await self._small(caller, body, detokenize_request)
        return await self._provider.detokenize(asked.model, asked.token_ids)

    async def _small(
        self, caller: Caller, body: Body, read: Callable[[dict[str, Any]], Asked]
    ) -> Asked:
        """What a body asks for that takes no turn at the engine."""
        document = await parse_object(body, MAX_IDS)
        self._check_model(document, self.account(caller))
        return await off_loop(read, document, size=len(body.data))

    @property
    def public_models(self) -> tuple[ModelCard, ...]:
        """The models anybody may see."""
        return tuple(card for card in self._provider.models if not card.organisations)

    def public_model(self, model_id: str) -> ModelCard:
        """One of them. Raises UnknownModel."""
        return _find(self.public_models, model_id)

    def models(self, caller: Caller) -> tuple[ModelCard, ...]:
        """The models this caller may use. Raises as `Doorkeeper.authenticate` does."""
        return self._models_of(self.account(caller))

    def model(self, caller: Caller, model_id: str) -> ModelCard:
        """One of them. Raises as `models`, and UnknownModel."""
        return _find(self.models(caller), model_id)

    def models_for(self, organisation_id: str) -> tuple[ModelCard, ...]:
        """The models that members of an organisation may know of."""
        return tuple(card for card in self._provider.models if card.is_for(organisation_id))

    def models_of(self, account: Account) -> tuple[str, ...]:
        """The models an account may use, by their own names."""
        return tuple(dict.fromkeys(card.root for card in self._models_of(account)))

    def account(self, caller: Caller) -> Account:
        """Whose key it is. Raises as `Doorkeeper.authenticate` does."""
        return self._doorkeeper.authenticate(
            caller.secret, address=caller.address, route=caller.route
        )

    def _models_of(self, account: Account) -> tuple[ModelCard, ...]:
        return tuple(
            card
            for card in self._provider.models
            if card.is_for(account.organisation_id) and account.scopes.allows_model(card.id)
        )

    def _root(self, document: dict[str, Any]) -> str:
        """The model that is asked for, without its alias; "" where there is none of that name."""
        name = document.get("model")
        return next((card.root for card in self._provider.models if card.id == name), "")

    def _check_model(self, document: dict[str, Any], account: Account) -> None:
        """A model that is unknown, or that the account may not use, is 404 before anything else;
        none at all is for the field checks."""
        name = document.get("model")
        if isinstance(name, str) and name:
            _find(self._models_of(account), name)


def _prompt_tokens(request: Request) -> int:
    return 0 if request.prompt_ids is None else len(request.prompt_ids)


def _most_output(request: Request, context_tokens: int) -> int:
    room = context_tokens - _prompt_tokens(request)
    return room if request.max_tokens is None else min(request.max_tokens, room)


def _paid(request: Request, most: int, context_tokens: int) -> Request:
    """The request with answers no longer than what is paid for."""
    if most >= _most_output(request, context_tokens):
        return request
    return replace(request, max_tokens=most)


def _fitted(request: Request, context_tokens: int) -> Request:
    """The request with an answer that fits the context. Raises ContextTooLong for a long prompt."""
    room = context_tokens - _prompt_tokens(request)
    if room < 1:
        field = "messages" if request.prompt is None else "prompt"
        raise ContextTooLong(_prompt_tokens(request), context_tokens, param=field)
    return replace(request, context_tokens=context_tokens)


def _unsupported(names: tuple[str, ...]) -> InvalidRequest:
    lines = [f"{name}: property '{name}' is unsupported" for name in names]
    return InvalidRequest("\n".join(lines), param=names[0] if len(names) == 1 else None)


def _find(cards: tuple[ModelCard, ...], model_id: str) -> ModelCard:
    for card in cards:
        if card.id == model_id:
            return card
    raise UnknownModel(model_id[:MAX_SHOWN_CHARS])
