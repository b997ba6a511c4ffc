"""The official Python client, over a real socket."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from headrace.accounts import AccountService, Tier
from headrace.errors import BackendError, ContextTooLong, QueueFull
from headrace.types import FinishReason, Request, TokenEvent, Usage
from tests.conftest import Serve
from tests.scripted import CARD, Hold, ScriptedProvider

HELLO: list[Any] = [{"role": "user", "content": "hi"}]


def client(url: str, key: str = "none", **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, **options)


def test_models_are_listed_and_retrieved(serve: Serve):
    with client(serve(ScriptedProvider())) as api:
        (model,) = api.models.list().data
        assert (model.id, model.created) == (CARD.id, CARD.created)
        assert api.models.retrieve(model.id) == model


def test_a_chat_is_answered(serve: Serve):
    with client(serve(ScriptedProvider("Hello", " there"))) as api:
        answer = api.chat.completions.create(model=CARD.id, messages=HELLO)
    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 9
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


def test_a_dialogue_goes_on_with_the_echoed_answer(serve: Serve):
    provider = ScriptedProvider("Hello")
    with client(serve(provider)) as api:
        first = api.chat.completions.create(model=CARD.id, messages=HELLO)
        echo: Any = first.choices[0].message.model_dump()
        api.chat.completions.create(model=CARD.id, messages=[*HELLO, echo, *HELLO])
    assert [m.content for m in provider.requests[1].messages] == ["hi", "Hello", "hi"]


def test_a_stream_brings_text_then_usage(serve: Serve):
    with client(serve(ScriptedProvider("Hel", "lo", " 🌊"))) as api:
        chunks = list(
            api.chat.completions.create(
                model=CARD.id,
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello 🌊"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * 4 + ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3
    assert [c.usage for c in chunks[:-1]] == [None] * 5


def test_the_accumulating_stream_helper_works(serve: Serve):
    with (
        client(serve(ScriptedProvider("a", "b"))) as api,
        api.chat.completions.stream(model=CARD.id, messages=HELLO) as stream,
    ):
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "ab"


def test_strict_validation_of_responses_passes(serve: Serve):
    with client(serve(ScriptedProvider("a")), _strict_response_validation=True) as api:
        api.models.list()
        api.chat.completions.create(model=CARD.id, messages=HELLO)
        list(api.chat.completions.create(model=CARD.id, messages=HELLO, stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_raised_as_their_classes(serve: Serve, accounts: AccountService, stream: bool):
    secret = accounts.create(name="laptop", tier=Tier.FREE).secret
    url = serve(ScriptedProvider("a"), accounts)
    with client(url, "hr-wrong") as api, pytest.raises(openai.AuthenticationError) as wrong:
        api.chat.completions.create(model=CARD.id, messages=HELLO, stream=stream)
    assert wrong.value.code == "wrong_api_key"
    with client(url, secret) as api:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            api.chat.completions.create(model="gpt-99", messages=HELLO, stream=stream)
        with pytest.raises(openai.BadRequestError, match="temperature") as bad:
            api.chat.completions.create(model=CARD.id, messages=HELLO, stream=stream, temperature=9)
        assert bad.value.param == "temperature"
        with pytest.raises(openai.NotFoundError):
            api.embeddings.create(model=CARD.id, input="x")
        accounts.revoke("laptop")
        with pytest.raises(openai.AuthenticationError):
            api.models.list()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ContextTooLong(9, 8), openai.BadRequestError, "Current length is 9 while limit is 8"),
        (QueueFull("the queue is full"), openai.InternalServerError, "the queue is full"),
        (BackendError("detail"), openai.InternalServerError, "Quote the id req_"),
    ],
)
def test_a_providers_refusal_is_raised_before_the_stream(
    serve: Serve, error: Exception, kind: type[openai.APIStatusError], said: str, stream: bool
):
    with client(serve(ScriptedProvider(error))) as api, pytest.raises(kind, match=said):
        api.chat.completions.create(model=CARD.id, messages=HELLO, stream=stream)


def test_an_error_in_the_middle_of_a_stream_is_raised(serve: Serve):
    got: list[str] = []
    with client(serve(ScriptedProvider("a", "b", BackendError("x")))) as api:
        stream = api.chat.completions.create(model=CARD.id, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="Quote the id"):
            got.extend(c.choices[0].delta.content or "" for c in stream)
    assert "".join(got) in ("", "ab")  # list.extend keeps what came before the error


def test_a_client_that_breaks_off_frees_the_request(serve: Serve):
    class Watched(ScriptedProvider):
        async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
            try:
                async for event in super().stream(request):
                    yield event
            finally:
                freed.set()

    freed = threading.Event()
    hold = Hold()
    with client(serve(Watched("a", hold))) as api:
        stream = api.chat.completions.create(model=CARD.id, messages=HELLO, stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
        assert freed.wait(timeout=30)


def test_many_requests_share_a_connection(serve: Serve):
    with client(serve(ScriptedProvider("a"))) as api:
        for _ in range(50):
            list(api.chat.completions.create(model=CARD.id, messages=HELLO, stream=True))


def test_every_answer_belongs_to_its_request(serve: Serve):
    class Echo(ScriptedProvider):
        async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
            self._script = ()
            async for event in super().stream(request):
                if event.finish is not None:
                    break
            for word in request.messages[0].content.split():
                await asyncio.sleep(0)
                yield TokenEvent(text=word + " ", token_ids=(1,))
            yield TokenEvent(
                text="",
                finish=FinishReason.STOP,
                usage=Usage(prompt_tokens=1, completion_tokens=3),
            )

    async def scenario(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x") as api:

            async def one(number: int) -> None:
                said = f"mark-{number} mark-{number} end"
                stream = await api.chat.completions.create(
                    model=CARD.id, messages=[{"role": "user", "content": said}], stream=True
                )
                text = "".join([c.choices[0].delta.content or "" async for c in stream])
                assert text.strip() == said

            await asyncio.gather(*(one(n) for n in range(100)))

    asyncio.run(scenario(serve(Echo())))
