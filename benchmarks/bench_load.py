"""What does loading cost? Seconds, and memory while `headrace serve` loads a folder and answers.

    python benchmarks/bench_load.py DIR [--runs checkpoint,write,cached] [--tokens 8]

Each run starts the server, samples RssAnon and RssFile of its whole process tree from /proc every
50 ms, waits for `ready`, streams one chat completion and stops. Before each the folder is dropped
from the page cache. `checkpoint` packs it, `write` also keeps what it packed, `cached` reads that
back; it is kept beside the folder and removed at the end. The peaks are of sums over the tree:
memory that processes share is counted more than once.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loopback_reader import chat, read_streams

SAMPLE_S = 0.05
QUESTION = "What is a headrace?"


class Watch:
    """The largest sums seen over a process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        self.peak = {"RssAnon": 0, "RssFile": 0}
        self._pid = pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Take no more samples."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            tree = [resident(pid) for pid in descendants(self._pid)]
            for kind in self.peak:
                self.peak[kind] = max(self.peak[kind], sum(one.get(kind, 0) for one in tree))


def descendants(pid: int) -> Iterator[int]:
    """`pid` and all below it."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in read(file).split():
            yield from descendants(int(child))


def resident(pid: int) -> dict[str, int]:
    """RssAnon and RssFile, bytes; empty for a process that has ended."""
    lines = (line.split() for line in read(Path(f"/proc/{pid}/status")).splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) * 1024
        for words in lines
        if words and words[0] in {"RssAnon:", "RssFile:"}
    }


def read(file: Path) -> str:
    """Its text; empty when the process went meanwhile."""
    try:
        return file.read_text()
    except OSError:
        return ""


def run(folder: Path, tokens: int, *, kind: str, home: Path) -> dict[str, Any]:
    """One server from start to stop."""
    forget(folder)
    caching = {"HEADRACE_ENGINE__PACKED_CACHE": "off" if kind == "checkpoint" else "on"}
    env = {**os.environ, **caching, "HEADRACE_HOME": str(home)}  # noqa: TID251 (a child inherits)
    command = [sys.executable, "-m", "headrace", "serve", str(folder)]
    command += ["--no-auth", "--port", "0", "--log-level", "warning"]
    started_s = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:
        watch = Watch(server.pid)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            load_s = time.perf_counter() - started_s
            loaded = dict(watch.peak)
            answer = read_streams(port, [chat(folder.name, QUESTION, tokens)])
        finally:
            watch.stop()
            server.terminate()
    return {
        "run": kind,
        "load_s": round(load_s, 1),
        "peak_anon_gb": round(watch.peak["RssAnon"] / 1e9, 2),
        "peak_file_gb": round(watch.peak["RssFile"] / 1e9, 2),
        "peak_anon_gb_until_ready": round(loaded["RssAnon"] / 1e9, 2),
        "tokens": answer.tokens,
        "ttft_s": round(answer.streams[0].first_s, 2),
        "decode_tok_s": round(answer.tok_s, 2),
    }


def forget(folder: Path) -> None:
    """Drop the folder's weights from the page cache."""
    for file in folder.resolve().glob("*.safetensors"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Run; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", default="checkpoint,write,cached")
    parser.add_argument("--tokens", type=int, default=8)
    asked = parser.parse_args()
    weights = sorted(asked.folder.glob("*.safetensors"))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with tempfile.TemporaryDirectory(dir=asked.folder.resolve().parent) as home:
        runs = [
            run(asked.folder, asked.tokens, kind=kind, home=Path(home))
            for kind in asked.runs.split(",")
        ]
    report = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {memory / 1e9:.1f} GB",
        "python": platform.python_version(),
        "model": asked.folder.name,
        "weight_gb": round(sum(file.stat().st_size for file in weights) / 1e9, 2),
        "shards": len(weights),
        "runs": runs,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
