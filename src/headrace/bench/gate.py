"""A run as a gate: limits that it must keep, and a verdict that noise does not decide.

    [[limits]]
    scenario = "short"          # and `stage = "80%"` under load
    metric = "ttft_p50_ms"      # ttft, e2e, tpot (ms) with p50 p90 p95 p99; speed_p50; success
    at_most = 200               # or at_least

A limit is broken only when the whole 95 % interval lies beyond it. A baseline is an earlier run's
JSON lines: what it measured is the limit, less a tolerance.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from headrace.bench.statistics import Estimate
from headrace.bench.summary import Cell
from headrace.errors import ConfigError

_IN_MS = ("ttft", "e2e", "tpot")
_MORE_IS_BETTER = ("speed", "success")
_OF_BASELINE = ("ttft_p50_ms", "e2e_p50_ms", "speed_p50", "success")


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one number must be, for every endpoint unless one is named."""

    scenario: str
    metric: str
    at_most: float | None = None
    at_least: float | None = None
    stage: str = ""
    endpoint: str | None = None


class _Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limits: list[Limit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one limit on one endpoint."""

    name: str
    is_kept: bool
    told: str


def read_limits(path: Path) -> list[Limit]:
    """Read a file of limits. Raises ConfigError, which names file and limit."""
    try:
        limits = msgspec.convert(tomllib.loads(path.read_text()), _Limits).limits
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ConfigError(f"limits {path}: {exc}") from exc
    for limit in limits:
        if (limit.at_most is None) == (limit.at_least is None):
            raise ConfigError(f"limits {path}: {limit.metric} needs at_most or at_least, one of")
        _parts(limit.metric)
    return limits


def limits_of(baseline: Sequence[Cell], tolerance: float) -> list[Limit]:
    """An earlier run's numbers, each let off `tolerance` (0.1: ten per cent)."""
    found: list[Limit] = []
    for cell in baseline:
        for metric in _OF_BASELINE:
            estimate = _measured(cell, metric)
            if estimate is None:
                continue
            is_floor = metric.startswith(_MORE_IS_BETTER)
            found.append(
                Limit(
                    scenario=cell.scenario,
                    stage=cell.stage,
                    endpoint=cell.endpoint,
                    metric=metric,
                    at_least=estimate.value * (1 - tolerance) if is_floor else None,
                    at_most=None if is_floor else estimate.value * (1 + tolerance),
                )
            )
    return found


def judge(cells: Sequence[Cell], limits: Sequence[Limit]) -> list[Verdict]:
    """A verdict for each limit and cell it speaks of; a limit that meets none is broken."""
    found: list[Verdict] = []
    for limit in limits:
        name = f"{limit.scenario} {limit.stage} {limit.metric}".replace("  ", " ")
        met = [
            cell
            for cell in cells
            if (cell.scenario, cell.stage) == (limit.scenario, limit.stage)
            and limit.endpoint in (None, cell.endpoint)
        ]
        if not met:
            found.append(Verdict(name=name, is_kept=False, told="nothing was measured for it"))
        found += [_verdict(f"{name}, {cell.endpoint}", cell, limit) for cell in met]
    return found


def _verdict(name: str, cell: Cell, limit: Limit) -> Verdict:
    estimate = _measured(cell, limit.metric)
    if estimate is None:
        return Verdict(name=name, is_kept=False, told="no answer gave it")
    if limit.at_most is not None:
        wanted, is_kept = f"at most {limit.at_most:.6g}", estimate.low <= limit.at_most
    else:
        least = limit.at_least or 0.0
        wanted, is_kept = f"at least {least:.6g}", estimate.high >= least
    told = f"{estimate.value:.6g} ({estimate.low:.6g} to {estimate.high:.6g}), {wanted}"
    return Verdict(name=name, is_kept=is_kept, told=told)


def _parts(metric: str) -> tuple[str, str]:
    """Name and quantile. Raises ConfigError for a metric that is none."""
    name, _, rest = metric.partition("_")
    quantile, _, unit = rest.partition("_")
    is_time = name in _IN_MS and unit == "ms"
    if metric == "success":
        return "success", ""
    if (is_time or (name == "speed" and not unit)) and quantile in ("p50", "p90", "p95", "p99"):
        return name, quantile
    raise ConfigError(f"no such metric: {metric!r} (say ttft_p50_ms, speed_p50 or success)")


def _measured(cell: Cell, metric: str) -> Estimate | None:
    name, quantile = _parts(metric)
    if name == "success":
        return cell.passed
    quantiles = {"ttft": cell.ttft, "e2e": cell.e2e, "tpot": cell.tpot, "speed": cell.speed}
    estimate = quantiles[name][quantile]
    if estimate is None or name not in _IN_MS:
        return estimate
    return Estimate(
        value=estimate.value * 1e3,
        low=estimate.low * 1e3,
        high=estimate.high * 1e3,
        samples=estimate.samples,
        is_enough=estimate.is_enough,
    )


def junit(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as JUnit XML, which CI systems show."""
    broken = sum(not verdict.is_kept for verdict in verdicts)
    suite = ElementTree.Element(
        "testsuite", name="headrace bench", tests=str(len(verdicts)), failures=str(broken)
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname="bench", name=verdict.name)
        if verdict.is_kept:
            ElementTree.SubElement(case, "system-out").text = verdict.told
        else:
            ElementTree.SubElement(case, "failure", message=verdict.told)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
