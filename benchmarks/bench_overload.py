"""Does a server that is asked for ten times what it can do still do all it can?

    python benchmarks/bench_overload.py [--rounds 3] [--seconds 8]

The engine is the null backend, paced: its capacity is known (STEPS_PER_S steps of SEQUENCES rows).
Each round has four parts. Peak: as many clients as there are places ask without pause. Overload:
requests come at ten times the rate that peak reached, in a Poisson process, whether earlier ones
were answered or not, from eight keys. Two seconds without load. After: at half the peak's rate.
Goodput counts tokens of answers that came whole; each refusal is searched for `retry-after`. The
queue (`engine.max_waiting`) holds a second of work: whoever bears more may set more.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loopback_client import Visit, serving, visit
from machine import CpuSeconds, commit, describe

STEPS_PER_S = 100
SEQUENCES = 8
TOKENS = 40
TIMES = 10
KEYS = 8
PAUSE_S = 2.0
PROMPT = "Tell me of a mill."
SETTINGS = f"""
[engine]
backend = "null"
null_steps_per_s = {STEPS_PER_S}
max_sequences = {SEQUENCES}
max_waiting = 16

[tiers.developer]
requests_per_minute = 0
tokens_per_minute = 0
billing = "invoice"
"""


def main() -> None:
    """Run the rounds; print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each part")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        config = Path(folder) / "headrace.toml"
        config.write_text(SETTINGS)
        with serving("--config", str(config), "--log-level", "warning") as server:
            keys = [server.key(f"bench {number}", "developer") for number in range(KEYS)]
            rounds = [
                asyncio.run(one_round(server.port, keys, number, given.seconds))
                for number in range(given.rounds)
            ]
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "rounds": rounds,
        "median": {
            name: round(statistics.median(row[name] for row in rounds), 4) for name in rounds[0]
        },
    }
    print(json.dumps(report, indent=1))


async def one_round(port: int, keys: list[str], seed: int, seconds: float) -> dict[str, float]:
    """Peak, overload, pause, after."""
    rng = random.Random(seed)
    before = CpuSeconds.now()
    peak = await closed(port, keys, seconds)
    capacity = goodput(peak, seconds) / TOKENS  # requests a second
    overload = await arriving(port, keys, TIMES * capacity, seconds, rng)
    await asyncio.sleep(PAUSE_S)
    after = await arriving(port, keys, capacity / 2, seconds, rng)
    refused = [seen for seen in overload if seen.status != 200]
    refusal_s = sorted(seen.ended_s for seen in refused)
    usual_s = statistics.median(seen.ended_s for seen in peak)
    found: dict[str, Any] = {
        "peak_tok_s": goodput(peak, seconds),
        "offered": len(overload) / (capacity * seconds),
        "goodput_share": goodput(overload, seconds) / goodput(peak, seconds),
        "refused": len(refused),
        "refusal_p50_ms": 1e3 * refusal_s[len(refusal_s) // 2],
        "refusal_p99_ms": 1e3 * refusal_s[int(0.99 * len(refusal_s))],
        "without_retry_after": sum(b"retry-after: " not in seen.head for seen in refused),
        "other_than_429_503": sum(seen.status not in (429, 503) for seen in refused),
        "after_refused": sum(seen.status != 200 for seen in after),
        "after_slowdown": statistics.median(seen.ended_s for seen in after) / usual_s,
        "stolen": CpuSeconds.now().stolen_share(before),
    }
    sys.stderr.write(f"{seed}: {found}\n")
    return found


async def closed(port: int, keys: list[str], seconds: float) -> list[Visit]:
    """As many clients as there are places, each asking again as soon as it is answered."""
    end = time.perf_counter() + seconds

    async def one(number: int) -> list[Visit]:
        seen: list[Visit] = []
        while time.perf_counter() < end:
            seen.append(await visit(port, PROMPT, TOKENS, key=keys[number % KEYS]))
        return seen

    return [
        seen
        for all_of_one in await asyncio.gather(*map(one, range(SEQUENCES)))
        for seen in all_of_one
    ]


async def arriving(
    port: int, keys: list[str], per_s: float, seconds: float, rng: random.Random
) -> list[Visit]:
    """Requests at random times, `per_s` on average, whatever becomes of the earlier ones."""
    start = time.perf_counter()
    tasks: list[asyncio.Task[Visit]] = []
    due = rng.expovariate(per_s)
    while due < seconds:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        tasks.append(asyncio.create_task(visit(port, PROMPT, TOKENS, key=rng.choice(keys))))
        due += rng.expovariate(per_s)
    return list(await asyncio.gather(*tasks))


def goodput(visits: list[Visit], seconds: float) -> float:
    """Tokens a second of answers that came whole, from the first request to the last answer."""
    whole = [seen for seen in visits if seen.is_done and not seen.error]
    took = max(seen.began + seen.ended_s for seen in whole) - min(seen.began for seen in visits)
    return TOKENS * len(whole) / max(took, seconds)


if __name__ == "__main__":
    main()
