"""`kill -9` of the engine under a real server: what callers see, and how soon it is over."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import httpx

STREAMS = 8
CHAT = {
    "model": "headrace-mini",
    "messages": [{"role": "user", "content": "Tell me everything."}],
    "stream": True,
    "max_tokens": 1_500,
    "temperature": 0,
}


@contextmanager
def server(
    home: Path, backend: str = "reference", model: Path | None = None
) -> Generator[tuple[str, int]]:
    """A server of the bundled model or of another: its address, and its process id."""
    models = [] if model is None else [str(model)]
    command = [sys.executable, "-m", "headrace", "serve", *models, "--no-auth", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--backend", backend],
        env={**os.environ, "HEADRACE_HOME": str(home)},  # noqa: TID251 (what a child inherits)
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1], process.pid
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
        process.communicate()


def engine_of(server_pid: int) -> int:
    """The process id of the server's only child."""
    children = [
        int(pid)
        for task in Path(f"/proc/{server_pid}/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]
    assert len(children) == 1
    return children[0]


def stream(url: str, under_way: Barrier) -> list[str]:
    lines: list[str] = []
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=CHAT, timeout=60) as answer:
        for line in answer.iter_lines():
            if not line:
                continue
            lines.append(line)
            if len(lines) == 3:
                under_way.wait(60)
    return lines


def test_open_streams_end_with_an_error_and_the_next_request_works(tmp_path: Path) -> None:
    with server(tmp_path) as (url, pid), ThreadPoolExecutor(STREAMS) as pool:
        under_way = Barrier(STREAMS + 1)
        streams = [pool.submit(stream, url, under_way) for _ in range(STREAMS)]
        under_way.wait(60)
        os.kill(engine_of(pid), signal.SIGKILL)
        for waiting in streams:
            lines = waiting.result(timeout=60)
            assert "data: [DONE]" not in lines
            events = [json.loads(line.removeprefix("data: ")) for line in lines]
            assert events[-1]["error"]["code"] == "engine_died"
            assert all("error" not in event for event in events[:-1])
            assert events[-1]["usage"]["completion_tokens"] >= 1
        refused = 0
        while (answer := ask(url)).status_code != 200:
            refused += 1
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "engine_restarting"
            assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert httpx.get(f"{url}/health/ready").status_code == 200
        scraped = httpx.get(f"{url}/metrics").text.splitlines()
        model = 'model="headrace-mini"'
        whose = f'{model},tier="enterprise"'
        aborted = f'{model},reason="engine_failure",tier="enterprise"'
        assert f"headrace_aborted_total{{{aborted}}} {STREAMS:.1f}" in scraped
        assert f"headrace_engine_restarts_total{{{model}}} 1.0" in scraped
        assert f"headrace_completions_total{{{whose}}} 1.0" in scraped
        counted = [line for line in scraped if 'reason="engine_restarting"' in line]
        assert [line.split()[-1] for line in counted] == ([f"{refused:.1f}"] if refused else [])


def ask(url: str) -> httpx.Response:
    body = {**CHAT, "stream": False, "max_tokens": 4}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
