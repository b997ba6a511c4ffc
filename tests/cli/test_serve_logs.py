"""The log of a running server, seen from outside: JSON lines without prompts, answers or keys."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx

LAUNCH = [sys.executable, "-m", "headrace"]


def test_every_line_is_json_and_none_tells_a_secret(tmp_path: Path) -> None:
    env = {
        **os.environ,  # noqa: TID251 (what a child process inherits)
        "HEADRACE_HOME": str(tmp_path / "home"),
        "HEADRACE_ENGINE__BACKEND": "reference",
        "HEADRACE_LOG__LEVEL": "debug",
    }
    create = [*LAUNCH, "keys", "create", "--tier", "free", "--name", "laptop", "--json"]
    made = subprocess.run(create, env=env, capture_output=True, check=True)
    key = json.loads(made.stdout)["key"]
    create = [*LAUNCH, "keys", "create", "--role", "viewer", "--name", "scraper", "--json"]
    made = subprocess.run(create, env=env, capture_output=True, check=True)
    scraper = json.loads(made.stdout)["key"]
    prompt = "Whisper: xylophone-7731"
    process = subprocess.Popen(
        [*LAUNCH, "serve", "--port", "0", "--log-format", "json"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        texts = [ask(url, key, prompt, stream=stream) for stream in (True, False)]
        scraped = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {scraper}"}).text
        httpx.get(f"{url}/v1/models/a%0Ab", headers={"authorization": f"Bearer {key}"})
        assert httpx.get(f"{url}/v1/models/{key}").status_code == 401
        send_rubbish(url, key)
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    lines = [json.loads(line) for line in said.splitlines()]
    assert {"time", "level", "logger", "event"} <= set.intersection(*map(set, lines))
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 200, 404, 401]
    assert any(line["logger"] == "uvicorn.error" for line in lines)
    for secret in (key, key[3:20], key[-12:], "xylophone", "Bearer", *texts):
        assert secret not in said
    assert "headrace_completions_total" in scraped
    assert "laptop" not in scraped
    assert 'headrace_engine_restarts_total{model="headrace-mini"} 0.0\n' in scraped
    assert 'headrace_steps_total{model="headrace-mini"} 0.0' not in scraped  # it has decoded


def ask(url: str, key: str, prompt: str, *, stream: bool) -> str:
    body = {
        "model": "headrace-mini",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 12,
        "stream": stream,
    }
    headers = {"authorization": f"Bearer {key}"}
    got = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers)
    assert got.status_code == 200
    if not stream:
        return str(got.json()["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in got.text.split("\n\n") if line.startswith("data: {")]
    return "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])


def send_rubbish(url: str, key: str) -> None:
    """What is no HTTP: the server's library has a word of its own for it."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"rubbish {key}\r\n\r\n".encode())
        assert b"400" in connection.makefile("rb").readline()
