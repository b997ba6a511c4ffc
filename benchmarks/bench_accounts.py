"""What do accounts, limits and metering cost? Streams with all of them on and off, interleaved.

    python benchmarks/bench_accounts.py [--rounds 9]

Each round starts one server of the bundled model with two doors (`two_doors.py`): behind one are
keys, limits and a meter, and the caller's key pays for its tokens from credit and has limits of
every kind (far away); behind the other is nothing of it. Process and engine are the same, since two
processes of one program differ by more than what is looked for here: where they lie in memory makes
a small model 10 to 20 % faster or slower, for as long as they live.

Runs come in pairs, one at each door, in an order drawn anew, and a figure is of pairs: a ratio is
the median of pairs' ratios; times to first token are those of all runs together, percentile against
percentile. Intervals are those of 95 % of RESAMPLED draws of pairs with replacement. A run is one
stream, or 32, of answers of 400 tokens, each of which asks twice or more, so that what is written
down after an answer falls in the next one; tokens a second are from the first byte sent to the last
token read. First tokens are of 16 clients that ask for short answers, one after the other
(`of_16`), and of 16 requests for 8 tokens sent at once (`burst`). The client is a compiled epoll
loop (`loopback_reader.cpp`).

What the event loop's thread computes for a request of a burst, and for a token, is told apart:
processor time depends less on who else is on the machine.

The time of a decision is measured without a server: an admission and its settlement at a limiter of
10,000 organisations with all limits.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, TypeVar

from loopback_client import Server, in_home
from loopback_reader import Reading, chat, read_streams
from machine import CpuSeconds, commit, describe

from headrace.accounts import Account, Tier
from headrace.admission import Desk
from headrace.clock import SystemClock
from headrace.config import TierConfig
from headrace.types import Usage

PROMPT = "Tell me a long story about a mill by the river."
NAMES = ("on", "off")
SHARES = (50, 90, 99)
RESAMPLED = 2_000
SETTLED_S = 0.1  # after a run: what it has left to write is written
ASKED = 96  # by 16 clients together, in a run; the first of each are a burst, and left out
ASKED_TOKENS = range(16, 64)  # of those answers, so that they end one by one
T = TypeVar("T")
Pair: TypeAlias = dict[str, T]  # what came of two runs, "on" and "off"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked in one run."""

    clients: int  # at a time
    asked: int  # by all of them
    tokens: Callable[[int], int]  # of the n-th answer
    pairs: int  # of runs, in a round


LOADS = {
    "1": Load(clients=1, asked=3, tokens=lambda _: 400, pairs=40),
    "32": Load(clients=32, asked=64, tokens=lambda _: 400, pairs=8),
    "of_16": Load(
        clients=16,
        asked=ASKED,
        tokens=lambda n: ASKED_TOKENS[29 * n % len(ASKED_TOKENS)],
        pairs=12,
    ),
    "burst": Load(clients=16, asked=16, tokens=lambda _: 8, pairs=40),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run found."""

    tok_s: float  # of all streams together
    first_ms: list[float]  # of each answer
    request_us: float  # of the event loop's thread, for each request
    token_us: float  # the same, for each token


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    decision_us = decide()
    pairs: dict[str, list[Pair[Run]]] = {name: [] for name in LOADS}
    chance = random.Random(0)
    with ExitStack() as stack:
        config = Path(stack.enter_context(TemporaryDirectory())) / "headrace.toml"
        config.write_text(SETTINGS.format(far=FAR))
        for number in range(given.rounds):
            for name, found in one_round(config, number, chance).items():
                pairs[name] += found
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "decision_us": decision_us,
        "pairs": {name: len(found) for name, found in pairs.items()},
        "tok_s_ratio": {
            name: with_interval(pairs[name], lambda drawn: statistics.median(map(ratio, drawn)))
            for name in LOADS
        },
        "first_token": {name: compared(pairs[name]) for name in ("of_16", "burst")},
        "loop_us": {
            "token_of_1": each_median(pairs["1"], lambda run: run.token_us),
            "token_of_32": each_median(pairs["32"], lambda run: run.token_us),
            "request_of_burst": each_median(pairs["burst"], lambda run: run.request_us),
        },
    }
    print(json.dumps(report, indent=1))


def one_round(config: Path, number: int, chance: random.Random) -> Mapping[str, list[Pair[Run]]]:
    """All loads at one server's doors, by load; nothing of a load while the host took time."""
    found: dict[str, list[Pair[Run]]] = {}
    with doors(config) as (server, ports, secrets):
        for name, load in LOADS.items():
            before = CpuSeconds.now()
            pairs: list[Pair[Run]] = []
            for turn in range(load.pairs + 1):
                order = chance.sample(NAMES, len(NAMES))
                pair = {
                    door: one_run(server, ports[door], secrets[door], load, number)
                    for door in order
                }
                if turn > 0:  # what is first is slower
                    pairs.append(pair)
            stolen = CpuSeconds.now().stolen_share(before)
            median = statistics.median(map(ratio, pairs))
            sys.stderr.write(f"{number} {name}: tok/s {median:.3f} stolen {stolen:.3f}\n")
            if stolen <= MOST_STOLEN:
                found[name] = pairs
    return found


def one_run(server: Server, port: int, secret: str, load: Load, number: int) -> Run:
    """One load at one door."""
    bodies: list[Any] = [
        # None ends by itself: streams that end early leave the others faster.
        chat("headrace-mini", f"{number} {n}: {PROMPT}", tokens) | {"min_tokens": tokens}
        for n in range(load.asked)
        for tokens in [load.tokens(n)]
    ]
    begun_us = loop_us(server)
    reading = read_streams(port, bodies, secret, width=load.clients)
    time.sleep(SETTLED_S)
    used_us = loop_us(server) - begun_us
    counted = reading.streams[load.clients :] or reading.streams
    return Run(
        tok_s=delivered(reading),
        first_ms=[1e3 * stream.first_s for stream in counted],
        request_us=used_us / load.asked,
        token_us=used_us / reading.tokens,
    )


def delivered(reading: Reading) -> float:
    """Tokens a second, from the first request's first byte to the last token."""
    begin_s = min(stream.sent_s for stream in reading.streams)
    end_s = max(stream.arrivals[-1][0] for stream in reading.streams)
    return reading.tokens / (end_s - begin_s)


@contextmanager
def doors(config: Path) -> Generator[tuple[Server, Mapping[str, int], Mapping[str, str]]]:
    """A server with two doors: their ports, and what to show there, by name."""
    program = Path(__file__).with_name("two_doors.py")
    with TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, str(program), "--config", str(config)],
            env=in_home(Path(home)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            ports = json.loads(process.stdout.readline())
            server = Server(ports["on"], process, Path(home))
            key = server.key("bench", "developer")
            server.run("credit", "add", "1000")
            yield server, ports, {"on": key, "off": ""}
        finally:
            process.communicate(timeout=60)  # closes its input, and with it the doors


def ratio(pair: Pair[Run]) -> float:
    """Of tokens a second, on over off."""
    return pair["on"].tok_s / pair["off"].tok_s


def each_median(pairs: list[Pair[Run]], figure: Callable[[Run], float]) -> Mapping[str, float]:
    """A figure at each door: the median of its runs."""
    return {
        name: round(statistics.median(figure(pair[name]) for pair in pairs), 2) for name in NAMES
    }


def percentile(values: list[float], share: int) -> float:
    """Of all values, by nearest rank."""
    return round(sorted(values)[len(values) * share // 100], 3)


def compared(pairs: list[Pair[Run]]) -> dict[str, Any]:
    """Times to first token, ms: of each, and the percentiles with accounts, less those without."""
    found: dict[str, Any] = {}
    for name in NAMES:
        times = [ms for pair in pairs for ms in pair[name].first_ms]
        found[f"{name}_ms"] = {f"p{share}": percentile(times, share) for share in SHARES}
        found[f"{name}_ms"]["count"] = len(times)
    found["added_ms"] = {f"p{share}": added(pairs, share) for share in SHARES}
    return found


def added(pairs: list[Pair[Run]], share: int) -> dict[str, float]:
    """A percentile with accounts, less that without, ms."""

    def difference(drawn: list[Pair[Run]]) -> float:
        on, off = ([ms for pair in drawn for ms in pair[name].first_ms] for name in NAMES)
        return percentile(on, share) - percentile(off, share)

    return with_interval(pairs, difference)


def with_interval(values: list[T], figure: Callable[[list[T]], float]) -> dict[str, float]:
    """A figure of values, and where 95 % of those lie that are of as many drawn from them."""
    chance = random.Random(0)
    drawn = sorted(figure(chance.choices(values, k=len(values))) for _ in range(RESAMPLED))
    return {
        "value": round(figure(values), 4),
        "from": round(drawn[RESAMPLED * 25 // 1000], 4),
        "to": round(drawn[RESAMPLED * 975 // 1000], 4),
    }


def loop_us(server: Server) -> float:
    """Processor time of the event loop's thread so far, microseconds."""
    pid = server.process.pid
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e3


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
