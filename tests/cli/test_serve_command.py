"""`headrace serve`, `chat` and `demo` as processes, on a tiny model and the reference backend."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headrace.model import bundled_model

LAUNCH = [sys.executable, "-m", "headrace"]
ASK = {
    "model": "headrace-mini",
    "messages": [{"role": "user", "content": "What is a headrace?"}],
    "max_tokens": 8,
    "temperature": 0,
}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,  # noqa: TID251 (what a child process inherits)
        "HEADRACE_HOME": str(tmp_path / "home"),
        "HEADRACE_ENGINE__BACKEND": "reference",
    }


def run(
    env: dict[str, str], *arguments: str, typed: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *arguments], env=env, capture_output=True, text=True, check=False, input=typed
    )


@contextmanager
def serving(env: dict[str, str], *arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [*LAUNCH, "serve", "--port", "0", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready", process.communicate()[1]
        yield process, url
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_drains_and_ends_well(env: dict[str, str], number: int):
    with serving(env, "--no-auth") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/health/ready").status_code == 200
        got = httpx.post(f"{url}/v1/chat/completions", json=ASK)
        assert got.json()["usage"]["completion_tokens"] == 8
        assert httpx.get(f"{url}/console").status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out == ""  # one line on standard output, and it was read above
        assert "Traceback" not in err


def test_a_program_reads_the_address_as_json(env: dict[str, str]):
    process = subprocess.Popen(
        [*LAUNCH, "serve", "--no-auth", "--port", "0", "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["models"] == ["headrace-mini"]
    assert httpx.get(said["url"] + "/health/live").status_code == 200
    process.terminate()
    process.communicate(timeout=60)


def test_a_stream_that_runs_is_finished_before_the_end(env: dict[str, str]):
    with serving(env, "--no-auth") as (process, url):
        body = {**ASK, "stream": True, "max_tokens": 64}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            process.terminate()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(timeout=60) == 0


def test_a_simulated_wafer_streams_what_the_reference_answers(env: dict[str, str]):
    answers: list[str] = []
    for options in ((), ("--backend", "wafer", "--mesh", "32x32")):
        with serving(env, "--no-auth", *options) as (_, url):
            body = {**ASK, "stream": True}
            with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
                chunks = [line for line in response.iter_lines() if line.startswith("data: {")]
            deltas = [json.loads(c[6:])["choices"][0]["delta"].get("content", "") for c in chunks]
            answers.append("".join(deltas))
    assert answers[0]
    assert answers[0] == answers[1]


def test_a_key_made_by_the_command_opens_a_running_server_and_ends_there(env: dict[str, str]):
    with serving(env) as (_, url):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        made = run(env, "keys", "create", "--tier", "free", "--name", "k", "--json")
        bearer = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
        assert httpx.get(f"{url}/v1/models", headers=bearer).status_code == 200
        assert run(env, "keys", "revoke", "k").returncode == 0
        assert httpx.get(f"{url}/v1/models", headers=bearer).status_code == 401


def test_a_taken_port_is_one_sentence_and_exit_code_2(env: dict[str, str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(env, "serve", "--no-auth", "--port", port)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"port {port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--no-auth", "--host", "0.0.0.0"], "--no-auth needs a loopback host"),
        (["serve", "--port", "70000"], "api.port"),
        (["serve", "/no/such/folder", "--port", "0"], "/no/such/folder"),
        (["serve", "--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (["serve", "--backend", "abacus", "--port", "0"], "abacus"),
        (["chat", "--json"], "--message"),
        (["chat", "--url", "http://127.0.0.1:9", "-m", "hi"], "http://127.0.0.1:9"),
    ],
)
def test_wrong_settings_are_one_sentence(env: dict[str, str], arguments: list[str], said: str):
    done = run(env, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_ends_with_the_one_that_holds_its_stdin(env: dict[str, str]):
    with serving(env, "--no-auth", "--with-stdin") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        assert process.wait(timeout=60) == 0


def test_chat_answers_here_and_from_a_server(env: dict[str, str]):
    options = ["-m", "What is a headrace?", "--temperature", "0", "--max-tokens", "8", "--json"]
    here = json.loads(run(env, "chat", *options).stdout)
    with serving(env, "--no-auth") as (_, url):
        there = json.loads(run(env, "chat", "--url", url, *options).stdout)
    assert here["answer"] == there["answer"]
    assert here["completion_tokens"] == there["completion_tokens"] == 8
    assert here["model"] == there["model"] == bundled_model().name


def test_chat_goes_on_until_the_input_ends(env: dict[str, str]):
    done = run(env, "chat", "--max-tokens", "4", typed="hello\n\nand again\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tokens/s") == 2


def test_the_demo_answers_and_ends(env: dict[str, str]):
    done = run(env, "demo", "--once", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["answer"]
    assert result["completion_tokens"] > 1
    assert result["ttft_s"] > 0
    assert result["decode_tok_s"] > 0
    assert result["console"] == result["url"] + "/console"
    with pytest.raises(httpx.ConnectError):
        httpx.get(result["console"])


def test_the_demo_prints_what_a_person_wants_to_know(env: dict[str, str]):
    done = run(env, "demo", "--once")
    assert done.returncode == 0, done.stderr
    for word in ("first token", "tokens/s", "/console", "/v1"):
        assert word in done.stdout


def test_the_demo_stays_until_interrupted(env: dict[str, str]):
    process = subprocess.Popen(
        [*LAUNCH, "demo"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = next(line for line in process.stdout if line.startswith("console"))
    console = said.split()[1]
    assert httpx.get(console).status_code == 200
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(console)
