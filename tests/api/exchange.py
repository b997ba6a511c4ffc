"""One ASGI exchange, driven by hand: what a test sends, and what comes back piece by piece."""

import asyncio
import json
from pathlib import Path
from typing import Any

from headrace.api import App, build_app
from headrace.clock import ManualClock
from headrace.config import ApiConfig, Config
from headrace.gateway.base import Provider
from tests.scripted import CARD


def app_of(
    provider: Provider, accounts: Any = None, *, keep_alive_s: float = 15, **api: Any
) -> App:
    config = Config(home=Path("/nonexistent"), api=ApiConfig(**api))
    return build_app(provider, accounts, config, ManualClock(), keep_alive_s=keep_alive_s)


def ask(**fields: Any) -> dict[str, Any]:
    """A chat body; fields given as `...` are left out."""
    body = {"model": CARD.id, "messages": [{"role": "user", "content": "hi"}]} | fields
    return {name: value for name, value in body.items() if value is not ...}


class Exchange:
    """One request to an application, and its response."""

    def __init__(
        self,
        app: App,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        given = {"host": "127.0.0.1:8000", "content-length": str(len(raw))}
        if raw:
            given["content-type"] = "application/json"
        given |= headers or {}
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "http.request", "body": raw, "more_body": False})
        self.messages: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self._app = app
        self._scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path.partition("?")[0],
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": path.partition("?")[2].encode(),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }

    async def run(self) -> "Exchange":
        """Drive it to its end."""
        await self._app(self._scope, self.incoming.get, self._take)
        return self

    def hang_up(self) -> None:
        """Close the client's end."""
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def wait_for(self, piece: bytes) -> None:
        """Until `piece` has come out."""
        while piece not in self.body:
            self.arrived.clear()
            await self.arrived.wait()

    async def _take(self, message: Any) -> None:
        self.messages.append(message)
        self.arrived.set()

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.messages[0]["headers"]}

    @property
    def writes(self) -> list[bytes]:
        return [
            m["body"] for m in self.messages if m["type"] == "http.response.body" and m.get("body")
        ]

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The stream's chunks. `[DONE]` must follow them, unless the last is an error."""
        lines = self.body.decode().split("\n\n")
        assert lines.pop() == ""
        assert "data: [DONE]" not in lines[:-1]
        if lines[-1] == "data: [DONE]":
            lines.pop()
        else:
            assert "error" in json.loads(lines[-1].removeprefix("data: "))
        return [json.loads(line.removeprefix("data: ")) for line in lines if line[0] != ":"]


def call(app: App, method: str, path: str, body: Any = None, **headers: str) -> Exchange:
    """One whole exchange; `_` in header names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(_call(app, method, path, body, named))


async def _call(app: App, method: str, path: str, body: Any, headers: dict[str, str]) -> Exchange:
    return await Exchange(app, method, path, body, headers).run()


def chat(app: App, **fields: Any) -> Exchange:
    """One whole chat request."""
    return call(app, "POST", "/v1/chat/completions", ask(**fields))


def complete(app: App, **fields: Any) -> Exchange:
    """One whole completions request."""
    body = {"model": CARD.id, "prompt": "Once"} | fields
    return call(app, "POST", "/v1/completions", {k: v for k, v in body.items() if v is not ...})
