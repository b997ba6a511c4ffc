"""The routes that complete something: a body in, an answer out, streamed or whole."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic

from starlette.types import Receive, Scope, Send

from headrace.api.answers import JsonResponse, Tally, chat_completion
from headrace.api.body import Body, BodyReader
from headrace.api.choice import Choice
from headrace.api.completion_answers import (
    CompletionChoice,
    CompletionTemplate,
    best_choices,
    text_completion,
)
from headrace.api.completion_schemas import CompletionCall, completion_call
from headrace.api.connection import Connection
from headrace.api.headers import caller_of, header
from headrace.api.pipeline import Answer, C, Pipeline, Reading
from headrace.api.problems import as_ours
from headrace.api.record import Completion
from headrace.api.repeats import First, Repeats, send_again
from headrace.api.schemas import ChatCall, chat_call
from headrace.api.sse import ChunkTemplate, EventStream
from headrace.api.strict_json import MAX_IDS
from headrace.api.terms import Wishes


@dataclass(frozen=True, slots=True)
class Completing:
    """What such a route works with."""

    pipeline: Pipeline
    bodies: BodyReader
    repeats: Repeats
    keep_alive_s: float


class Generation(ABC, Generic[C]):
    """POST to a route that completes something. What is not the same for all is abstract."""

    def __init__(self, means: Completing) -> None:
        self._means = means

    @property
    @abstractmethod
    def reading(self) -> Reading[C]:
        """How its bodies are read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then work on it for as long as the client is there."""
        body = await self._means.bodies.read(scope, receive)
        word = header(scope, b"idempotency-key")
        if word is None:
            await self._serve(body, scope, receive, send, scope["state"]["wire"])
            return
        account = self._means.pipeline.account(caller_of(scope))
        first = await self._means.repeats.begin(
            account.key_id, word, self.reading.prefix, body.data
        )
        if not isinstance(first, First):
            await send_again(first, send)
            return
        state = scope["state"]

        def is_whole() -> bool:
            tally: Tally = state["completion"].tally
            return tally.is_complete and tally.failure is None

        with first:
            state["answer_id"] = first.answer_id
            kept, wire = first.kept(send, is_whole), first.kept(state["wire"], is_whole)
            try:
                await self._serve(body, scope, receive, kept, wire, outlives=True)
            finally:
                first.has_begun = state["completion"].admitted_s is not None

    async def _serve(
        self,
        body: Body,
        scope: Scope,
        receive: Receive,
        send: Send,
        wire: Send,
        *,
        outlives: bool = False,
    ) -> None:
        """`outlives`: the answer is wanted, whether its client stays or not."""
        scope["state"]["completion"] = Completion()
        client = Connection(receive, send)
        stream = EventStream(client.send, wire)
        work = self._answer(body, scope, receive, stream, client.send)
        every_s = self._means.keep_alive_s
        await client.run(work, beat=stream.beat, every_s=every_s, outlives=outlives)

    @abstractmethod
    def template(self, answer: Answer[C], choices: int) -> ChunkTemplate:
        """The chunks of a streamed answer."""

    @abstractmethod
    async def whole(self, answer: Answer[C], tally: Tally) -> dict[str, Any]:
        """The whole answer; keeps `tally`."""

    async def _answer(
        self, body: Body, scope: Scope, receive: Receive, stream: EventStream, send: Send
    ) -> None:
        tally: Tally = scope["state"]["completion"].tally
        complete = self._means.pipeline.complete
        try:
            async with complete(
                caller_of(scope), body, _wishes(scope), self.reading, scope["state"]
            ) as answer:
                _note(scope, answer)
                tally.choices = sum(request.n for request in answer.call.requests)
                tally.charge = answer.charge
                if answer.call.stream:
                    await self._send_stream(answer, stream, tally, scope)
                else:
                    content = await self.whole(answer, tally)
                    await JsonResponse(content, headers=_ignored(answer))(scope, receive, send)
        except Exception as exc:
            tally.failure = as_ours(exc)
            raise
        finally:
            scope["state"]["log"]["completion_tokens"] = tally.completion_tokens
            scope["state"]["log"]["finish"] = tally.finish

    async def _send_stream(
        self, answer: Answer[C], stream: EventStream, tally: Tally, scope: Scope
    ) -> None:
        await stream.run(
            self.template(answer, tally.choices),
            answer.events,
            first=answer.first,
            tally=tally,
            request_id=scope["state"]["request_id"],
            headers=tuple((k.encode(), v.encode()) for k, v in _ignored(answer).items()),
            interval_s=answer.call.stream_interval_s,
        )


class ChatCompletions(Generation[ChatCall]):
    """POST /v1/chat/completions."""

    @property
    def reading(self) -> Reading[ChatCall]:
        """How its bodies are read."""
        return Reading(read=chat_call, prefix="chatcmpl-")

    def template(self, answer: Answer[ChatCall], choices: int) -> ChunkTemplate:
        """The chunks of a streamed answer."""
        return ChunkTemplate(answer.head, answer.call.stream_usage, choices)

    async def whole(self, answer: Answer[ChatCall], tally: Tally) -> dict[str, Any]:
        """The whole answer; keeps `tally`."""
        has_logprobs = answer.call.request.logprobs is not None
        choices = [Choice(index, has_logprobs=has_logprobs) for index in range(tally.choices)]
        await _collect(answer, choices, tally)
        return chat_completion(answer.head, choices, tally)


class Completions(Generation[CompletionCall]):
    """POST /v1/completions."""

    @property
    def reading(self) -> Reading[CompletionCall]:
        """How its bodies are read."""
        return Reading(read=completion_call, prefix="cmpl-", max_values=MAX_IDS)

    def template(self, answer: Answer[CompletionCall], choices: int) -> ChunkTemplate:
        """The chunks of a streamed answer."""
        call = answer.call
        return CompletionTemplate(
            answer.head, call.stream_usage, choices, raw_tokens=call.raw_tokens
        )

    async def whole(self, answer: Answer[CompletionCall], tally: Tally) -> dict[str, Any]:
        """The whole answer; keeps `tally`."""
        call = answer.call
        choices = [CompletionChoice() for _ in range(tally.choices)]
        await _collect(answer, choices, tally)
        return text_completion(
            answer.head,
            best_choices(choices, tried=call.requests[0].n, n=call.n),
            tally,
            has_logprobs=call.logprobs is not None,
            raw_tokens=call.raw_tokens,
        )


async def _collect(
    answer: Answer[C], choices: list[Choice] | list[CompletionChoice], tally: Tally
) -> None:
    """Put every event of an answer into its choice."""
    choices[answer.first.choice].add(answer.first)
    tally.add(answer.first)
    async for event in answer.events:
        choices[event.choice].add(event)
        tally.add(event)


def _ignored(answer: Answer[C]) -> dict[str, str]:
    names = answer.ignored
    return {"x-ignored-params": ", ".join(names)} if names else {}


def _note(scope: Scope, answer: Answer[C]) -> None:
    model = answer.head.card.root
    scope["state"]["log"] |= {
        "key": answer.account.key_id or "none",
        "model": model,
        "answer": answer.head.id,
        "stream": answer.call.stream,
    }
    asked: Completion = scope["state"]["completion"]
    asked.model, asked.admitted_s = model, answer.admitted_s


def _wishes(scope: Scope) -> Wishes:
    threshold = header(scope, b"queue_threshold") or header(scope, b"queue-threshold")
    return Wishes(prefer=header(scope, b"prefer") or "", queue_threshold=threshold or "")
