"""A thousand clients that leave over real sockets, by FIN and by RST, at random moments."""

import asyncio
import gc
import json
import os
import random
import socket
import struct
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from headrace.api import HttpServer, address, bind, build_app
from headrace.backends.null import NullBackend
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.engine import Engine, EngineClient
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import bundled_model, open_model
from tests.threaded import threaded

MODEL = open_model(bundled_model())
CLIENTS = 1_000
AT_ONCE = 16
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


@contextmanager
def server(engine: Engine, home: Path) -> Generator[tuple[str, EngineClient, list[int]]]:
    """A real server over `engine`: its address, the engine's client; at the end, tasks left."""
    client = EngineClient(threaded(lambda: engine), SystemClock(), greeting=(1, 2, 3))
    provider = LocalProvider({MODEL.name: LocalModel(MODEL, client)})
    sock = bind("127.0.0.1", 0)
    is_ready = threading.Event()
    servers: list[HttpServer] = []
    tasks_left: list[int] = []

    async def nothing() -> None:
        """Nobody is left to be told."""

    async def life() -> None:
        await provider.start()
        before = len(asyncio.all_tasks())
        app = build_app(provider, None, Config(home=home), SystemClock())
        servers.append(HttpServer(app, drain_s=5, on_ready=is_ready.set, on_limit=nothing))
        await servers[0].run(sock)
        tasks_left.append(len(asyncio.all_tasks()) - before)
        await client.probe()
        await provider.stop()

    thread = threading.Thread(target=lambda: asyncio.run(life()))
    thread.start()
    assert is_ready.wait(60)
    try:
        yield address(sock), client, tasks_left
    finally:
        servers[0].stop()
        thread.join(60)
        assert not thread.is_alive()


def visit(port: int, seed: int) -> None:
    """One client: asks, reads some bytes at most, and goes."""
    chance = random.Random(seed)
    body = json.dumps(
        {
            "model": MODEL.name,
            "messages": [{"role": "user", "content": "word " * chance.randrange(1, 300)}],
            "stream": chance.random() < 0.8,
            "max_tokens": chance.randrange(1, 1_000),
        }
    ).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    head += (
        b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        % len(body)
    )
    request = head + body
    if chance.random() < 0.1:
        request = request[: chance.randrange(1, len(request))]  # leaves in mid-sentence
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        if chance.random() < 0.5:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        wire.sendall(request)
        wanted = 0 if len(request) < len(head) + len(body) else int(chance.expovariate(1 / 4_000))
        while wanted > 0 and (data := wire.recv(min(wanted, 65_536))):
            wanted -= len(data)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_thousand_hang_ups_leave_no_block_task_or_socket(tmp_path: Path) -> None:
    engine = Engine(
        NullBackend(MODEL.program, num_blocks=128, steps_per_s=5_000),
        SystemClock(),
        max_sequences=8,
        max_step_tokens=64,
        max_waiting=AT_ONCE,
    )
    seed = int.from_bytes(os.urandom(4), "little")
    print(f"seed {seed}")
    chance = random.Random(seed)
    with server(engine, tmp_path) as (url, client, tasks_left):
        port = int(url.rpartition(":")[2])
        visit(port, 0)
        before = open_files()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(
                pool.map(visit, [port] * CLIENTS, [chance.getrandbits(32) for _ in range(CLIENTS)])
            )
    assert tasks_left == [0]
    assert client.num_open == 0
    assert engine.is_idle
    engine.check_integrity()
    gc.collect()
    assert open_files() <= before
