"""Is `headrace bench` itself exact and quick enough? Against its null server, whose truth is known.

    python benchmarks/bench_client.py

Exact: one stream at a time; what is measured beside what the script says. Quick: many streams, some
20,000 to 50,000 events a second in all; the client's own lag, and its processor time for an event.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import uvloop

from headrace.bench.client import Answer, Exchange, HttpTransport, read_answer
from headrace.bench.load import LagWatch
from headrace.bench.metrics import output_speed, tpot_s, ttft_s
from headrace.clock import SystemClock

FIRST_MS, GAP_MS = 50.0, 10.0
ROUNDS = 20
MANY = (
    (200, 10.0),
    (2_000, 100.0),
    (200, 5.0),
    (2_000, 40.0),
)  # streams, and ms between the events of each
SECONDS = 8.0
RAMP_S = 2.0


@contextmanager
def null_server(first_ms: float, gap_ms: float, tokens: int) -> Generator[str]:
    """A null server in a process of its own; its address."""
    options = ("--first-ms", str(first_ms), "--gap-ms", str(gap_ms), "--tokens", str(tokens))
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "bench", "null-server", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()


def body(tokens: int) -> bytes:
    """A request."""
    asked = {"model": "null", "messages": [{"role": "user", "content": "go"}]}
    return json.dumps(asked | {"max_tokens": tokens, "stream": True}).encode()


async def one_by_one(url: str, tokens: int) -> list[Answer]:
    """Answers, each asked when the one before was over."""
    transport = HttpTransport(url, SystemClock())
    answers = [read_answer(await transport.post(body(tokens))) for _ in range(ROUNDS)]
    await transport.close()
    return answers


async def side_by_side(url: str, streams: int, tokens: int) -> dict[str, float]:
    """What many streams at once ask of the client. They begin one after another within RAMP_S."""
    clock = SystemClock()
    transport = HttpTransport(url, clock)

    async def one(number: int) -> Exchange:
        await asyncio.sleep(RAMP_S * number / streams)
        return await transport.post(body(tokens))

    began_cpu_s = time.process_time()
    async with LagWatch(clock, time.process_time) as watch:
        exchanges = await asyncio.gather(*map(one, range(streams)))
    cpu_s = time.process_time() - began_cpu_s
    lag = watch.lag([])
    answers = [read_answer(exchange) for exchange in exchanges]
    await transport.close()
    assert not any(answer.fault for answer in answers), {answer.fault for answer in answers}
    times = [piece.at_s for answer in answers for piece in answer.pieces]
    begin_s = max(answer.pieces[0].at_s for answer in answers)
    end_s = min(answer.pieces[-1].at_s for answer in answers)  # all were open in between
    return {
        "streams": streams,
        "events_a_second": sum(begin_s <= at_s < end_s for at_s in times) / (end_s - begin_s),
        "lag_p99_ms": lag.loop_p99_s * 1e3,
        "processor_share": lag.cpu_share,
        "events_a_processor_second": len(times) / cpu_s,
    }


def main() -> None:
    """Both, on this machine."""
    tokens = 64
    with null_server(FIRST_MS, GAP_MS, tokens) as url:
        answers = uvloop.run(one_by_one(url, tokens))
    for name, measure, truth in (
        ("TTFT, ms", lambda a: (ttft_s(a) or 0.0) * 1e3, FIRST_MS),
        ("TPOT, ms", lambda a: (tpot_s(a) or 0.0) * 1e3, GAP_MS),
        ("speed, tok/s", lambda a: output_speed(a) or 0.0, 1e3 / GAP_MS),
    ):
        found = statistics.median(map(measure, answers))
        print(f"{name}: {found:.3f}, the script says {truth:g}: {found / truth - 1:+.2%}")
    for streams, gap_ms in MANY:
        count = int(SECONDS * 1e3 / gap_ms)
        with null_server(500.0, gap_ms, count) as url:
            told = uvloop.run(side_by_side(url, streams, count))
        print(", ".join(f"{name} {value:,.4g}" for name, value in told.items()))


if __name__ == "__main__":
    main()
