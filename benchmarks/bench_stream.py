"""What does HTTP cost? One stream through the server against the engine alone, interleaved.

    python benchmarks/bench_stream.py [--rounds 7]

Each round times `headrace bench decode` in a fresh process, then one chat completion streamed over
loopback from a running `headrace serve`. The client is a bare socket loop that timestamps what it
reads and parses afterwards, so its own cost is small; it still shares the machine. Speed over HTTP
is (tokens - 1) over the time from the first content to the last; TTFT is from the request's last
byte written to the first content read.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

PROMPT = "Tell me a long story about a mill by the river."
TOKENS = 256


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    engine: list[float] = []
    streams: list[dict[str, float]] = []
    serve = [sys.executable, "-m", "headrace", "serve", "--no-auth", "--log-level", "warning"]
    with subprocess.Popen([*serve, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            stream(port, "Warm up.")
            for number in range(rounds):
                engine.append(decode_alone())
                streams.append(stream(port, f"Round {number}: {PROMPT}"))  # no prefix in common
        finally:
            server.terminate()
    over_http = [s["tok_s"] for s in streams]
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}",
        "python": platform.python_version(),
        "rounds": rounds,
        "engine_tok_s": statistics.median(engine),
        "http_tok_s": statistics.median(over_http),
        "http_over_engine": statistics.median(
            h / e for h, e in zip(over_http, engine, strict=True)
        ),
        "ttft_ms": statistics.median(s["ttft_ms"] for s in streams),
        "each_engine_tok_s": engine,
        "each_http_tok_s": over_http,
    }
    print(json.dumps(report, indent=2))


def decode_alone() -> float:
    """Tokens per second of the engine without HTTP."""
    command = [sys.executable, "-m", "headrace", "bench", "decode", "--json", "--runs", "10"]
    command += ["--prompt-tokens", "24", "--output-tokens", str(TOKENS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["decode_tok_s"])


def stream(
    port: int, prompt: str, *, model: str = "headrace-mini", tokens: int = TOKENS
) -> dict[str, float]:
    """One streamed answer: its tokens, their rate per second and the time to the first one."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    reads: list[tuple[float, bytes]] = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        sent_s = time.perf_counter()
        while piece := connection.recv(65536):
            reads.append((time.perf_counter(), piece))
    content_s = [at for at, piece in reads if b'"content":"' in piece.replace(b'"content":""', b"")]
    produced = usage(b"".join(piece for _, piece in reads))["completion_tokens"]
    return {
        "tokens": produced,
        "tok_s": (produced - 1) / (content_s[-1] - content_s[0]),
        "ttft_ms": (content_s[0] - sent_s) * 1e3,
    }


def usage(answer: bytes) -> dict[str, Any]:
    """The usage object of a streamed answer."""
    for line in answer.decode().splitlines():
        if line.startswith("data: {"):
            chunk = json.loads(line.removeprefix("data: "))
            if chunk.get("usage"):
                return chunk["usage"]
    raise ValueError("the stream ended without usage")


if __name__ == "__main__":
    main()
