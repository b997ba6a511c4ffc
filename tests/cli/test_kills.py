"""R1: `kill -9` of a server and of its engine while it streams to many.

Whatever a client was told, the books say the same, once.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.accounts.roles import DEFAULT_ORGANISATION
from headrace.clock import SystemClock
from headrace.store import SqliteStore, UsageRecord, ledger

LAUNCH = [sys.executable, "-m", "headrace"]
CLIENTS = 8
PAID_MICROS = 1_000_000_000
STEPS_PER_S = 400  # slow enough that the clients keep up: what was handed over was read
ONE_FLUSH = 64  # events of one write (api/sse.py)
SETTINGS = f"""
[engine]
backend = "null"
null_steps_per_s = {STEPS_PER_S}

[tiers.developer]
billing = "credit"
requests_per_minute = 0
tokens_per_minute = 0

[[prices]]
model = "headrace-mini"
input_micros = 100_000
output_micros = 600_000
"""


@dataclass(slots=True)
class Told:
    """What one client was told about one request."""

    id: str = ""
    tokens: int = 0
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    is_whole: bool = False


class Server:
    """`headrace serve` over one home folder, again and again."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "headrace.toml"
        self._config.write_text(SETTINGS)
        self.home = folder / "home"
        self._env = {
            **os.environ,  # noqa: TID251 (what a child process inherits)
            "HEADRACE_HOME": str(self.home),
        }
        made = self.run("keys", "create", "--tier", "developer", "--name", "clients", "--json")
        self.key: str = json.loads(made)["key"]
        self.run("credit", "add", str(PAID_MICROS // 1_000_000))

    def run(self, *arguments: str, home: Path | None = None) -> str:
        """A command over the same home, or another."""
        env = {**self._env, "HEADRACE_HOME": str(home or self.home)}
        done = subprocess.run(
            [*LAUNCH, *arguments], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout

    @contextmanager
    def serving(self) -> Generator[tuple["subprocess.Popen[str]", str]]:
        """A process and its address."""
        command = [*LAUNCH, "serve", "--port", "0", "--config", str(self._config)]
        command += ["--log-level", "warning"]
        with subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                word, _, url = process.stdout.readline().strip().partition(" ")
                assert word == "ready"
                yield process, url
            finally:
                if process.poll() is None:
                    process.terminate()


def engine_of(process: "subprocess.Popen[str]") -> int:
    """The process id of a server's engine."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"headrace.engine.process" in command:
                return int(child)
    raise AssertionError("the server has no engine")


class Crowd:
    """Clients that ask without end, and remember what they were told."""

    def __init__(self, url: str, key: str, rng: random.Random) -> None:
        self._url = url
        self._key = key
        self._rng = rng
        self._events = 0
        self._awaited: dict[int, asyncio.Event] = {}
        self.told: list[Told] = []
        self.unanswered = 0  # refused, or gone before the first word

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """All of them at work, until the block is left or the server is gone."""
        async with httpx.AsyncClient(
            base_url=self._url, headers={"authorization": f"Bearer {self._key}"}, timeout=60
        ) as client:
            tasks = [asyncio.create_task(self._ask_on(client)) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if not isinstance(error, asyncio.CancelledError | httpx.TransportError):
                raise AssertionError(error) from error

    async def events(self, more: int) -> None:
        """Until so many more events have come to all of them together."""
        at = self._events + more
        await self._awaited.setdefault(at, asyncio.Event()).wait()

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        while True:
            told = Told()
            body = {
                "model": "headrace-mini",
                "messages": [{"role": "user", "content": "x" * self._rng.randint(1, 400)}],
                "max_tokens": self._rng.randint(1, 200),
                "min_tokens": 1,
                "stream": True,
                "logprobs": True,  # one for each token, whether it wrote text or not
            }
            self.told.append(told)
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    assert response.status_code in (500, 503)
                    await response.aread()
                    continue
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        self._hear(told, json.loads(line[6:]))

    def _hear(self, told: Told, chunk: dict[str, Any]) -> None:
        told.id = told.id or chunk.get("id", "")
        told.usage = chunk.get("usage") or told.usage
        for choice in chunk["choices"]:
            told.tokens += len((choice["logprobs"] or {}).get("content") or ())
            told.is_whole = told.is_whole or choice["finish_reason"] is not None
        self._events += 1
        awaited = self._awaited.pop(self._events, None)
        if awaited is not None:
            awaited.set()


def killed(server: Server, rng: random.Random) -> list[Told]:
    """What clients were told by a server whose engine is killed now and then, then itself."""

    async def live(process: "subprocess.Popen[str]", url: str) -> list[Told]:
        crowd = Crowd(url, server.key, rng)
        async with crowd.asking():
            await crowd.events(rng.randint(1, 1_500))
            os.kill(engine_of(process), signal.SIGKILL)
            await crowd.events(rng.randint(CLIENTS, 1_500))
            process.kill()
            process.wait()
            # What is on its way still comes.
            await asyncio.gather(
                *(t for t in asyncio.all_tasks() if t is not asyncio.current_task()),
                return_exceptions=True,
            )
        return crowd.told

    with server.serving() as (process, url):
        return asyncio.run(live(process, url))


def check(told: list[Told], records: list[UsageRecord]) -> None:
    """The books say what the clients were told."""
    by_id = {record.request_id: record for record in records}
    assert len(by_id) == len(records), "nothing twice"
    for each in told:
        if not each.id:
            continue
        record = by_id[each.id]
        if each.usage:
            assert record.completion_tokens == each.usage["completion_tokens"]
            assert record.prompt_tokens == each.usage["prompt_tokens"]
        if each.usage and each.is_whole:
            assert record.status == "completed"
            assert record.completion_tokens == each.tokens
        else:
            assert record.completion_tokens >= each.tokens
            assert record.completion_tokens - each.tokens <= ONE_FLUSH
            assert record.status == "interrupted" or not each.usage
    # Who was never told an id got nothing, or a first word that was lost with the server.
    unseen = set(by_id) - {each.id for each in told}
    assert len(unseen) <= sum(not each.id for each in told)


def rounds(folder: Path, seed: int, number: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    server = Server(folder)
    told: list[Told] = []
    for _ in range(number):
        told += killed(server, rng)
    with server.serving() as (process, _):  # it recovers, and ends well
        process.terminate()
        process.wait()
    assert sum(each.is_whole for each in told) > number
    assert sum(bool(each.id) and not each.is_whole for each in told) > number
    store = SqliteStore(server.home / "headrace.db", SystemClock())
    with store.reading() as tx:
        records = ledger.usage_of(tx, DEFAULT_ORGANISATION, 0, 1e12)
        assert not ledger.disagreements(tx)
        spent = sum(record.micros for record in records)
        assert ledger.balance(tx, DEFAULT_ORGANISATION) == PAID_MICROS - spent
        assert ledger.held(tx, DEFAULT_ORGANISATION) == 0
    store.close()
    check(told, records)


def test_what_clients_saw_before_a_kill_is_what_is_written(tmp_path: Path) -> None:
    """Ten kills of an engine, ten of its front."""
    rounds(tmp_path, int.from_bytes(os.urandom(4), "little"), 10)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
def test_after_many_kills_too(tmp_path: Path, seed: int) -> None:
    rounds(tmp_path, seed, 10)
