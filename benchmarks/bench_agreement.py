"""Do `headrace bench` and GuideLLM 0.8 measure the same of the same server?

    python -m venv ~/.cache/guidellm && ~/.cache/guidellm/bin/pip install "guidellm==0.8.*"
    python benchmarks/bench_agreement.py ~/.cache/guidellm/bin/guidellm

The server is the null server, with one token an event: where an event holds several, definitions
differ (docs/benchmark.md). Closed loops of the same number of streams, in turns.
"""

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_client import null_server

from headrace.bench.client import HttpTransport
from headrace.bench.load import Endpoint, Player, closed_loop
from headrace.bench.metrics import output_speed, ttft_s
from headrace.bench.scenarios.short import question
from headrace.clock import SystemClock

TOKENS = 64  # as many as the short question may have
SECONDS = 10.0
CASES = ((50.0, 10.0, 1), (20.0, 4.0, 4), (100.0, 20.0, 16))  # ms to the first, ms a gap, streams
LIMIT = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a tool says of the server."""

    ttft_p50_ms: float
    speed_p50: float  # tokens a second, one stream
    throughput: float  # tokens a second, all streams, from the first send to the last end
    requests: int


def ours(url: str, streams: int) -> Found:
    """By the closed loop of `headrace bench`."""

    async def main() -> Found:
        endpoint = Endpoint(name="null", model="null", transport=HttpTransport(url, SystemClock()))
        player = Player(clock=SystemClock(), seed=0)
        tasks = (question("short", 0, number) for number in itertools.count())
        attempts = await closed_loop(
            player, endpoint, tasks, concurrency=streams, until_s=player.clock.now_s() + SECONDS
        )
        await endpoint.transport.close()
        answers = [answer for attempt in attempts for answer in attempt.answers]
        took_s = max(a.end_s for a in attempts) - min(a.start_s for a in attempts)
        return Found(
            ttft_p50_ms=statistics.median((ttft_s(a) or 0.0) * 1e3 for a in answers),
            speed_p50=statistics.median(output_speed(a) or 0.0 for a in answers),
            throughput=sum(a.output_tokens for a in answers) / took_s,
            requests=len(answers),
        )

    return asyncio.run(main())


def guidellm(program: str, url: str, streams: int, requests: int) -> Found:
    """By GuideLLM; its speed is the inverse of its median ITL."""
    with TemporaryDirectory() as folder:
        data, out = Path(folder, "prompts.jsonl"), Path(folder, "out.json")
        rows = ({"prompt": f"[{number}] Tell of a ship."} for number in range(2 * requests))
        data.write_text("\n".join(map(json.dumps, rows)))
        request = f"target={url},model=scripted,request_format=/v1/chat/completions"
        command = [program, "run", "--backend", f"kind=openai_http,{request}"]
        command += ["--profile", f"kind=concurrent,streams={streams}"]
        command += ["--constraint", f"kind=max_requests,count={requests}"]
        command += ["--data", f"kind=json_file,path={data}", "--disable-console"]
        command += ["--output", f"kind=json,path={out}"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        benchmark = json.loads(out.read_text())["benchmarks"][0]
    metrics = benchmark["metrics"]
    return Found(
        ttft_p50_ms=metrics["time_to_first_token_ms"]["successful"]["median"],
        speed_p50=1e3 / metrics["inter_token_latency_ms"]["successful"]["median"],
        requests=metrics["output_token_count"]["successful"]["count"],
        throughput=metrics["output_token_count"]["successful"]["total_sum"] / benchmark["duration"],
    )


def main() -> None:
    """All cases; the exit status says whether all differences are below 3 %."""
    worst = 0.0
    for first_ms, gap_ms, streams in CASES:
        with null_server(first_ms, gap_ms, TOKENS) as url:
            mine = ours(url, streams)
            # As many as ours: a last round that is not full would lower their throughput alone.
            theirs = guidellm(sys.argv[1], url, streams, mine.requests)
        print(f"first {first_ms:g} ms, gap {gap_ms:g} ms, {streams} streams")
        for name in Found.__slots__:
            a, b = getattr(mine, name), getattr(theirs, name)
            worst = max(worst, abs(a / b - 1))
            print(f"  {name}: headrace {a:.2f}, guidellm {b:.2f}: {a / b - 1:+.2%}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
