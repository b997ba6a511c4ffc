"""SIGHUP: what changes while streams run, what waits, and a file that changes nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

LAUNCH = [sys.executable, "-m", "headrace"]
ASK = {"model": "headrace-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
BASE = """
[engine]
backend = "null"
null_steps_per_s = 100
[log]
format = "json"
[tiers.free]
requests_per_minute = 1
"""


class Server:
    """`headrace serve --config FILE`, and its log."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, key: str, file: Path) -> None:
        self.process = process
        self.url = url
        self.headers = {"authorization": f"Bearer {key}"}
        self.file = file

    def reload(self, text: str) -> dict[str, Any]:
        """Write the file, ask for it to be read, and wait for what the log says."""
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        return self.logged("settings_")

    def logged(self, event: str) -> dict[str, Any]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said: dict[str, Any] = json.loads(line)
            if said["event"].startswith(event):
                return said
        raise AssertionError("the server ended")

    def ask(self, **fields: Any) -> httpx.Response:
        body = ASK | fields
        return httpx.post(f"{self.url}/v1/chat/completions", headers=self.headers, json=body)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    env = {**os.environ, "HEADRACE_HOME": str(folder / "home")}  # noqa: TID251 (for a child)
    create = [*LAUNCH, "keys", "create", "--tier", "free", "--name", "k", "--json"]
    made = subprocess.run(create, env=env, capture_output=True, check=True)
    file = folder / "headrace.toml"
    file.write_text(BASE)
    with subprocess.Popen(
        [*LAUNCH, "serve", "--port", "0", "--config", str(file)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[1]
            yield Server(process, url, json.loads(made.stdout)["key"], file)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as made:
        yield made


def test_limits_change_while_a_stream_runs(server: Server) -> None:
    body = {**ASK, "stream": True, "max_tokens": 100, "min_tokens": 100}
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, headers=server.headers, json=body) as response:
        lines = response.iter_lines()
        next(lines)
        assert server.ask().status_code == 429
        said = server.reload(BASE.replace("minute = 1", "minute = 1_000"))
        assert (said["event"], said["changed"]) == ("settings_reloaded", "tiers")
        assert server.ask().status_code == 200
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert server.ask().headers["x-ratelimit-limit-requests-minute"] == "1000"


def test_no_request_fails_while_settings_change_again_and_again(server: Server) -> None:
    """R20. Each answer that ends has the file written anew and read, with one bad file in four."""
    texts = [BASE.replace("= 1\n", f"= {number}_000\n") for number in (1, 2, 3)] + ["[api\n"]
    server.reload(texts[0])
    reloads = 40

    async def scenario() -> list[int]:
        gate = asyncio.Semaphore(8)
        async with httpx.AsyncClient(headers=server.headers, timeout=60) as client:

            async def one(number: int) -> int:
                async with gate:
                    url = f"{server.url}/v1/chat/completions"
                    got = await client.post(url, json=ASK | {"max_tokens": 2 + number % 20})
                server.file.write_text(texts[number % 4])
                server.process.send_signal(signal.SIGHUP)
                return got.status_code

            return await asyncio.gather(*(one(number) for number in range(reloads)))

    assert asyncio.run(scenario()) == [200] * reloads
    assert server.reload(BASE)["event"] in ("settings_reloaded", "settings_refused")
    assert server.process.poll() is None


def test_a_bad_file_changes_nothing_and_is_one_sentence(server: Server) -> None:
    assert server.ask().status_code == 200
    for bad, reason in (
        (BASE + "requests_per_minut = 5\n", "unknown setting 'tiers.free.requests_per_minut'"),
        (BASE.replace("minute = 1", "minute = -1"), "'tiers.free.requests_per_minute' must be"),
        (BASE + "[[prices]\n", "cannot be read"),
        (BASE + "[[prices]]\nmodel='m'\ninput_micros=1\n" * 2, "two prices of 'm' begin"),
    ):
        said = server.reload(bad.replace("minute = 1\n", "minute = 1_000\n"))
        assert (said["event"], said["level"]) == ("settings_refused", "error")
        assert reason in said["reason"]
        assert server.ask().status_code == 429, "the old limit holds"
    server.file.unlink()
    server.process.send_signal(signal.SIGHUP)
    assert "cannot be read" in server.logged("settings_")["reason"]
    server.process.terminate()
    assert server.process.wait() == 0


def test_what_cannot_change_live_is_named_and_waits(server: Server) -> None:
    said = server.reload(BASE + "[api]\ndrain_s = 1\nstrict_params = true\n")
    assert said["changed"] == "api.strict_params"
    waiting = server.logged("settings_")
    assert (waiting["event"], waiting["names"]) == ("settings_wait_for_a_restart", "api.drain_s")
    assert server.ask(store=True).status_code == 400
    said = server.reload(BASE)
    assert said["changed"] == "api.strict_params", "and back"
