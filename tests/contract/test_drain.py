"""What a stream sees when the server must stop before it has finished."""

import asyncio
import json
from asyncio import Task
from dataclasses import replace
from pathlib import Path
from socket import socket

import httpx

from headrace.api import HttpServer, address, bind, build_app
from headrace.backends.null import NullBackend
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.engine import Engine, EngineClient
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import bundled_model, open_model
from tests.threaded import threaded

CHAT = {
    "model": "slow",
    "messages": [{"role": "user", "content": "count"}],
    "stream": True,
    "max_tokens": 2000,
}


def slow_provider() -> LocalProvider:
    """Fifty tokens a second: 2,000 of them outlast any patience."""
    model = open_model(bundled_model())
    backend = NullBackend(model.program, num_blocks=256, steps_per_s=50)
    engine = Engine(backend, SystemClock(), max_sequences=4, max_step_tokens=64, max_waiting=4)
    client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1,))
    return LocalProvider({"slow": LocalModel(replace(model, name="slow"), client)})


async def serving(
    provider: LocalProvider, home: Path, *, drain_s: float
) -> tuple[HttpServer, socket, Task[None]]:
    """A server that is ready, where it listens, and its run."""
    await provider.start()
    app = build_app(provider, None, Config(home=home), SystemClock())
    is_ready = asyncio.Event()
    server = HttpServer(app, drain_s=drain_s, on_ready=is_ready.set, on_limit=provider.stop)
    sock = bind("127.0.0.1", 0)
    running = asyncio.create_task(server.run(sock))
    await is_ready.wait()
    return server, sock, running


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_event(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        provider = slow_provider()
        server, sock, running = await serving(provider, tmp_path, drain_s=0.05)
        lines: list[str] = []
        url = f"{address(sock)}/v1/chat/completions"
        async with httpx.AsyncClient() as client, client.stream("POST", url, json=CHAT) as answer:
            async for line in answer.aiter_lines():
                if not lines:
                    server.stop()
                if line:
                    lines.append(line)
        await running
        return lines

    lines = asyncio.run(scenario())
    assert "data: [DONE]" not in lines
    last = json.loads(lines[-1].removeprefix("data: "))
    assert last["error"]["type"] == "service_unavailable_error"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] >= len(lines) - 2 > 0
    assert all("error" not in json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_who_comes_while_it_drains_is_told_so_and_the_stream_goes_on(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[str], list[httpx.Response]]:
        provider = slow_provider()
        server, sock, running = await serving(provider, tmp_path, drain_s=60)
        lines: list[str] = []
        told: list[httpx.Response] = []
        url = address(sock)
        body = {**CHAT, "max_tokens": 60, "min_tokens": 60}
        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer,
        ):
            async for line in answer.aiter_lines():
                if line and not lines:
                    server.stop()
                if len(lines) == 40 and not told:  # most of a second later: it has begun to drain
                    async with httpx.AsyncClient() as newcomer:  # on a connection of its own
                        told.append(await newcomer.get(f"{url}/health/live"))
                        told.append(await newcomer.get(f"{url}/health/ready"))
                        told.append(await newcomer.post(f"{url}/v1/chat/completions", json=CHAT))
                if line:
                    lines.append(line)
        await running
        await provider.stop()
        return lines, told

    lines, told = asyncio.run(scenario())
    assert lines[-1] == "data: [DONE]"
    assert [got.status_code for got in told] == [200, 503, 503]
    assert told[2].headers["retry-after"] == "1"


def test_a_second_stop_does_not_wait_for_the_stream(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        provider = slow_provider()
        server, sock, running = await serving(provider, tmp_path, drain_s=3_600)
        lines: list[str] = []
        url = f"{address(sock)}/v1/chat/completions"
        async with httpx.AsyncClient() as client, client.stream("POST", url, json=CHAT) as answer:
            async for line in answer.aiter_lines():
                lines += [line] if line else []
                if len(lines) in (1, 2):
                    server.stop()
                if len(lines) == 3:
                    await running  # although the stream has not ended
                    break
        await provider.stop()
        return lines

    lines = asyncio.run(scenario())
    assert len(lines) == 3
    assert "data: [DONE]" not in lines
