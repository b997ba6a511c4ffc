"""What does a caller notice when others leave, flood, or the engine dies? On the bundled model.

    python benchmarks/bench_faults.py [--seconds 60] [--seed 1]

Six scenes against `headrace serve` over loopback; each ends by itself:

disconnect  eight streams leave at once, again and again: time until every KV block is free, as
            /metrics says it (the engine reports at most every 0.1 s, and when it becomes idle).
storm       64 clients for --seconds, each leaving at a random moment: memory, descriptors, errors.
overload    requests at ten times the capacity just measured: how soon are refusals out, how much
            is still served, and is it normal afterwards?
neighbour   one caller's waiting time alone, and while another floods with long prompts.
kill        `kill -9` of the engine under 16 streams: time to the error event, to the next answer.
stop        SIGTERM under 16 streams with a drain limit of 2 s: how each ends, and the exit status.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from loopback_client import Server, Visit, serving, visit

WORD = "word "
Report = dict[str, object]


def main() -> None:
    """Run the scenes; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the storm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one scene")
    asked = parser.parse_args()
    scenes: dict[str, Callable[[], Report]] = {
        "disconnect": lambda: with_server(disconnect),
        "storm": lambda: with_server(lambda s: storm(s, asked.seconds, asked.seed)),
        "overload": lambda: with_server(lambda s: overload(s, asked.seed)),
        "neighbour": neighbour,
        "kill": lambda: with_server(kill),
        "stop": stop,
    }
    report: Report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}",
        "python": platform.python_version(),
        "seed": asked.seed,
    }
    for name, scene in scenes.items():
        if asked.only in (None, name):
            report[name] = scene()
    print(json.dumps(report, indent=2))


def with_server(scene: Callable[[Server], Awaitable[Report]]) -> Report:
    """Run one scene against a server of its own, without keys."""
    with serving("--no-auth", "--log-level", "warning") as server:
        return asyncio.run(_warm(server, scene))


async def _warm(server: Server, scene: Callable[[Server], Awaitable[Report]]) -> Report:
    await visit(server.port, "Warm up.", 8)
    return await scene(server)


async def disconnect(server: Server, rounds: int = 40) -> Report:
    """Eight streams leave together."""
    total = server.gauge("headrace_kv_blocks")
    freed_ms: list[float] = []
    for number in range(rounds):
        tasks = [
            asyncio.create_task(
                visit(server.port, f"{number} {i} " + WORD * 200, 1_500, leave_after=3)
            )
            for i in range(8)
        ]
        left = [await task for task in tasks]
        gone_s = max(each.began + each.ended_s for each in left)
        while server.gauge("headrace_kv_blocks_free") < total:
            await asyncio.sleep(0.002)
        freed_ms.append((time.perf_counter() - gone_s) * 1e3)
    return {"rounds": rounds, "streams": 8, "all_blocks_free_ms": spread(freed_ms)}


async def storm(server: Server, seconds: float, seed: int) -> Report:
    """64 clients come and go."""
    chance = random.Random(seed)
    end_s = time.perf_counter() + seconds
    visits: list[Visit] = []
    memory: list[tuple[float, float]] = []

    async def client(chance: random.Random) -> None:
        while time.perf_counter() < end_s:
            leave = None if chance.random() < 0.5 else chance.randrange(1, 40)
            prompt = f"{chance.random()} " + WORD * chance.randrange(1, 400)
            tokens = chance.randrange(1, 300)
            visits.append(await visit(server.port, prompt, tokens, leave_after=leave))

    async def watch() -> None:
        while time.perf_counter() < end_s:
            memory.append((time.perf_counter(), server.resident_mib()))
            await asyncio.sleep(0.5)

    files = server.open_files()
    await asyncio.gather(watch(), *(client(random.Random(chance.random())) for _ in range(64)))
    total = server.gauge("headrace_kv_blocks")
    waited_s = await settled(server, total)
    fifth = len(memory) // 5
    return {
        "seconds": seconds,
        "clients": 64,
        "requests": len(visits),
        "left_early": sum(not v.is_done and v.error_s is None for v in visits),
        "errors": sum(v.error_s is not None or v.status != 200 for v in visits),
        "longest_gap_ms": spread([gap(v) * 1e3 for v in visits if len(v.content_s) > 1]),
        "resident_mib_after_a_fifth": round(memory[fifth][1], 1),
        "resident_mib_at_the_end": round(memory[-1][1], 1),
        "resident_mib_slope_per_minute": round(slope(memory[fifth:]) * 60, 2),
        "descriptors_before": files,
        "descriptors_after": server.open_files(),
        "all_blocks_free_after_ms": round(waited_s * 1e3, 1),
    }


async def overload(server: Server, seed: int, seconds: float = 20.0) -> Report:
    """Ten times what it can do."""
    chance = random.Random(seed)

    async def one(sent: list[Visit]) -> None:
        sent.append(await visit(server.port, f"{chance.random()} " + WORD * 150, 100))

    async def closed(clients: int, for_s: float) -> list[Visit]:
        sent: list[Visit] = []
        end_s = time.perf_counter() + for_s

        async def client() -> None:
            while time.perf_counter() < end_s:
                await one(sent)

        await asyncio.gather(*(client() for _ in range(clients)))
        return sent

    peak = await closed(32, 8.0)
    capacity = len(peak) / max(v.began + v.ended_s - peak[0].began for v in peak)
    sent: list[Visit] = []
    tasks: list[asyncio.Task[None]] = []
    began_s = time.perf_counter()
    at_s = began_s
    while (now_s := time.perf_counter()) < began_s + seconds:
        while at_s <= now_s:
            tasks.append(asyncio.create_task(one(sent)))
            at_s += chance.expovariate(10 * capacity)
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    served = [v for v in sent if v.is_done]
    refused = [v for v in sent if v.status in (429, 503)]
    after = await closed(1, 3.0)
    window_s = max(v.began + v.ended_s for v in served) - began_s
    return {
        "capacity_requests_per_s": round(capacity, 1),
        "offered_requests_per_s": round(len(sent) / seconds, 1),
        "served": len(served),
        "refused": len(refused),
        "otherwise": len(sent) - len(served) - len(refused),
        "goodput_share_of_capacity": round(len(served) / window_s / capacity, 3),
        "refusal_ms": spread([v.ended_s * 1e3 for v in refused]),
        "admitted_first_token_ms": spread([v.first_s * 1e3 for v in served if v.first_s]),
        "first_token_ms_before": spread([v.first_s * 1e3 for v in peak if v.first_s]),
        "first_token_ms_afterwards": spread([v.first_s * 1e3 for v in after if v.first_s]),
    }


def neighbour() -> Report:
    """Two keys: one asks now and then, the other floods."""
    with serving("--log-level", "warning") as server:
        made = server.run("keys", "create", "--role", "viewer", "--name", "scraper", "--json")
        server.scraper = json.loads(made)["key"]
        quiet, loud = server.key("quiet"), server.key("loud")
        return asyncio.run(_neighbour(server, quiet, loud))


async def _neighbour(server: Server, quiet: str, loud: str, asks: int = 100) -> Report:
    async def waits(salt: str) -> list[float]:
        chance = random.Random(0)  # the same lengths each time
        found: list[float] = []
        for i in range(asks):
            prompt = f"{salt} {i} " + WORD * chance.randrange(300, 900)
            got = await visit(server.port, prompt, 8, key=quiet)
            assert got.first_s is not None, got.error
            found.append(got.first_s * 1e3)
        return found

    chance = random.Random(1)

    async def flood() -> None:
        while True:
            await visit(server.port, f"{chance.random()} " + WORD * 1_700, 16, key=loud)

    await waits("warm up")
    alone = await waits("alone")
    floods = [asyncio.create_task(flood()) for _ in range(128)]
    await asyncio.sleep(2.0)
    crowded = await waits("crowded")
    refused = server.gauge("headrace_refused_total")
    for task in floods:
        task.cancel()
    await asyncio.wait(floods)
    alone_again = await waits("alone again")
    return {
        "requests": asks,
        "alone_ms": spread(alone),
        "beside_128_long_prompts_ms": spread(crowded),
        "alone_again_ms": spread(alone_again),
        "p99_ratio": round(quantile(crowded, 0.99) / quantile(alone + alone_again, 0.99), 2),
        "median_ratio": round(quantile(crowded, 0.5) / quantile(alone + alone_again, 0.5), 2),
        "flood_requests_refused": refused,
    }


async def kill(server: Server, rounds: int = 5) -> Report:
    """The engine dies under load."""
    told_ms: list[float] = []
    back_s: list[float] = []
    done = 0
    for number in range(rounds):
        streams = await under_way(server, 16, f"kill {number}")
        killed_s = time.perf_counter()
        os.kill(server.engine_pid(), signal.SIGKILL)
        for seen in await asyncio.gather(*streams):
            done += seen.is_done
            assert seen.error_s is not None, "a stream ended without an error event"
            told_ms.append((seen.began + seen.error_s - killed_s) * 1e3)
        while not (await visit(server.port, "And now?", 4)).is_done:
            await asyncio.sleep(0.05)
        back_s.append(time.perf_counter() - killed_s)
    return {
        "rounds": rounds,
        "streams": 16,
        "error_event_ms": spread(told_ms),
        "next_answer_s": spread(back_s),
        "streams_that_said_done": done,
    }


def stop() -> Report:
    """SIGTERM while streams run."""
    with serving("--no-auth", "--log-level", "warning", HEADRACE_API__DRAIN_S="2") as server:
        return asyncio.run(_stop(server))


async def _stop(server: Server) -> Report:
    await visit(server.port, "Warm up.", 8)
    streams = await under_way(server, 16, "stop", tokens=1_900)
    began_s = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    ends = await asyncio.gather(*streams)
    status = await asyncio.to_thread(server.process.wait, 60)
    return {
        "drain_limit_s": 2,
        "streams_finished": sum(v.is_done for v in ends),
        "streams_ended_with_an_error_event": sum(v.error_s is not None for v in ends),
        "streams_that_just_stopped": sum(not v.is_done and v.error_s is None for v in ends),
        "exit_status": status,
        "seconds": round(time.perf_counter() - began_s, 2),
    }


async def under_way(
    server: Server, count: int, salt: str, *, tokens: int = 1_500
) -> list[asyncio.Task[Visit]]:
    """So many streams, each of which has begun to answer."""
    begun = [asyncio.Event() for _ in range(count)]
    tasks = [
        asyncio.create_task(visit(server.port, f"{salt} {i}", tokens, begun=event))
        for i, event in enumerate(begun)
    ]
    for event in begun:
        await event.wait()
    return tasks


async def settled(server: Server, total: float) -> float:
    """Seconds until every block is free."""
    began_s = time.perf_counter()
    while server.gauge("headrace_kv_blocks_free") < total:
        await asyncio.sleep(0.002)
    return time.perf_counter() - began_s


def gap(seen: Visit) -> float:
    """The longest silence between two reads with content, in seconds."""
    return max(b - a for a, b in zip(seen.content_s, seen.content_s[1:], strict=False))


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: rise per unit."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def quantile(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def spread(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile, maximum."""
    if not values:
        return {}
    shown = {"median": quantile(values, 0.5), "p99": quantile(values, 0.99), "max": max(values)}
    return {name: round(value, 2) for name, value in shown.items()}


if __name__ == "__main__":
    main()
