"""How long from the start of a process to the first token?

    python benchmarks/bench_start.py [MODEL] [--rounds 5] [--packed-cache on]
    python benchmarks/bench_start.py MODEL --peer-server llama-server --peer-model model.gguf

Each round starts, in turn and each in a fresh process: `headrace serve`, to the first content of a
streamed chat completion whose client connects as soon as `ready` is printed; the engine alone,
without HTTP; `headrace chat` with one question; and, where given, llama.cpp's server, whose port is
asked until it answers. The clock starts before the process does. One round of each goes first and
is not counted: it leaves the bytecode, the page cache and, where asked for, the packed weights that
a second start finds. `steps_s` are the medians of when each step was reached, in seconds from the
start; those of `headrace serve` are read from its log, to the millisecond.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.model import bundled_model

QUESTION = "What is a headrace?"
TOKENS = 8
LAUNCH = [sys.executable, "-m", "headrace"]
POLL_S = 0.002
# What the log calls a step, and what we call it.
EVENTS = {"memory_planned": "folder checked", "model_loaded": "weights loaded"}
ALONE = """
import sys, time
from pathlib import Path
marks = {"interpreter": time.time()}
from headrace.clock import SystemClock
from headrace.config import load
from headrace.engine.build import build_backend, build_engine
from headrace.engine.messages import Submit, Tokens
from headrace.model import open_network
import headrace.backends.cpu
marks["imports"] = time.time()
config = load()
network = open_network(Path(sys.argv[1]), context=config.engine.context_tokens or None)
marks["folder opened"] = time.time()
backend = build_backend(network.program, network.weights, config.engine, home=config.home)
marks["weights loaded"] = time.time()
engine = build_engine(backend, config.engine, SystemClock())
asked = Submit(id="1", prompt=tuple(range(24)), max_tokens=2, stop_ids=(), temperature=0.0, top_k=0,
               top_p=1.0, min_p=0.0, seed=0)
said = list(engine.handle(asked))
while not any(isinstance(message, Tokens) for message in said):
    said += engine.step()
marks["first token"] = time.time()
import json
print(json.dumps(marks))
"""


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=bundled_model())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packed-cache", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--peer-server", type=Path, help="llama.cpp's llama-server")
    parser.add_argument("--peer-model", type=Path, help="the same weights as GGUF")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.model.resolve().parent) as home:
        env = {
            **os.environ,  # noqa: TID251 (what a child inherits)
            "HEADRACE_HOME": home,
            "HEADRACE_ENGINE__PACKED_CACHE": asked.packed_cache,
        }
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # a second start finds the bytecode of the first
        starts: dict[str, Callable[[], dict[str, float]]] = {
            "python": lambda: bare(env),
            "headrace serve": lambda: serve(asked.model, env),
            "engine alone": lambda: alone(asked.model, env),
            "headrace chat": lambda: chat(asked.model, env),
        }
        if asked.peer_server:
            starts["llama-server"] = lambda: peer(asked.peer_server, asked.peer_model, env)
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
        for number in range(asked.rounds + 1):
            for name, start in starts.items():
                steps = start()
                if number > 0:
                    seen[name].append(steps)
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPUs, {cpu_name()}",
        "python": platform.python_version(),
        "model": asked.model.name,
        "packed_cache": asked.packed_cache,
        "rounds": asked.rounds,
        "starts": {name: summary(each) for name, each in seen.items()},
    }
    print(json.dumps(report, indent=2))


def summary(starts: list[dict[str, float]]) -> dict[str, Any]:
    """Medians of each step; all values of the last."""
    names = list(starts[0])
    return {
        "steps_s": {name: round(statistics.median(s[name] for s in starts), 3) for name in names},
        "median_s": round(statistics.median(s[names[-1]] for s in starts), 3),
        "each_s": [round(s[names[-1]], 3) for s in starts],
    }


def bare(env: Mapping[str, str]) -> dict[str, float]:
    """The interpreter alone, from start to end: what nobody who starts Python gets below."""
    began_s = time.time()  # noqa: TID251 (the wall clock is what other processes tell)
    subprocess.run([sys.executable, "-c", "pass"], env=env, check=True)
    return {"end": time.time() - began_s}  # noqa: TID251


def serve(model: Path, env: Mapping[str, str]) -> dict[str, float]:
    """`headrace serve` to the first content of a stream."""
    command = [*LAUNCH, "serve", str(model), "--no-auth", "--port", "0", "--log-format", "json"]
    with tempfile.TemporaryFile("w+") as log:
        began_s = time.time()  # noqa: TID251
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline().rsplit(":", 1)[1])
                ready_s = time.time() - began_s  # noqa: TID251
                first_s = first_content(port, model.name) - began_s
            finally:
                server.terminate()
        log.seek(0)
        told = [json.loads(line) for line in log if line.startswith("{")]
    steps = {
        EVENTS[line["event"]]: datetime.fromisoformat(line["time"]).timestamp() - began_s
        for line in told
        if line["event"] in EVENTS
    }
    return {**steps, "ready": ready_s, "first token": first_s}


def alone(model: Path, env: Mapping[str, str]) -> dict[str, float]:
    """The engine in one process, from the interpreter to its first token."""
    began_s = time.time()  # noqa: TID251
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(model)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    return {name: at - began_s for name, at in json.loads(done.stdout).items()}


def chat(model: Path, env: Mapping[str, str]) -> dict[str, float]:
    """`headrace chat` from start to end, for an answer of one token."""
    began_s = time.time()  # noqa: TID251
    command = [*LAUNCH, "chat", str(model), "--message", QUESTION, "--max-tokens", "1"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        assert running.stdout is not None
        first = running.stdout.read(1)
        first_s = time.time() - began_s  # noqa: TID251
        running.stdout.read()
    if not first:
        raise SystemExit("headrace chat said nothing")
    return {"first token": first_s}


def peer(server: Path, model: Path, env: Mapping[str, str]) -> dict[str, float]:
    """llama.cpp's server to the first content of a stream; it answers 503 while it loads."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(server), "-m", str(model), "--port", str(port), "-t", str(os.cpu_count())]
    began_s = time.time()  # noqa: TID251
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            while not is_healthy(port):
                if running.poll() is not None:
                    raise SystemExit(f"{server} ended before it was ready")
                time.sleep(POLL_S)
            ready_s = time.time() - began_s  # noqa: TID251
            first_s = first_content(port, model.name) - began_s
        finally:
            running.terminate()
    return {"ready": ready_s, "first token": first_s}


def is_healthy(port: int) -> bool:
    """Whether /health answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n")
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def first_content(port: int, model: str) -> float:
    """When the first content of a streamed chat completion came, by the wall clock."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": TOKENS,
            "temperature": 0,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    first_s = 0.0
    answer = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        while piece := connection.recv(65536):
            answer += piece
            if not first_s and b'"content":"' in piece.replace(b'"content":""', b""):
                first_s = time.time()  # noqa: TID251
    if not first_s:
        raise SystemExit(f"no content came: {answer.decode(errors='replace')}")
    return first_s


def cpu_name() -> str:
    """As the system calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
