"""What the load benchmarks share: a server to start, and clients that cost little.

Clients are bare asyncio streams: they send one chat request each, note when content arrives, and
may leave whenever they like. Everything stays on 127.0.0.1.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(slots=True)
class Server:
    """A running `headrace serve`."""

    port: int
    process: "subprocess.Popen[str]"
    home: Path
    scraper: str = ""  # a key that /metrics opens to, where there are keys

    def engine_pid(self) -> int:
        """The process that decodes: the server's child."""
        return self.pids()[1]

    def pids(self) -> list[int]:
        """The server and its children."""
        found = [self.process.pid]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
        return found

    def resident_mib(self) -> float:
        """Memory of all its processes, in MiB."""
        pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        """File descriptors of all its processes."""
        return sum(len(list(Path(f"/proc/{p}/fd").iterdir())) for p in self.pids())

    def gauge(self, name: str) -> float:
        """A number of /metrics, summed over its labels."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        headers = {"authorization": f"Bearer {self.scraper}"} if self.scraper else {}
        asked = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0] == name)

    def key(self, name: str, tier: str = "free") -> str:
        """A new API key."""
        made = self.run("keys", "create", "--tier", tier, "--json", "--name", name)
        return json.loads(made)["key"]

    def run(self, *arguments: str) -> str:
        """What a command prints that works on the server's home."""
        command = [sys.executable, "-m", "headrace", *arguments]
        done = subprocess.run(command, env=in_home(self.home), capture_output=True, check=True)
        return done.stdout.decode()


@contextmanager
def serving(*arguments: str, **settings: str) -> Generator[Server]:
    """A server on a free port and a home of its own; `settings` are HEADRACE_ variables."""
    with TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "serve", "--port", "0", *arguments],
            env=in_home(Path(home)) | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            yield Server(port, process, Path(home))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def in_home(home: Path) -> dict[str, str]:
    """The environment of a program whose data lie in `home`."""
    return {**os.environ, "HEADRACE_HOME": str(home)}  # noqa: TID251 (what a child inherits)


@dataclass(slots=True)
class Visit:
    """One request and how it went. Times are seconds from the request's last byte."""

    status: int = 0
    head: bytes = b""  # of the answer
    content_s: list[float] = field(default_factory=list[float])  # of each read that held content
    ended_s: float = 0.0
    error_s: float | None = None  # when an error event came
    error: str = ""
    is_done: bool = False  # [DONE] came
    began: float = 0.0  # time.perf_counter() of the request's last byte

    @property
    def first_s(self) -> float | None:
        """Time to the first content."""
        return self.content_s[0] if self.content_s else None


async def visit(
    port: int,
    prompt: str,
    max_tokens: int,
    *,
    key: str = "",
    leave_after: int | None = None,
    begun: asyncio.Event | None = None,
) -> Visit:
    """Stream one answer; leave after so many reads with content. `begun`: set at the first."""
    body = json.dumps(
        {
            "model": "headrace-mini",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 1,
            "logit_bias": {"0": -100},
            "min_tokens": max_tokens,  # no answer ends early: the load is what was asked for
            "stream": True,
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        f"authorization: Bearer {key}\r\n\r\n"
    )
    seen = Visit()
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        seen.began = time.perf_counter()
        while piece := await reader.read(65536):
            now_s = time.perf_counter() - seen.began
            if not seen.status:
                seen.status, seen.head = int(piece[9:12]), piece.partition(b"\r\n\r\n")[0]
            if b'"content":"' in piece.replace(b'"content":""', b""):
                seen.content_s.append(now_s)
                if begun is not None:
                    begun.set()
            if b'"error"' in piece:
                seen.error_s, seen.error = now_s, piece.decode()
            seen.is_done = seen.is_done or b"data: [DONE]" in piece
            if leave_after is not None and len(seen.content_s) >= leave_after:
                break
    except ConnectionError:
        pass
    finally:
        seen.ended_s = time.perf_counter() - seen.began
        writer.close()
        if begun is not None:
            begun.set()
    return seen
