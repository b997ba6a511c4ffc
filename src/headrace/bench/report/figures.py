"""The pictures of a report: which values are drawn, and what is read off them."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from headrace.bench.client import Answer
from headrace.bench.metrics import Attempt, gaps_s, output_speed, ttft_s
from headrace.bench.report import plots
from headrace.bench.report.values import title_of
from headrace.bench.summary import Cell

_Groups = list[tuple[str, int, list[float]]]


def legend(names: Sequence[str]) -> str:
    """Which colour is whose."""
    shown = "".join(
        f'<span><i class="c{index % 6}"></i>{escape(name)}</span>'
        for index, name in enumerate(names)
    )
    return f'<p class="legend">{shown}</p>'


def figures(attempts: Sequence[Attempt], cells: Sequence[Cell], names: Sequence[str]) -> list[str]:
    """All that there is data for; colours by the place in `names`."""
    colours = {name: index for index, name in enumerate(names)}
    closed = [attempt for attempt in attempts if not attempt.stage]
    found: list[str] = []
    for scenario in dict.fromkeys(attempt.scenario for attempt in closed):
        of_scenario = [attempt for attempt in closed if attempt.scenario == scenario]
        title = title_of(scenario)
        x = plots.Axis(label="time to first token, ms", is_log=True)
        groups = _groups(of_scenario, colours, lambda a: _scaled(ttft_s(a), 1e3))
        found.append(figure(f"{title}: TTFT", plots.ecdf(f"TTFT of {title}", x, groups)))
        groups = _groups(of_scenario, colours, output_speed)
        x = plots.Axis(label="output speed, tok/s", low=0.0, high=_most(groups))
        found.append(figure(f"{title}: speed", plots.ecdf(f"speed of {title}", x, groups)))
    found.append(_load(cells, colours))
    found.append(_gaps(closed, colours))
    found.append(_when(attempts, colours))
    return [picture for picture in found if picture]


def figure(title: str, svg: str, told: str = "") -> str:
    """A picture with its title; nothing where there is no picture."""
    caption = f"<figcaption>{escape(told)}</figcaption>" if told else ""
    return f"<figure><h3>{escape(title)}</h3>{svg}{caption}</figure>" if svg else ""


def _most(groups: _Groups) -> float | None:
    """Where an axis ends so that single bursts do not press the rest together."""
    ends = [1.3 * sorted(values)[int(0.95 * (len(values) - 1))] for _, _, values in groups]
    return max(ends, default=None)


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


def _groups(
    attempts: Sequence[Attempt],
    colours: Mapping[str, int],
    measure: Callable[[Answer], float | None],
) -> _Groups:
    groups: _Groups = []
    for name, colour in colours.items():
        whole = [
            a for attempt in attempts if attempt.endpoint == name for a in attempt.answers
            if not a.fault
        ]  # fmt: skip
        values = [value for answer in whole if (value := measure(answer)) is not None]
        if values:
            groups.append((name, colour, values))
    return groups


def _load(cells: Sequence[Cell], colours: Mapping[str, int]) -> str:
    """TTFT against throughput, stage by stage: P50 drawn through, P99 dashed."""
    series: list[plots.Series] = []
    for name, colour in colours.items():
        stages = [c for c in cells if c.endpoint == name and c.stage and c.tokens_per_s is not None]
        for quantile in ("p50", "p99"):
            points = [
                (cell.tokens_per_s or 0.0, estimate.value * 1e3)
                for cell in stages
                if (estimate := cell.ttft[quantile]) is not None
            ]
            series.append(
                plots.Series(
                    name=f"{name}, {quantile.upper()}",
                    colour=colour,
                    points=points,
                    is_dashed=quantile == "p99",
                    has_dots=True,
                )
            )
    x = plots.Axis(label="system throughput, tok/s", low=0.0)
    y = plots.Axis(label="TTFT, ms", is_log=True)
    told = "One dot a stage; P50 drawn through, P99 dashed. Waiting counts from the intended send."
    return figure(
        "Latency against throughput", plots.lines("latency, throughput", x, y, series), told
    )


def _gaps(attempts: Sequence[Attempt], colours: Mapping[str, int]) -> str:
    groups: _Groups = []
    for name, colour in colours.items():
        mine = [attempt for attempt in attempts if attempt.endpoint == name]
        gaps = [
            gap * 1e3 for a in mine for answer in a.answers if not answer.fault
            for gap in gaps_s(answer)
        ]  # fmt: skip
        groups.append((name, colour, gaps))
    x = plots.Axis(label="gap between events, ms", is_log=True)
    told = "Tasks not under load. What arrived in one read has no gap: it stands at the left end."
    return figure("Gaps", plots.histogram("gaps between events", x, groups), told)


def _when(attempts: Sequence[Attempt], colours: Mapping[str, int]) -> str:
    if not attempts:
        return ""
    begin_s = min(attempt.start_s for attempt in attempts)
    spans = [
        (
            attempt.start_s - begin_s,
            attempt.end_s - begin_s,
            colours[attempt.endpoint],
            attempt.is_passed,
            f"{attempt.task} on {attempt.endpoint}: {attempt.outcome.value}",
        )
        for attempt in sorted(attempts, key=lambda a: a.start_s)
    ]
    told = "Strong: the task succeeded. Pale: it did not."
    return figure("Time line", plots.timeline("when each task ran", spans), told)
