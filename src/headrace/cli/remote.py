"""A running server as a provider, for commands that take --url."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec

from headrace.errors import ConfigError, EngineError, InvalidRequest, Unauthenticated
from headrace.types import FinishReason, Request, TokenEvent, Usage

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 60.0  # servers of ours say something every 15 s
_UNAUTHORIZED = 401


class RemoteServer:
    """Chats with an OpenAI-compatible server."""

    def __init__(self, url: str, key: str | None = None) -> None:
        base = url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(base_url=f"{base}/v1", headers=headers, timeout=timeout)
        self._url = url

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def first_model(self) -> str:
        """The id of the first model served. Raises Unauthenticated without a good key."""
        try:
            response = await self._client.get("/models")
            await _raise_for(response)
        except httpx.HTTPError as exc:
            raise ConfigError(f"no answer from {self._url}: {exc}") from exc
        return msgspec.json.decode(response.content)["data"][0]["id"]

    async def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request` there; an event is counted as one token until usage arrives."""
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "temperature": request.sampling.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        try:
            async with self._client.stream("POST", "/chat/completions", json=body) as response:
                await _raise_for(response)
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        yield _event(msgspec.json.decode(line[6:]))
        except httpx.HTTPError as exc:
            raise EngineError(f"the connection to {self._url} broke off: {exc}") from exc


def _event(chunk: Any) -> TokenEvent:
    if "error" in chunk:
        raise EngineError(chunk["error"]["message"])
    choices = chunk["choices"]
    text = (choices[0]["delta"].get("content") or "") if choices else ""
    finish = choices[0].get("finish_reason") if choices else None
    used = chunk.get("usage")
    return TokenEvent(
        text=text,
        token_ids=(0,) if text else (),
        finish=FinishReason(finish) if finish else None,
        usage=Usage(
            prompt_tokens=used["prompt_tokens"], completion_tokens=used["completion_tokens"]
        )
        if used
        else None,
    )


async def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    content = await response.aread()
    try:
        message = str(msgspec.json.decode(content)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"the server answered {response.status_code}"
    if response.status_code == _UNAUTHORIZED:
        raise Unauthenticated(message)
    raise InvalidRequest(message)
