"""What do accounts, limits and metering cost? Streams with all of them on and off, interleaved.

    python benchmarks/bench_accounts.py [--rounds 9] [--tokens 1500]

Two servers of the bundled model run side by side, one at work at a time: one with keys, limits and
a meter, whose key pays for its tokens from credit and has limits of every kind (far away), and one
with `--no-auth`. Each round has two of its own: where a process lies in memory makes more of a
difference than what is looked for here, and lasts as long as the process. A round streams one
answer ALONE times from each, then 32, in an order that turns round; ratios are of a round. Times
to first token are of 16 clients that ask one thing after the other (`_of_16`), and of bursts of 16
short requests sent at once (`_burst`): those of all rounds together, percentile against percentile.
Runs come in pairs, and intervals are those of 95 % of RESAMPLED draws of pairs (or rounds) with
replacement. The client is a compiled epoll loop (`loopback_reader.cpp`).

What the event loop's thread computes for a request of a burst, and for a token of 32 streams, is
told apart: processor time depends less on who else is on the machine.

The time of a decision is measured without a server: an admission and its settlement at a limiter of
10,000 organisations with all limits.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, TypeVar

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
CROWDS = 4  # runs of 16 clients, of a round
ASKED = 96  # by such clients together, in a run; the first of each are a burst, and left out
ASKED_TOKENS = range(16, 64)  # of those answers, so that they end one by one
ALONE = 4  # answers of one stream, of a round
RESAMPLED = 2_000
NAMES = ("on", "off")
SHARES = (50, 90, 99)
T = TypeVar("T")
Pair: TypeAlias = dict[str, list[float]]  # of "on" and "off": times to first token, ms
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
        taken: list[Round] = []
        for number in range(given.rounds):
            with both(config, number) as (servers, key):
                one_round(servers, key, number, given.tokens // 10)  # what is first is slower
                measured = one_round(servers, key, number, given.tokens)
            if measured is not None:
                taken.append(measured)
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "decision_us": decision_us,
        "first_token": {
            load: compared([pair for each in taken for pair in each.pairs[load]])
            for load in taken[0].pairs
        },
        "loop_us": {
            what: {
                name: round(statistics.median(each.loop_us[what][name] for each in taken), 2)
                for name in NAMES
            }
            for what in taken[0].loop_us
        },
        "rounds": [each.ratios for each in taken],
        "median": {
            name: with_interval(
                [each.ratios[name] for each in taken],
                lambda drawn: statistics.median(drawn),
            )
            for name in taken[0].ratios
        },
    }
    print(json.dumps(report, indent=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round found; names are "on" and "off"."""

    ratios: dict[str, float]  # of tokens a second, on over off
    pairs: dict[str, list[Pair]]  # by load: two runs that followed
    loop_us: dict[str, dict[str, float]]  # of the event loop's thread, for a request, for a token


@contextmanager
def both(config: Path, number: int) -> Generator[tuple[Mapping[str, Server], str]]:
    """The two servers, started in an order that turns round, and a key of the one with accounts."""
    arguments = {"on": ("--config", str(config)), "off": ("--no-auth",)}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(*arguments[name], "--log-level", "warning"))
            for name in turned(number)
        }
        key = servers["on"].key("bench", "developer")
        servers["on"].run("credit", "add", "1000")
        yield servers, key


def turned(number: int) -> tuple[str, ...]:
    """Who comes first in a round."""
    return NAMES if number % 2 == 0 else NAMES[::-1]


def percentile(values: list[float], share: int) -> float:
    """Of all values, by nearest rank."""
    return round(sorted(values)[len(values) * share // 100], 3)


def compared(pairs: list[Pair]) -> dict[str, Any]:
    """Times to first token, ms: of each, and the percentiles with accounts, less those without."""
    found: dict[str, Any] = {}
    for name in NAMES:
        times = [ms for pair in pairs for ms in pair[name]]
        found[f"{name}_ms"] = {f"p{share}": percentile(times, share) for share in SHARES}
        found[f"{name}_ms"]["count"] = len(times)
    found["added_ms"] = {f"p{share}": added(pairs, share) for share in SHARES}
    return found


def added(pairs: list[Pair], share: int) -> dict[str, float]:
    """A percentile with accounts, less that without, ms."""

    def difference(drawn: list[Pair]) -> float:
        on, off = ([ms for pair in drawn for ms in pair[name]] for name in NAMES)
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


def one_round(servers: Mapping[str, Server], key: str, number: int, tokens: int) -> Round | None:
    """One answer, 32, and bursts, from each; None where the host took time."""
    before = CpuSeconds.now()
    secrets = {"on": key, "off": ""}
    ratios: dict[str, float] = {}
    used_us: dict[str, dict[str, float]] = {"request_of_16": {}, "token_of_32": {}}
    for streams, times in ((1, ALONE), (32, 1)):
        speeds: dict[str, list[float]] = {name: [] for name in NAMES}
        for turn in range(times):
            for name in turned(number + turn):
                begun_us = loop_us(servers[name])
                bodies = asked(number, streams, tokens)
                got = read_streams(servers[name].port, bodies, secrets[name])
                speeds[name].append(got.tok_s)
                if streams == 32:
                    used_us["token_of_32"][name] = (loop_us(servers[name]) - begun_us) / got.tokens
        on, off = (statistics.median(speeds[name]) for name in NAMES)
        ratios[f"ratio_{streams}"] = on / off
    begun = {name: loop_us(servers[name]) for name in NAMES}
    bursts = in_pairs(BURSTS, lambda name, n: burst(servers[name], secrets[name], n))
    for name in NAMES:
        used_us["request_of_16"][name] = (loop_us(servers[name]) - begun[name]) / (16 * BURSTS)
    crowds = in_pairs(CROWDS, lambda name, n: crowd(servers[name], secrets[name], n))
    stolen = CpuSeconds.now().stolen_share(before)
    sys.stderr.write(f"{number}: {ratios} stolen {stolen:.3f}\n")
    if stolen > MOST_STOLEN:
        return None
    return Round(ratios=ratios, pairs={"of_16": crowds, "burst": bursts}, loop_us=used_us)


def in_pairs(count: int, run: Callable[[str, int], list[float]]) -> list[Pair]:
    """So many runs from each, in pairs, in an order that turns round."""
    return [{name: run(name, n) for name in turned(n)} for n in range(count)]


def burst(server: Server, secret: str, number: int) -> list[float]:
    """Times to first token, ms, of 16 requests at once."""
    reading = read_streams(server.port, asked(number, 16, 8), secret)
    return [1e3 * stream.first_s for stream in reading.streams]


def crowd(server: Server, secret: str, number: int) -> list[float]:
    """Times to first token, ms, of 16 clients that ask one thing after the other."""
    bodies = [
        body | {"max_tokens": tokens, "min_tokens": tokens}
        for i, body in enumerate(asked(number, ASKED, 1))
        for tokens in [ASKED_TOKENS[29 * i % len(ASKED_TOKENS)]]
    ]
    reading = read_streams(server.port, bodies, secret, width=16)
    return [1e3 * stream.first_s for stream in reading.streams[16:]]


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
