"""One request, through all who have a say in it. The diagram of ARCHITECTURE.md, as code."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import uuid4

from headrace.accounts import Account
from headrace.api.answers import AnswerHead
from headrace.api.schemas import ChatCall, chat_call
from headrace.api.strict_json import off_loop, parse_object
from headrace.api.terms import Wishes, terms_of
from headrace.clock import Clock
from headrace.errors import Draining, UnknownModel
from headrace.gateway.base import ModelCard, Provider
from headrace.types import TokenEvent

MAX_SHOWN_CHARS = 128  # of a model's name nobody knows


class Doorkeeper(Protocol):
    """Knows callers by their keys."""

    def authenticate(self, secret: str | None) -> Account:
        """The account of a key. Raises MissingKey or Unauthenticated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An admitted request and its answer to come."""

    account: Account
    call: ChatCall
    head: AnswerHead
    admitted_s: float  # on the clock's monotonic reading
    first: TokenEvent
    events: AsyncGenerator[TokenEvent, None]  # the rest


class Pipeline:
    """Who? May it, now? Where? Each stage adds one concern and knows no other."""

    def __init__(
        self,
        provider: Provider,
        doorkeeper: Doorkeeper,
        clock: Clock,
        *,
        request_timeout_s: float = 0.0,
    ) -> None:
        """`request_timeout_s`: no answer may take longer; 0: no limit."""
        self._provider = provider
        self._doorkeeper = doorkeeper
        self._clock = clock
        self._request_timeout_s = request_timeout_s
        self._is_draining = False

    @property
    def is_ready(self) -> bool:
        """Whether a request would be taken now."""
        return self._provider.ready and not self._is_draining

    def drain(self) -> None:
        """Take no new work; what runs may finish."""
        self._is_draining = True

    @asynccontextmanager
    async def chat(
        self, key: str | None, body: bytes, wishes: Wishes
    ) -> AsyncGenerator[Answer, None]:
        """Answer the chat request in `body`; leaving the block ends the answer.

        The checks come in the order of the reference, and all before the first token: text (400),
        key (401), model (404), fields (400), terms (400, 403), then the provider's own (400, 429,
        503).
        """
        document = await parse_object(body)
        account = self._doorkeeper.authenticate(key)
        self._check_model(document)
        call = await off_loop(chat_call, document, f"chatcmpl-{uuid4()}", size=len(body))
        if self._is_draining:
            raise Draining("The server is stopping and takes no new work.")
        terms = terms_of(account, call.service_tier, wishes, self._request_timeout_s)
        request = replace(call.request, tenant=account.key_id, terms=terms)
        async with aclosing(self._provider.stream(request)) as events:
            first = await anext(events)
            yield Answer(
                account=account,
                call=call,
                head=AnswerHead(
                    id=call.request.id,
                    card=_find(self._provider.models, call.request.model),
                    created_unix=self._clock.unix_s(),
                    service_tier=call.service_tier,
                ),
                admitted_s=self._clock.now_s(),
                first=first,
                events=events,
            )

    def models(self, key: str | None) -> tuple[ModelCard, ...]:
        """The models this key may use. Raises MissingKey or Unauthenticated."""
        self._doorkeeper.authenticate(key)
        return self._provider.models

    def model(self, key: str | None, model_id: str) -> ModelCard:
        """One of them. Raises MissingKey, Unauthenticated or UnknownModel."""
        return _find(self.models(key), model_id)

    def _check_model(self, document: dict[str, Any]) -> None:
        """An unknown model is 404 before anything else; none at all is for the field checks."""
        name = document.get("model")
        if isinstance(name, str) and name:
            _find(self._provider.models, name)


def _find(cards: tuple[ModelCard, ...], model_id: str) -> ModelCard:
    for card in cards:
        if card.id == model_id:
            return card
    raise UnknownModel(model_id[:MAX_SHOWN_CHARS])
