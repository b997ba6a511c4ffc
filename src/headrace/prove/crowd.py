"""Clients that stream without end, and remember what they were told."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from headrace.errors import BackendError

MOST_TOKENS = 200  # of an answer


@dataclass(slots=True)
class Told:
    """What one client was told about one request."""

    id: str = ""
    tokens: int = 0
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    is_whole: bool = False


class Crowd:
    """Each client asks, reads the answer to its end, and asks again."""

    def __init__(self, url: str, key: str, rng: random.Random, *, clients: int, model: str) -> None:
        self._url = url
        self._key = key
        self._rng = rng
        self._clients = clients
        self._model = model
        self._events = 0
        self._awaited: dict[int, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.told: list[Told] = []

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """All of them at work, until the block is left or the server is gone."""
        async with httpx.AsyncClient(
            base_url=self._url, headers={"authorization": f"Bearer {self._key}"}, timeout=60
        ) as client:
            self._tasks = [asyncio.create_task(self._ask_on(client)) for _ in range(self._clients)]
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if not isinstance(error, asyncio.CancelledError | httpx.TransportError):
                raise BackendError(f"a client ended: {error}")

    async def events(self, more: int) -> None:
        """Until so many more events have come to all of them together.

        Raises BackendError when one of them ends before.
        """
        come = self._awaited.setdefault(self._events + more, asyncio.Event())
        waiting = asyncio.create_task(come.wait())
        done, _ = await asyncio.wait((waiting, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
        if waiting not in done:
            waiting.cancel()
            raise BackendError(f"a client ended: {done.pop().exception()}")

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        while True:
            told = Told()
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": "x" * self._rng.randint(1, 400)}],
                "max_tokens": self._rng.randint(1, MOST_TOKENS),
                "min_tokens": 1,
                "stream": True,
                "logprobs": True,  # one for each token, whether it wrote text or not
            }
            self.told.append(told)
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    await response.aread()
                    if response.status_code not in (500, 503):
                        raise BackendError(f"an answer of status {response.status_code}")
                    continue
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        self._hear(told, json.loads(line[6:]))

    def _hear(self, told: Told, chunk: dict[str, Any]) -> None:
        told.id = told.id or chunk.get("id", "")
        told.usage = chunk.get("usage") or told.usage
        for choice in chunk["choices"]:
            told.tokens += len(choice["logprobs"]["content"]) if choice["logprobs"] else 0
            told.is_whole = told.is_whole or choice["finish_reason"] is not None
        self._events += 1
        awaited = self._awaited.pop(self._events, None)
        if awaited is not None:
            awaited.set()
