"""The local engine as a provider: text in front, token ids behind.

Chat template, tokenizing, detokenizing and stop strings happen here, on the event loop's side; the
engine sees token ids only.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

import headrace.errors as errors
from headrace.engine import EngineThread
from headrace.engine.messages import Accepted, Cancel, Failed, Submit, ToFront, Tokens
from headrace.gateway.answer import Answer
from headrace.gateway.base import ModelCard
from headrace.model import LanguageModel
from headrace.types import Message, Request, Role, TokenEvent

Number = TypeVar("Number", int, float)

_HELLO = (Message(role=Role.USER, content="Hello"),)
LONG_TEXT_CHARS = 20_000  # tokenized off the event loop above this; about 5 ms of work


class LocalModel:
    """One model, its engine, and the streams that wait for its tokens."""

    def __init__(
        self,
        model: LanguageModel,
        card: ModelCard,
        make_thread: Callable[[Callable[[], None]], EngineThread],
        *,
        draw_seed: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        """`make_thread(wake)` gives the engine's thread, not yet started."""
        self.card = card
        self._model = model
        self._thread = make_thread(self._wake)
        self._draw_seed = draw_seed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailboxes: dict[str, _Mailbox] = {}

    @property
    def is_alive(self) -> bool:
        """Whether the engine runs."""
        return self._loop is not None and self._thread.is_alive

    async def start(self) -> None:
        """Start the engine and see it decode; its tokens arrive on this event loop.

        It reads a greeting and gives two tokens, so that no caller pays for first times.
        Raises EngineError when it cannot: a model that does not decode is not ready.
        """
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        probe = Submit(
            id="start",
            prompt=self._greeting(),
            max_tokens=2,
            stop_ids=(),
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            seed=0,
        )
        async with aclosing(self._run(probe)) as messages:
            async for _ in messages:
                pass

    def stop(self) -> None:
        """Stop the engine; every stream that still waits ends with Draining."""
        self._thread.stop()
        for request_id, mailbox in self._mailboxes.items():
            mailbox.put(Failed(id=request_id, error="Draining", message="the server is stopping"))

    async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request`; see `gateway.base.Provider.stream`."""
        prompt = await self._tokenize(request)
        room = self.card.context_tokens - len(prompt)
        if room < 1:
            raise errors.ContextTooLong(len(prompt), self.card.context_tokens)
        answer = Answer(
            self._model.tokenizer,
            prompt_tokens=len(prompt),
            stop=request.stop,
            has_logprobs=request.logprobs is not None,
        )
        async with aclosing(self._run(self._submit(request, prompt, room))) as messages:
            async for message in messages:
                if isinstance(message, Accepted):
                    yield TokenEvent(text="", usage=answer.usage())
                    continue
                event = answer.take(message)
                yield event
                if event.finish is not None:
                    return

    async def _run(self, asked: Submit) -> AsyncGenerator[Accepted | Tokens, None]:
        """What the engine says of `asked`, up to its end; leaving early cancels it."""
        mailbox = self._mailboxes[asked.id] = _Mailbox()
        is_open = True  # whether the engine still works for us
        try:
            self._thread.send(asked)
            while is_open:
                for message in await mailbox.take():
                    if isinstance(message, Failed):
                        is_open = False
                        raise _error(message)
                    if isinstance(message, Tokens):
                        is_open = message.finish is None
                    yield message
        finally:
            del self._mailboxes[asked.id]
            if is_open:
                self._thread.send(Cancel(id=asked.id))

    def _greeting(self) -> tuple[int, ...]:
        """A short prompt that fits the context; one token for a model without a chat template."""
        try:
            greeting = self._model.chat_template.render_ids(_HELLO)
        except errors.InvalidRequest:
            return (0,)
        return tuple(greeting[: self.card.context_tokens - 2])

    async def _tokenize(self, request: Request) -> list[int]:
        render = self._model.chat_template.render_ids
        if sum(len(message.content) for message in request.messages) < LONG_TEXT_CHARS:
            return render(request.messages)
        return await asyncio.to_thread(render, request.messages)

    def _submit(self, request: Request, prompt: list[int], room: int) -> Submit:
        sampling, default = request.sampling, self._model.default_sampling
        seed = self._draw_seed() if sampling.seed is None else sampling.seed
        vocab = self._model.program.vocab_size
        for token_id, _ in sampling.logit_bias:
            if token_id >= vocab:
                raise errors.InvalidRequest(
                    f"logit_bias: {token_id} is no token of this model, whose last is {vocab - 1}",
                    param="logit_bias",
                )
        most = room if request.max_tokens is None else min(request.max_tokens, room)
        return Submit(
            id=request.id,
            prompt=tuple(prompt),
            max_tokens=most,
            stop_ids=self._model.stop_ids,
            temperature=_first(sampling.temperature, default.temperature, 1.0),
            top_k=min(_first(sampling.top_k, default.top_k, 0), self._model.program.vocab_size),
            top_p=_first(sampling.top_p, default.top_p, 1.0),
            min_p=_first(sampling.min_p, default.min_p, 0.0),
            seed=seed % (1 << 64),
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            logit_bias=sampling.logit_bias,
            min_tokens=most if request.min_tokens is None else min(request.min_tokens, most),
            logprobs=-1 if request.logprobs is None else request.logprobs,
            salt=request.tenant,
        )

    def _wake(self) -> None:
        assert self._loop is not None, "the engine spoke before it was started"
        self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        for message in self._thread.receive():
            mailbox = self._mailboxes.get(message.id)
            if mailbox is not None:  # None: the client left, the engine does not know yet
                mailbox.put(message)


class LocalProvider:
    """The models of this machine, by name."""

    def __init__(self, models: dict[str, LocalModel], *, close: Callable[[], None]) -> None:
        """`close` frees the backends; called once, after the engines have stopped."""
        self._models = models
        self._close = close

    @property
    def models(self) -> tuple[ModelCard, ...]:
        """The models served, in the order they were named."""
        return tuple(model.card for model in self._models.values())

    @property
    def ready(self) -> bool:
        """Whether every engine runs."""
        return all(model.is_alive for model in self._models.values())

    async def start(self) -> None:
        """Start the engines; returns when each has decoded."""
        for model in self._models.values():
            await model.start()

    async def stop(self) -> None:
        """Stop the engines and free their memory. May be called twice."""
        for model in self._models.values():
            model.stop()
        self._close()

    def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request`; see `gateway.base.Provider.stream`."""
        if request.model not in self._models:
            raise errors.UnknownModel(request.model)
        return self._models[request.model].stream(request)


class _Mailbox:
    """Messages for one stream. One reader; everything on the event loop's thread."""

    def __init__(self) -> None:
        self._messages: list[ToFront] = []
        self._reader: asyncio.Future[None] | None = None

    def put(self, message: ToFront) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def take(self) -> list[ToFront]:
        """All that wait, at least one."""
        if not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
            self._reader = None
        messages, self._messages = self._messages, []
        return messages


def _first(asked: Number | None, checkpoint: Number | None, otherwise: Number) -> Number:
    """What the caller asked for, else what the checkpoint suggests, else the plain value."""
    if asked is not None:
        return asked
    return otherwise if checkpoint is None else checkpoint


_ERRORS = {
    error.__name__: error
    for error in (
        errors.InvalidRequest,
        errors.QueueFull,
        errors.Draining,
        errors.BackendError,
        errors.EngineError,
    )
}


def _error(message: Failed) -> errors.HeadraceError:
    return _ERRORS.get(message.error, errors.EngineError)(message.message)
