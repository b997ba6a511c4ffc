"""A provider that follows a script: for tests of everything above the engine."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from headrace.errors import UnknownModel
from headrace.gateway.base import ModelCard, Tokenized
from headrace.types import (
    FinishReason,
    Request,
    Timing,
    TokenEvent,
    TokenizeRequest,
    Usage,
)

CARD = ModelCard(
    id="org/scripted",
    created=1_700_000_000,
    owned_by="tests",
    context_tokens=4_096,
    parameters=1_000_000,
    backend="null",
)


class Hold:
    """A place in the script where the provider waits until it is released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._released = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self) -> None:
        """Called by the provider."""
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        await self._released.wait()

    def release(self) -> None:
        """Let the script go on; from any thread, once it has been reached."""
        assert self._loop is not None, "nobody waits here yet"
        self._loop.call_soon_threadsafe(self._released.set)


class Pause:
    """A place where the provider gives the event loop one turn, as a real one does."""


Step = str | Exception | Hold | Pause | TokenEvent


class ScriptedProvider:
    """Says its lines to every request, in order; one token a line."""

    def __init__(
        self,
        *script: Step,
        finish: FinishReason | None = FinishReason.STOP,
        card: ModelCard = CARD,
        aliases: tuple[str, ...] = (),
        greets: bool = True,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """`greets`: the first event is empty, as a local engine's is.

        `prompt_tokens`: of every prompt, once it is prepared; `cached_tokens` of them were cached.
        """
        self.models = (card, *(replace(card, id=name, alias_of=card.id) for name in aliases))
        self.ready = True
        self.requests: list[Request] = []
        self.running = 0
        self.cancelled = 0
        self._script = script
        self._finish = finish
        self._greets = greets
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens

    async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Play the script."""
        self._check(request.model)
        self.requests.append(request)
        self.running += 1
        is_over = False
        count = 0
        try:
            if self._greets and not (self._script and isinstance(self._script[0], Exception)):
                yield TokenEvent(text="")
            for step in self._script:
                match step:
                    case str():
                        count += 1
                        yield TokenEvent(text=step, token_ids=(count,))
                    case TokenEvent():
                        count += len(step.token_ids)
                        yield step
                    case Pause():
                        await asyncio.sleep(0)
                    case Hold():
                        await step.wait()
                    case Exception():
                        is_over = True
                        raise step
            is_over = True
            if self._finish is not None:
                yield TokenEvent(
                    text="",
                    finish=self._finish,
                    usage=Usage(
                        prompt_tokens=self._prompt_tokens or 7,
                        completion_tokens=count,
                        cached_tokens=self._cached_tokens,
                    ),
                    timing=Timing(queue_s=0.001, prompt_s=0.002, completion_s=0.004),
                )
        finally:
            self.running -= 1
            self.cancelled += not is_over

    async def prepared(self, request: Request) -> Request:
        """The request with as many tokens of prompt as the script says."""
        self._check(request.model)
        return replace(request, prompt_ids=range(self._prompt_tokens))

    async def tokenize(self, asked: TokenizeRequest) -> Tokenized:
        """A token for each byte of the text."""
        self._check(asked.model)
        texts = [message.content for message in asked.messages]
        data = "".join(texts if asked.prompt is None else [asked.prompt]).encode()
        return Tokenized(
            token_ids=tuple(data),
            spellings=tuple(chr(byte) for byte in data) if asked.spellings else None,
            context_tokens=self.models[0].context_tokens,
        )

    async def detokenize(self, model: str, token_ids: tuple[int, ...]) -> str:
        """The other way."""
        self._check(model)
        return bytes(token_ids).decode()

    def _check(self, model: str) -> None:
        if model not in {card.id for card in self.models}:
            raise UnknownModel(model)
