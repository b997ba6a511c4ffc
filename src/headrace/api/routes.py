"""The addresses of the API. A route parses, calls the pipeline and sends; it holds no rule."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from headrace.api.answers import JsonResponse
from headrace.api.body import BodyReader
from headrace.api.generation import ChatCompletions, Completing, Completions
from headrace.api.headers import caller_of
from headrace.api.model_lists import Form, form_of, list_of, model_object, public_object
from headrace.api.pipeline import Pipeline
from headrace.api.repeats import Repeats
from headrace.api.sse import KEEP_ALIVE_S
from headrace.errors import Draining
from headrace.gateway.base import ModelCard
from headrace.metering import Price

_HELLO = "/console"

PriceOf = Callable[[str], Price]


def api_routes(
    pipeline: Pipeline,
    bodies: BodyReader,
    repeats: Repeats,
    price_of: PriceOf,
    *,
    public_models: bool = True,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> Sequence[BaseRoute]:
    """All routes of the API. Only `_open_routes` and /public answer without a key.

    `price_of` is a model's price now. The public list has no address unless it is asked for.
    """
    completing = Completing(pipeline, bodies, repeats, keep_alive_s)
    return (
        Route("/v1/chat/completions", ChatCompletions(completing), methods=["POST"]),
        Route("/v1/completions", Completions(completing), methods=["POST"]),
        *_token_routes(pipeline, bodies),
        *_model_routes(pipeline, price_of),
        *(_public_routes(pipeline, price_of) if public_models else ()),
        *_open_routes(pipeline),
    )


def _token_routes(pipeline: Pipeline, bodies: BodyReader) -> Sequence[BaseRoute]:
    async def tokenize(request: Request) -> Response:
        body = await bodies.read(request.scope, request.receive)
        found = await pipeline.tokenize(caller_of(request.scope), body)
        return JsonResponse(
            {
                "count": len(found.token_ids),
                "max_model_len": found.context_tokens,
                "tokens": found.token_ids,
                "token_strs": found.spellings,
            }
        )

    async def detokenize(request: Request) -> Response:
        body = await bodies.read(request.scope, request.receive)
        return JsonResponse({"prompt": await pipeline.detokenize(caller_of(request.scope), body)})

    return (
        Route("/v1/tokenize", tokenize, methods=["POST"]),
        Route("/v1/detokenize", detokenize, methods=["POST"]),
    )


@dataclass(frozen=True, slots=True)
class _Models:
    """A list of models, and one of them."""

    all: Callable[[Request], Sequence[ModelCard]]
    one: Callable[[Request, str], ModelCard]
    form: Form
    price_of: PriceOf
    headers: dict[str, str]

    def routes(self, path: str) -> Sequence[BaseRoute]:
        """The two of them; ids may have slashes."""

        async def models(request: Request) -> Response:
            word = request.query_params.get("format")
            form = form_of(word, self.form)
            cards = self.all(request)
            objects = [form(card, self.price_of(card.root)) for card in cards]
            return JsonResponse(list_of(objects, word), headers=self.headers)

        async def model(request: Request) -> Response:
            form = form_of(request.query_params.get("format"), self.form)
            card = self.one(request, request.path_params["model_id"])
            found = form(card, self.price_of(card.root))
            return JsonResponse(found, headers=self.headers)

        return Route(path, models), Route(path + "/{model_id:path}", model)


def _model_routes(pipeline: Pipeline, price_of: PriceOf) -> Sequence[BaseRoute]:
    return _Models(
        all=lambda request: pipeline.models(caller_of(request.scope)),
        one=lambda request, model_id: pipeline.model(caller_of(request.scope), model_id),
        form=model_object,
        price_of=price_of,
        headers={},
    ).routes("/v1/models")


def _public_routes(pipeline: Pipeline, price_of: PriceOf) -> Sequence[BaseRoute]:
    return _Models(
        all=lambda _: pipeline.public_models,
        one=lambda _, model_id: pipeline.public_model(model_id),
        form=public_object,
        price_of=price_of,
        headers={"cache-control": "public, max-age=60"},
    ).routes("/public/v1/models")


def _open_routes(pipeline: Pipeline) -> Sequence[BaseRoute]:
    """What anybody may ask."""

    async def tcp_warming(_: Request) -> Response:
        return JsonResponse({"status": "warm"})

    async def live(_: Request) -> Response:
        return JsonResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        if not pipeline.is_ready:
            raise Draining("The server is starting or stopping.")
        return JsonResponse({"status": "ready"})

    async def hello(request: Request) -> Response:
        return Response() if request.method == "HEAD" else RedirectResponse(_HELLO)

    async def openapi(_: Request) -> Response:
        from headrace.api.openapi import document  # schemas of all bodies take a moment to write

        return JsonResponse(document())

    return (
        Route("/v1/tcp_warming", tcp_warming),
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/openapi.json", openapi),
        Route("/", hello),
    )
