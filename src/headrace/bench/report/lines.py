"""JSON lines: first the run (settings, machine, notes), then its cells, then every attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.comparison import Comparison
from headrace.bench.likeness import Likeness
from headrace.bench.load import ClientLag
from headrace.bench.metrics import Attempt
from headrace.bench.prices import Price
from headrace.bench.summary import Cell
from headrace.errors import ConfigError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a report says besides numbers."""

    title: str
    date: str  # of the start, UTC
    version: str  # of Headrace
    machine: Mapping[str, str]  # the client's
    settings: Mapping[str, Any]
    endpoints: Mapping[str, str]  # name -> what it is
    capacity: Mapping[str, float]  # tasks/s, by endpoint
    lags: Mapping[str, ClientLag]  # by scenario
    notes: Sequence[str]
    prices: Mapping[str, Price]  # by endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report is made of."""

    facts: Facts
    cells: Sequence[Cell]
    comparisons: Sequence[Comparison]
    attempts: Sequence[Attempt]
    likenesses: Sequence[Likeness] = ()
    totals: Sequence[Cell] = ()  # of all scenarios, by endpoint


def write_lines(report: Report, path: Path) -> None:
    """Write the file; each line has a `type`."""
    lines = [("run", {"format": FORMAT, "facts": report.facts})]
    lines += [("cell", cell) for cell in report.cells]
    lines += [("total", total) for total in report.totals]
    lines += [("comparison", comparison) for comparison in report.comparisons]
    lines += [("likeness", likeness) for likeness in report.likenesses]
    lines += [("attempt", attempt) for attempt in report.attempts]
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for kind, value in lines:
            file.write(encode({"type": kind, "value": value}) + b"\n")


_KINDS: Mapping[str, Any] = {
    "cell": Cell,
    "total": Cell,
    "comparison": Comparison,
    "likeness": Likeness,
    "attempt": Attempt,
}


def read_lines(path: Path) -> Report:
    """Read it again. Raises ConfigError, which names file and line."""
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    facts: Facts | None = None
    number = 0
    try:
        for line in path.read_bytes().splitlines():
            number += 1
            raw = msgspec.json.decode(line)
            if raw["type"] == "run":
                if raw["value"]["format"] != FORMAT:
                    raise ConfigError(f"{path}: format {raw['value']['format']} is not {FORMAT}")
                facts = msgspec.convert(raw["value"]["facts"], Facts)
            else:
                kind = raw["type"]
                found[kind].append(msgspec.convert(raw["value"], _KINDS[kind]))
    except OSError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError) as exc:
        raise ConfigError(f"{path}, line {number}: not a line of a run: {exc}") from exc
    if facts is None:
        raise ConfigError(f"{path}: holds no run")
    return Report(
        facts=facts,
        cells=found["cell"],
        comparisons=found["comparison"],
        attempts=found["attempt"],
        likenesses=found["likeness"],
        totals=found["total"],
    )
