"""A second endpoint is asked as configured, believed in nothing, and told nothing it should not."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from headrace.clock import ManualClock
from headrace.errors import EndpointFailed
from headrace.gateway.endpoint import MOST_BYTES, stream_endpoint

URL = "http://127.0.0.1:9/v1"


def ask(answer: Callable[[httpx.Request], httpx.Response], key: str = "") -> list[str]:
    async def run() -> list[str]:
        transport = httpx.MockTransport(answer)
        pieces = stream_endpoint(URL, {"model": "m"}, key, ManualClock(), transport)
        return [text async for _, text in pieces]

    return asyncio.run(run())


def chunks(*texts: object) -> bytes:
    lines = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in texts]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def test_pieces_of_text_come_in_order() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        usage = b'data: {"choices": [], "usage": {}}\n\n'
        return httpx.Response(200, content=b": alive\n\n" + usage + chunks("Hel", None, "lo"))

    assert ask(answer, key="secret") == ["Hel", "lo"]
    assert str(seen[0].url) == f"{URL}/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert json.loads(seen[0].content) == {"model": "m"}


def test_a_redirect_is_not_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "127.0.0.1"
        return httpx.Response(307, headers={"location": "http://elsewhere.example/"})

    with pytest.raises(EndpointFailed, match="answered 307"):
        ask(answer, key="secret")


@pytest.mark.parametrize(
    "content",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"choices": [1]}\n\n',
        b'data: {"choices": [{"delta": 5}]}\n\n',
        b"data: " + b"x" * (MOST_BYTES + 1),
        chunks("x") * (MOST_BYTES // 40),
    ],
)
def test_what_is_no_chat_stream_or_has_no_end_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(EndpointFailed):
        ask(lambda _: httpx.Response(200, content=content))


def test_a_refusal_tells_its_status_and_nothing_that_was_said() -> None:
    with pytest.raises(EndpointFailed) as caught:
        ask(lambda _: httpx.Response(401, content=b"your key hunter2 is wrong"))
    assert "401" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_nobody_there_is_an_error_in_words() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(EndpointFailed, match="does not answer"):
        ask(answer)
