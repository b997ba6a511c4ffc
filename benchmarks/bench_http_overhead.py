"""What does HTTP cost? Streams through the server against the engine alone, interleaved.

    python benchmarks/bench_http_overhead.py [MODEL] [--streams 1,8,32] [--rounds 5] [--tokens 256]
        [--peer-server llama-server --peer-model MODEL.gguf]

Each round, for each number of streams, times `headrace bench decode` with that batch in a fresh
process, then as many chat completions streamed at once over loopback from a running
`headrace serve`, then the same from llama.cpp's server. The client is a compiled epoll loop in a
process of its own (`loopback_reader.cpp`), which notes when text arrives; it shares the machine.

Speed over HTTP counts from the moment every stream has begun until the last one ends, like that of
the engine; TTFT is from the request's last byte written to the first text read. Processor time is
what the kernel charged each process for, from the first request to the last byte, over all tokens:
reading the prompt is in it, and the workers' waiting. Rounds in which other processes took more
than a tenth of all cores, in which a virtual machine's host withheld more than a hundredth of them,
or in which the CPUs moved nearer or further apart (`machine.FAR_NS`, looked at before and after
each part), are marked and left out of the medians. Take a model that does not end its turn by
itself (`tools/make_random_checkpoint.py`): streams that end early leave the others faster.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loopback_client import Server, serving
from loopback_reader import Reading, chat, read_streams
from machine import FAR_NS, CpuSeconds, commit, describe, wait_until_settled

from headrace.backends.cpu import round_trip_seconds
from headrace.model import bundled_model

PROMPT = "Tell me a long story about a mill by the river."
PROMPT_TOKENS = 32  # of the engine alone; the chat's prompts are about as long
WARM_TOKENS = 64
MOST_FOREIGN = 0.1  # of all cores, taken by others during a run that counts
MOST_STOLEN = 0.01  # of all cores, withheld by the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What processes have used so far: seconds of processor time, context switches."""

    cpu_s: float
    switches: int

    @classmethod
    def by(cls, pid: int) -> "Spent":
        """By all threads of a process that runs."""
        cpu_ns = switches = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu_ns += int((task / "schedstat").read_text().split()[0])
            lines = (task / "status").read_text().splitlines()
            switches += sum(int(line.split()[1]) for line in lines if "_ctxt_switches" in line)
        return cls(cpu_s=cpu_ns / 1e9, switches=switches)

    def since(self, earlier: "Spent") -> "Spent":
        """What was used after `earlier`."""
        return Spent(cpu_s=self.cpu_s - earlier.cpu_s, switches=self.switches - earlier.switches)


def main() -> None:
    """Run the rounds; print one JSON object."""
    given = _arguments()
    if given.nice:
        os.setpriority(os.PRIO_PROCESS, 0, given.nice)
    counts = [int(count) for count in given.streams.split(",")]
    model = given.model or bundled_model()
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
    with ExitStack() as stack:
        server = stack.enter_context(serving(str(model), "--no-auth", "--log-level", "warning"))
        peers = {
            count: stack.enter_context(_peer(given, count))
            for count in (counts if given.peer_server else ())
        }
        for number in range(-1, given.rounds):
            for count in counts:
                row = _round(server, peers.get(count), model, count, number, given.tokens)
                if number >= 0:  # the first warms up
                    runs[count].append(row)
                    sys.stderr.write(f"{number} {count} {_brief(row)}\n")
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe(),
        "commit": commit(),
        "python": platform.python_version(),
        "model": model.name,
        "tokens": given.tokens,
        "rounds": given.rounds,
        "medians": {str(count): _medians(rows) for count, rows in runs.items()},
        "each": {str(count): rows for count, rows in runs.items()},
    }
    print(json.dumps(report, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", help="checkpoint folder; default: bundled")
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=256, help="of each answer")
    parser.add_argument("--peer-server", type=Path, help="llama.cpp's llama-server")
    parser.add_argument("--peer-model", type=Path, help="the same weights as GGUF")
    parser.add_argument("--peer-arguments", type=shlex.split, default=["-fa", "off"])
    parser.add_argument("--nice", type=int, default=0, help="below 0: before others, all alike")
    given = parser.parse_args()
    if given.peer_server and not given.peer_model:
        parser.error("--peer-server needs --peer-model")
    return given


def _round(
    server: Server, peer: "Peer | None", model: Path, count: int, number: int, tokens: int
) -> dict[str, Any]:
    if number < 0:
        tokens = WARM_TOKENS
    trips_ns = [_round_trip_ns()]
    before = CpuSeconds.now()
    alone_tok_s, trip_ns = decode_alone(model, count, tokens)
    trips_ns += [trip_ns, _round_trip_ns()]
    now = CpuSeconds.now()
    foreign, stolen = [now.foreign_share(before)], [now.stolen_share(before)]
    wait_until_settled(sum(file.stat().st_size for file in model.glob("*.safetensors")))
    names = [f"{number} {i}: {PROMPT}" for i in range(count)]  # no prefix in common
    bodies = [chat(model.name, name, tokens) for name in names]
    watched = Watched(server.pids())
    reading = read_streams(server.port, bodies)
    front, engine = watched.spent(reading)
    foreign.append(watched.foreign_share)
    stolen.append(watched.stolen_share)
    trips_ns.append(_round_trip_ns())
    row: dict[str, Any] = {
        "engine_tok_s": alone_tok_s,
        "http_tok_s": reading.tok_s,
        "http_over_engine": reading.tok_s / alone_tok_s,
        "ttft_ms": statistics.median(stream.first_s for stream in reading.streams) * 1e3,
        "longest_gap_ms": reading.longest_gap_s * 1e3,
        "tokens": reading.tokens,
        "events_per_token": reading.events / reading.tokens,
        "writes_per_token": sum(s.writes for s in reading.streams) / reading.tokens,
        "engine_cpu_us_per_token": engine.cpu_s * 1e6 / reading.tokens,
        "front_cpu_us_per_token": front.cpu_s * 1e6 / reading.tokens,
        "reader_cpu_us_per_token": reading.cpu_s * 1e6 / reading.tokens,
        "front_switches_per_token": front.switches / reading.tokens,
        "engine_switches_per_token": engine.switches / reading.tokens,
        "reader_switches_per_token": reading.switches / reading.tokens,
    }
    if peer is not None:
        theirs = {"ignore_eos": True, "cache_prompt": False}
        watched = Watched([peer.pid])
        read = read_streams(peer.port, [body | theirs for body in bodies])
        (used,) = watched.spent(read)
        foreign.append(watched.foreign_share)
        stolen.append(watched.stolen_share)
        trips_ns.append(_round_trip_ns())
        row |= {
            "peer_tok_s": read.tok_s,
            "http_over_peer": reading.tok_s / read.tok_s,
            "peer_ttft_ms": statistics.median(s.first_s for s in read.streams) * 1e3,
            "peer_cpu_us_per_token": used.cpu_s * 1e6 / read.tokens,
            "peer_tokens": read.tokens,
        }
    has_moved = len({trip > FAR_NS for trip in trips_ns}) > 1
    return row | {
        "round_trip_ns": trips_ns,
        "foreign_share": max(foreign),
        "stolen_share": max(stolen),
        "is_quiet": max(foreign) <= MOST_FOREIGN and max(stolen) <= MOST_STOLEN and not has_moved,
    }


def _round_trip_ns() -> float:
    """Of a cache line between the CPUs; 0 with only one."""
    return (round_trip_seconds() or 0.0) * 1e9


class Watched:
    """Processes, from now on."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._before = [Spent.by(pid) for pid in pids]
        self._cpu = CpuSeconds.now()
        self.foreign_share = self.stolen_share = 0.0  # of all cores, until `spent`

    def spent(self, reading: Reading) -> list[Spent]:
        """What each has used; foreign is what neither they nor the reader took."""
        now = CpuSeconds.now()
        used = [Spent.by(pid).since(was) for pid, was in zip(self._pids, self._before, strict=True)]
        known_s = reading.cpu_s + sum(each.cpu_s for each in used)
        busy_s = now.busy - self._cpu.busy
        self.foreign_share = max(0.0, busy_s - known_s) / (now.total - self._cpu.total)
        self.stolen_share = now.stolen_share(self._cpu)
        return used


def decode_alone(model: Path, batch: int, tokens: int) -> tuple[float, float]:
    """The engine without HTTP: tokens a second, all sequences together; a round trip in ns."""
    command = [sys.executable, "-m", "headrace", "bench", "decode", str(model), "--json"]
    command += ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(tokens)]
    command += ["--batch", str(batch), "--runs", "3"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = json.loads(done.stdout)
    return float(said["decode_tok_s"]), float(said["round_trip_ns"] or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running llama-server."""

    port: int
    pid: int


@contextmanager
def _peer(given: argparse.Namespace, count: int) -> Generator[Peer]:
    """One with a place for each of `count` streams."""
    port = 18_000 + count
    command = [str(given.peer_server), "-m", str(given.peer_model), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--parallel", str(count), "-t", str(os.cpu_count())]
    command += ["-c", str(count * (given.tokens + 256)), *given.peer_arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_healthy(port)
            yield Peer(port=port, pid=process.pid)
        finally:
            process.terminate()


def _until_healthy(port: int) -> None:
    end_s = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def _medians(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Over the rounds that nobody disturbed."""
    quiet = [row for row in rows if row["is_quiet"]]
    numbers = [name for name, value in rows[0].items() if type(value) in (int, float)]
    found: dict[str, float] = {
        name: statistics.median(row[name] for row in quiet) for name in numbers if quiet
    }
    return {"quiet_rounds": len(quiet)} | {name: round(value, 4) for name, value in found.items()}


def _brief(row: dict[str, Any]) -> str:
    shown = ("engine_tok_s", "http_tok_s", "http_over_engine", "front_cpu_us_per_token")
    shown += ("peer_tok_s", "http_over_peer", "foreign_share", "stolen_share")
    said = " ".join(f"{name}={row[name]:.4g}" for name in shown if name in row)
    trips = " > ".join(f"{trip:.0f}" for trip in row["round_trip_ns"])
    return f"{said} round trips {trips} ns" + ("" if row["is_quiet"] else "; left out")


if __name__ == "__main__":
    main()
