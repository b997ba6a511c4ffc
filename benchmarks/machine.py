"""What the machine is and does around a timed run: bandwidth, distance of its CPUs, other load."""

import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.backends.cpu import read_bandwidth, round_trip_seconds

PROBE_S = 0.3  # of reading, before a run and after it
# A cache line goes to the other CPU and back in 45-150 ns within one last-level cache, and in some
# 400 ns between two. A virtual machine may move from one to the other at any time.
FAR_NS = 250.0
MOST_CHANGE = 1.25  # of bandwidth over a run; CPUs that moved apart and back read 1.6 times faster
# A virtual machine hands the memory of an ended process back to its host. It begins two seconds
# later; 2.5 GB took some six seconds, in which the host withheld 5 % of the processors' time.
GIVEN_BACK_AFTER_S = 2.0
GIVEN_BACK_BYTES_S = 0.4e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the memory gave at one moment."""

    round_trip_ns: float | None  # None: one CPU only
    read_bandwidth_gb_s: float  # of the working set in question

    @property
    def regime(self) -> str:
        """Whether the CPUs share their last-level cache: `near`, else `far`."""
        return "far" if (self.round_trip_ns or 0.0) > FAR_NS else "near"


def probe(working_set_bytes: int, threads: int) -> Conditions:
    """Measure them now; takes the CPUs for about half a second."""
    round_trip_s = round_trip_seconds()
    return Conditions(
        round_trip_ns=None if round_trip_s is None else round_trip_s * 1e9,
        read_bandwidth_gb_s=read_bandwidth(working_set_bytes, threads, PROBE_S) / 1e9,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The conditions just before and just after a run."""

    before: Conditions
    after: Conditions

    @property
    def regime(self) -> str | None:
        """The regime of the run, None if it flipped meanwhile.

        Memory tells of moves that the cache line does not: the CPUs may be back when it is sent.
        """
        rates = self.before.read_bandwidth_gb_s, self.after.read_bandwidth_gb_s
        has_moved = self.before.regime != self.after.regime or max(rates) > MOST_CHANGE * min(rates)
        return None if has_moved else self.before.regime

    @property
    def read_bandwidth_gb_s(self) -> float:
        """The mean of the two."""
        return (self.before.read_bandwidth_gb_s + self.after.read_bandwidth_gb_s) / 2

    def roofline_share(self, tokens_per_s: float, bytes_per_token: int) -> float:
        """What part of the bandwidth a decoder uses that reads `bytes_per_token` for each token."""
        return tokens_per_s * bytes_per_token / self.read_bandwidth_gb_s / 1e9

    def __str__(self) -> str:
        trips, rates = [], []
        for at in (self.before, self.after):
            trips.append("-" if at.round_trip_ns is None else f"{at.round_trip_ns:.0f}")
            rates.append(f"{at.read_bandwidth_gb_s:.0f}")
        regime = self.regime or "flipped"
        return f"round trip {' > '.join(trips)} ns, {' > '.join(rates)} GB/s, {regime}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSeconds:
    """Processor time so far."""

    busy: float  # all cores, whoever used them
    ours: float  # this process's finished children
    stolen: float  # all cores, by the host of this virtual machine; part of `busy`
    total: float  # all cores, idle or not

    @classmethod
    def now(cls) -> "CpuSeconds":
        """As the system counts it."""
        ticks = [int(t) for t in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        hertz = os.sysconf("SC_CLK_TCK")
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = sum(ticks) - ticks[3] - ticks[4]
        return cls(
            busy=busy / hertz,
            ours=children.ru_utime + children.ru_stime,
            stolen=ticks[7] / hertz,
            total=sum(ticks) / hertz,
        )

    def foreign_share(self, before: "CpuSeconds") -> float:
        """Share of all cores that others took since `before`, 0..1."""
        others = (self.busy - before.busy) - (self.ours - before.ours)
        return max(0.0, others / (self.total - before.total))

    def stolen_share(self, before: "CpuSeconds") -> float:
        """Share of all cores that the host withheld since `before`, 0..1."""
        return (self.stolen - before.stolen) / (self.total - before.total)


def wait_until_settled(freed_bytes: int) -> None:
    """Return when the memory of a process that has just ended is back where it came from."""
    time.sleep(GIVEN_BACK_AFTER_S + freed_bytes / GIVEN_BACK_BYTES_S)


def wait_until_idle(most_foreign: float) -> None:
    """Return once others take less than that share of all cores, or after a minute."""
    for _ in range(60):
        before = CpuSeconds.now()
        time.sleep(1)
        if CpuSeconds.now().foreign_share(before) < most_foreign:
            return


def describe() -> dict[str, Any]:
    """The machine, for a result file."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def commit() -> str | None:
    """Of this checkout, marked if files differ from it."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None


def result_file(folder: Path, question: str) -> Path:
    """A new file for what was found, named by date, question and processor."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{datetime.now(UTC):%Y-%m-%d-%H%M}-{question}-{platform.machine()}.json"
