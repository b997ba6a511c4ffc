"""Streamed answers read by a compiled program, so that reading costs the machine little.

`loopback_reader.cpp` is compiled with g++ at first use, and again when it has changed.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "loopback_reader.cpp"
PROGRAM = HERE.parent / "build" / "loopback_reader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What came on one stream. Times are seconds after the first request was written."""

    status: int
    error: str  # an error event, if one came
    is_done: bool  # [DONE] came
    sent_s: float
    arrivals: list[tuple[float, int]]  # reads that brought text: when, and how many events
    events: int  # with text
    writes: int  # HTTP chunks: what the server gave its socket at once
    reads: int
    bytes: int
    prompt_tokens: int  # as the server counts
    completion_tokens: int

    @property
    def first_s(self) -> float:
        """Request written to first text read."""
        return self.arrivals[0][0] - self.sent_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Streams of one run, and what it took to read them."""

    cpu_s: float  # of the reader
    switches: int  # of context, of the reader
    streams: list[Stream]

    @property
    def tokens(self) -> int:
        """Of all streams."""
        return sum(stream.completion_tokens for stream in self.streams)

    @property
    def events(self) -> int:
        """Of all streams, those with text."""
        return sum(stream.events for stream in self.streams)

    @property
    def tok_s(self) -> float:
        """Tokens per second of all streams, from when all have begun until the last one ends."""
        begin_s = max(stream.arrivals[0][0] for stream in self.streams)
        end_s = max(stream.arrivals[-1][0] for stream in self.streams)
        arrivals = (arrival for stream in self.streams for arrival in stream.arrivals)
        events = sum(count for at_s, count in arrivals if at_s > begin_s)
        return events * (self.tokens / self.events) / (end_s - begin_s)

    @property
    def longest_gap_s(self) -> float:
        """The longest silence on a stream between two reads with text."""
        return max(
            (
                after[0] - before[0]
                for stream in self.streams
                for before, after in zip(stream.arrivals, stream.arrivals[1:], strict=False)
            ),
            default=0.0,
        )


def chat(model: str, prompt: str, tokens: int) -> dict[str, Any]:
    """The body of a greedy, streamed chat request."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def read_streams(
    port: int, bodies: list[dict[str, Any]], key: str = "", *, width: int | None = None
) -> Reading:
    """Ask the server at `port` for a streamed answer to each body, all at once.

    With `width` only so many at first, and the next one whenever an answer has ended. Raises
    ValueError unless each comes to its end with usage.
    """
    with TemporaryDirectory() as folder:
        lines = Path(folder) / "bodies"
        lines.write_text("".join(json.dumps(body) + "\n" for body in bodies))
        done = subprocess.run(
            [_program(), str(port), str(lines), key, str(width or len(bodies))],
            check=True,
            capture_output=True,
            text=True,
        )
    said = json.loads(done.stdout)
    streams = [Stream(**stream) for stream in said.pop("streams")]
    for stream in streams:
        if not stream.is_done or not stream.arrivals or not stream.completion_tokens:
            raise ValueError(f"a stream came to no good end: {stream.status} {stream.error}")
    return Reading(streams=streams, **said)


def _program() -> Path:
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < SOURCE.stat().st_mtime:
        PROGRAM.parent.mkdir(exist_ok=True)
        subprocess.run(["g++", "-std=c++20", "-O2", "-o", PROGRAM, SOURCE], check=True)
    return PROGRAM
