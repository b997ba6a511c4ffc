"""The addresses of the API. A route parses, calls the pipeline and sends; it holds no rule."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from headrace.api.answers import JsonResponse, Tally, chat_completion, model_object
from headrace.api.body import read_json_body
from headrace.api.choice import Choice
from headrace.api.connection import Connection
from headrace.api.middleware import header
from headrace.api.pipeline import Answer, Pipeline
from headrace.api.problems import as_ours
from headrace.api.record import Completion
from headrace.api.sse import KEEP_ALIVE_S, ChunkTemplate, EventStream
from headrace.api.terms import Wishes
from headrace.errors import Draining, InvalidRequest
from headrace.telemetry.metrics import CONTENT_TYPE, Metrics

_HELLO = "/console"


def api_routes(
    pipeline: Pipeline,
    metrics: Metrics | None,
    *,
    body_timeout_s: float,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> Sequence[BaseRoute]:
    """All routes of the API. Only those after the models answer without a key.

    Without `metrics` they have no address.
    """

    async def models(request: Request) -> Response:
        if request.query_params.get("format", "default") != "default":
            raise InvalidRequest("format: only 'default' is offered yet", param="format")
        cards = pipeline.models(_key(request.scope))
        return JsonResponse({"object": "list", "data": [model_object(card) for card in cards]})

    async def model(request: Request) -> Response:
        card = pipeline.model(_key(request.scope), request.path_params["model_id"])
        return JsonResponse(model_object(card))

    async def tcp_warming(_: Request) -> Response:
        return JsonResponse({"status": "warm"})

    async def live(_: Request) -> Response:
        return JsonResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        if not pipeline.is_ready:
            raise Draining("The server is starting or stopping.")
        return JsonResponse({"status": "ready"})

    async def hello(_: Request) -> Response:
        return RedirectResponse(_HELLO)

    async def numbers(_: Request) -> Response:
        assert metrics is not None, "the address is there without them"
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return (
        Route(
            "/v1/chat/completions",
            ChatCompletions(pipeline, body_timeout_s=body_timeout_s, keep_alive_s=keep_alive_s),
            methods=["POST"],
        ),
        Route("/v1/models", models),
        Route("/v1/models/{model_id:path}", model),
        Route("/v1/tcp_warming", tcp_warming),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/", hello),
        *(() if metrics is None else (Route("/metrics", numbers),)),
    )


class ChatCompletions:
    """POST /v1/chat/completions, streamed or whole."""

    def __init__(self, pipeline: Pipeline, *, body_timeout_s: float, keep_alive_s: float) -> None:
        self._pipeline = pipeline
        self._body_timeout_s = body_timeout_s
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then work on it for as long as the client is there."""
        scope["state"]["completion"] = Completion()
        body = await read_json_body(scope, receive, self._body_timeout_s)
        client = Connection(receive, send)
        stream = EventStream(client.send, scope["state"]["wire"])
        work = self._answer(body, scope, receive, stream, client.send)
        await client.run(work, beat=stream.beat, every_s=self._keep_alive_s)

    async def _answer(
        self, body: bytes, scope: Scope, receive: Receive, stream: EventStream, send: Send
    ) -> None:
        tally: Tally = scope["state"]["completion"].tally
        try:
            async with self._pipeline.chat(_key(scope), body, _wishes(scope)) as answer:
                _note(scope, answer)
                tally.choices = answer.call.request.n
                if answer.call.stream:
                    await _send_stream(answer, stream, tally, scope)
                else:
                    await (await _whole(answer, tally))(scope, receive, send)
        except Exception as exc:
            tally.failure = as_ours(exc)
            raise
        finally:
            scope["state"]["log"]["completion_tokens"] = tally.completion_tokens
            scope["state"]["log"]["finish"] = tally.finish


async def _send_stream(answer: Answer, stream: EventStream, tally: Tally, scope: Scope) -> None:
    await stream.run(
        ChunkTemplate(answer.head, answer.call.include_usage, tally.choices),
        answer.events,
        first=answer.first,
        tally=tally,
        request_id=scope["state"]["request_id"],
        headers=tuple((k.encode(), v.encode()) for k, v in _ignored(answer).items()),
    )


async def _whole(answer: Answer, tally: Tally) -> Response:
    has_logprobs = answer.call.request.logprobs is not None
    choices = [Choice(index, has_logprobs=has_logprobs) for index in range(tally.choices)]
    choices[answer.first.choice].add(answer.first)
    tally.add(answer.first)
    async for event in answer.events:
        choices[event.choice].add(event)
        tally.add(event)
    return JsonResponse(chat_completion(answer.head, choices, tally), headers=_ignored(answer))


def _ignored(answer: Answer) -> dict[str, str]:
    names = answer.call.ignored
    return {"x-ignored-params": ", ".join(names)} if names else {}


def _note(scope: Scope, answer: Answer) -> None:
    scope["state"]["log"] |= {
        "key": answer.account.key_id or "none",
        "model": answer.head.card.id,
        "answer": answer.head.id,
        "stream": answer.call.stream,
    }
    asked: Completion = scope["state"]["completion"]
    asked.model, asked.admitted_s = answer.head.card.id, answer.admitted_s


def _key(scope: Scope) -> str | None:
    """The secret of `Authorization: Bearer SECRET`."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, secret = value.decode("latin-1").partition(" ")
            return secret.strip() if scheme.lower() == "bearer" else None
    return None


def _wishes(scope: Scope) -> Wishes:
    threshold = header(scope, b"queue_threshold") or header(scope, b"queue-threshold")
    return Wishes(prefer=header(scope, b"prefer") or "", queue_threshold=threshold or "")
