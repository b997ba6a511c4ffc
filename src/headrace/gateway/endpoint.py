"""One more server to compare with: a chat stream of any OpenAI-compatible endpoint, as text."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx

from headrace.clock import Clock
from headrace.errors import EndpointFailed

MOST_BYTES = 1 << 20  # of an answer
WAIT_S = 30.0  # for the next bytes


async def stream_endpoint(
    url: str,
    body: dict[str, Any],
    key: str,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[tuple[float, str], None]:
    """Pieces of text as they come, each with the seconds since the request was sent.

    Redirects are not followed and cookies not kept; `key` goes to `url` alone. Raises
    EndpointFailed, which tells nothing that came from there.
    """
    headers = {"authorization": f"Bearer {key}"} if key else {}
    sent_s = clock.now_s()
    try:
        async with (
            httpx.AsyncClient(timeout=WAIT_S, transport=transport, trust_env=False) as client,
            client.stream("POST", f"{url}/chat/completions", json=body, headers=headers) as got,
        ):
            if got.status_code != 200:
                raise EndpointFailed(f"The second endpoint answered {got.status_code}.")
            async with aclosing(_lines(got)) as lines:
                async for line in lines:
                    text = _text(line)
                    if text:
                        yield clock.now_s() - sent_s, text
    except httpx.HTTPError as exc:
        raise EndpointFailed("The second endpoint does not answer.") from exc


async def _lines(got: httpx.Response) -> AsyncGenerator[str, None]:
    """The answer's lines; EndpointFailed once there is too much of it."""
    rest, seen = b"", 0
    async for data in got.aiter_bytes():
        seen += len(data)
        if seen > MOST_BYTES:
            raise EndpointFailed("The second endpoint's answer is too long.")
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").strip()


def _text(line: str) -> str:
    """What a line of the stream adds to the answer's text; "" for all others."""
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return ""
    try:
        choices = json.loads(line[5:])["choices"]
        return str(choices[0]["delta"].get("content") or "") if choices else ""
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
        raise EndpointFailed("The second endpoint's answer is no chat stream.") from exc
