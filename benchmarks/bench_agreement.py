"""Do `headrace bench`, GuideLLM 0.8 and AIPerf 0.13 measure the same of the same server?

    python -m venv ~/.cache/guidellm && ~/.cache/guidellm/bin/pip install "guidellm==0.8.*"
    python -m venv ~/.cache/aiperf && ~/.cache/aiperf/bin/pip install "aiperf==0.13.*"
    python benchmarks/bench_agreement.py ~/.cache/guidellm/bin/guidellm ~/.cache/aiperf/bin/aiperf

The server is the null server, with one token an event: where an event holds several, definitions
differ (docs/benchmark.md). Closed loops of the same number of streams, in turns. Delays are long,
because a tool of many processes is itself late by a millisecond or two on two cores.
"""

import itertools
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from bench_client import null_server

from headrace.bench.client import HttpTransport
from headrace.bench.load import Endpoint, Player, closed_loop
from headrace.bench.metrics import output_speed, ttft_s
from headrace.bench.scenarios.short import question
from headrace.clock import SystemClock
from headrace.model import bundled_model

TOKENS = 64  # as many as the short question may have
SECONDS = 12.0
CASES = (
    (100.0, 10.0, 1),
    (100.0, 10.0, 4),
    (200.0, 20.0, 16),
)  # ms to the first, ms a gap, streams
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

    return uvloop.run(main())


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


def aiperf(program: str, url: str, streams: int, requests: int) -> Found:
    """By AIPerf, with the server's counts of tokens; it wants a tokenizer all the same."""
    with TemporaryDirectory() as folder:
        data, out = Path(folder, "prompts.jsonl"), Path(folder, "out")
        rows = ({"text": f"[{number}] Tell of a ship."} for number in range(2 * requests))
        data.write_text("\n".join(map(json.dumps, rows)))
        command = [program, "profile", "--model", "null", "--url", url, "--endpoint-type", "chat"]
        command += ["--streaming", "--concurrency", str(streams), "--workers-max", "1"]
        command += ["--request-count", str(requests), "--use-server-token-count"]
        command += ["--input-file", str(data), "--custom-dataset-type", "single_turn"]
        command += ["--tokenizer", str(bundled_model()), "--ui", "none"]
        command += ["--artifact-dir", str(out)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        found = json.loads((out / "profile_export_aiperf.json").read_text())
    return Found(
        ttft_p50_ms=found["time_to_first_token"]["p50"],
        speed_p50=1e3 / found["inter_token_latency"]["p50"],
        requests=int(found["request_count"]["avg"]),
        throughput=found["output_token_throughput"]["avg"],
    )


def main() -> None:
    """All cases; the exit status says whether all differences are below 3 %."""
    worst = 0.0
    tools = dict(zip((guidellm, aiperf), sys.argv[1:], strict=True))
    for first_ms, gap_ms, streams in CASES:
        print(f"first {first_ms:g} ms, gap {gap_ms:g} ms, {streams} streams")
        with null_server(first_ms, gap_ms, TOKENS) as url:
            mine = ours(url, streams)
            for tool, program in tools.items():
                # As many as ours: a last round that is not full would lower their throughput alone.
                theirs = tool(program, url, streams, mine.requests)
                for name in Found.__slots__:
                    a, b = getattr(mine, name), getattr(theirs, name)
                    worst = max(worst, abs(a / b - 1))
                    told = f"headrace {a:.2f}, {tool.__name__} {b:.2f}: {a / b - 1:+.2%}"
                    print(f"  {name}: {told}", flush=True)
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
