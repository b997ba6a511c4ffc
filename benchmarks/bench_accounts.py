"""What do accounts, limits and metering cost? Streams with all of them on and off, interleaved.

    python benchmarks/bench_accounts.py [--rounds 9] [--tokens 1500]

Two servers of the bundled model run side by side, one at work at a time: one with keys, limits and
a meter, whose key pays for its tokens from credit and has limits of every kind (far away), and one
with `--no-auth`. Each round streams one answer, then 32, from each, in an order that turns round;
ratios are of a round. Times to first token are of BURSTS times 16 short answers asked at once,
those of all rounds together: percentile against percentile. The client is a compiled epoll loop
(`loopback_reader.cpp`).

The time of a decision is measured without a server: an admission and its settlement at a limiter of
10,000 organisations with all limits.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loopback_client import Server, serving
from loopback_reader import chat, read_streams
from machine import CpuSeconds, commit, describe

from headrace.accounts import Account, Tier
from headrace.admission import Desk
from headrace.clock import SystemClock
from headrace.config import TierConfig
from headrace.types import Usage

PROMPT = "Tell me a long story about a mill by the river."
BURSTS = 8  # of a round
MOST_STOLEN = 0.01  # of all cores, withheld by a virtual machine's host
FAR = 1 << 40
SETTINGS = """
[tiers.developer]
requests_per_minute = {far}
requests_per_hour = {far}
requests_per_day = {far}
tokens_per_minute = {far}
tokens_per_hour = {far}
tokens_per_day = {far}
concurrent_requests = {far}

[[prices]]
model = "headrace-mini"
input_micros = 100_000
output_micros = 600_000
"""


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=1_500, help="of each answer")
    given = parser.parse_args()
    decision_us = decide()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        config = folder / "headrace.toml"
        config.write_text(SETTINGS.format(far=FAR))
        quiet = ("--log-level", "warning")
        on = stack.enter_context(serving("--config", str(config), *quiet))
        off = stack.enter_context(serving("--no-auth", *quiet))
        key = on.key("bench", "developer")
        on.run("credit", "add", "1000")
        first_ms: dict[str, list[float]] = {"on": [], "off": []}
        rounds: list[dict[str, float]] = []
        for number in range(-1, given.rounds):
            measured = one_round(on, off, key, number, given.tokens)
            if measured is not None:
                rounds.append(measured[0])
                for name, times in measured[1].items():
                    first_ms[name] += times
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "decision_us": decision_us,
        "ttft_ms_16": {
            name: {f"p{share}": percentile(times, share) for share in (50, 90, 99)}
            | {"count": len(times)}
            for name, times in first_ms.items()
        },
        "rounds": rounds,
        "median": {
            name: round(statistics.median(row[name] for row in rounds), 4) for name in rounds[0]
        },
    }
    print(json.dumps(report, indent=1))


def percentile(values: list[float], share: int) -> float:
    """Of all values, by nearest rank."""
    return round(sorted(values)[len(values) * share // 100], 3)


def one_round(
    on: Server, off: Server, key: str, number: int, tokens: int
) -> tuple[dict[str, float], dict[str, list[float]]] | None:
    """Ratios of tokens a second, on over off, and times to first token, ms."""
    before = CpuSeconds.now()
    found: dict[str, float] = {}
    servers = [("on", on, key), ("off", off, "")]
    if number % 2:
        servers.reverse()
    for streams in (1, 32):
        got: dict[str, Any] = {}
        for name, server, secret in servers:
            got[name] = read_streams(server.port, asked(number, streams, tokens), secret)
        found[f"ratio_{streams}"] = got["on"].tok_s / got["off"].tok_s
    first_ms: dict[str, list[float]] = {"on": [], "off": []}
    for burst in range(BURSTS):
        for name, server, secret in servers if burst % 2 else servers[::-1]:
            reading = read_streams(server.port, asked(burst, 16, 8), secret)
            first_ms[name] += [1e3 * stream.first_s for stream in reading.streams]
    now = CpuSeconds.now()
    stolen = now.stolen_share(before)
    sys.stderr.write(f"{number}: {found} stolen {stolen:.3f}\n")
    is_quiet = stolen <= MOST_STOLEN
    return (found, first_ms) if number >= 0 and is_quiet else None


def asked(number: int, streams: int, tokens: int) -> list[Any]:
    """Bodies; none ends by itself: streams that end early leave the others faster."""
    return [
        chat("headrace-mini", f"{number} {i}: {PROMPT}", tokens) | {"min_tokens": tokens}
        for i in range(streams)
    ]


def decide() -> Mapping[str, float]:
    """Microseconds of an admission with its settlement, by share of all."""
    tier = TierConfig(
        requests_per_minute=FAR,
        requests_per_hour=FAR,
        requests_per_day=FAR,
        tokens_per_minute=FAR,
        tokens_per_hour=FAR,
        tokens_per_day=FAR,
        concurrent_requests=FAR,
    )
    desk = Desk(SystemClock(), {"developer": tier})
    accounts = [
        Account(key_id=f"k{i}", name="", tier=Tier.DEVELOPER, organisation_id=f"o{i}")
        for i in range(10_000)
    ]

    async def all_of_them() -> list[float]:
        took: list[float] = []
        for i in range(100_000):
            account = accounts[(i * 7_919) % len(accounts)]
            begin = time.perf_counter()
            admission = await desk.admit(
                account, "m", prompt_tokens=100, most_outputs=[1_000], patience_s=0.0
            )
            took.append(time.perf_counter() - begin)
            admission.settle(Usage(prompt_tokens=100, completion_tokens=50))
        return took[len(accounts) :]  # the first of each makes its windows

    took = sorted(asyncio.run(all_of_them()))
    return {
        f"p{share:g}": round(1e6 * took[int(len(took) * share / 100)], 2)
        for share in (50, 99, 99.9)
    }


if __name__ == "__main__":
    main()
