"""The tables of a report, as HTML."""

import csv
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from headrace.bench.comparison import Comparison
from headrace.bench.likeness import Likeness
from headrace.bench.race import VOICE_BUDGET_S, Place
from headrace.bench.report.lines import Facts
from headrace.bench.report.values import (
    cost,
    currency_of,
    middle,
    milliseconds,
    ms,
    rate,
    share,
    title_of,
)
from headrace.bench.scenarios import STRUCTURED
from headrace.bench.statistics import MIN_PAIRS
from headrace.bench.summary import Cell

_LESS_IS_BETTER = {"TTFT, s", "whole task, s"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = ()) -> str:
    """Rows of finished HTML under escaped heads; `words` are columns of text that may wrap."""

    def cell(tag: str, index: int, text: str) -> str:
        kind = ' class="word"' if index in words else ""
        return f"<{tag}{kind}>{text}</{tag}>"

    heads = "".join(cell("th", i, escape(text)) for i, text in enumerate(head))
    body = "".join(
        f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{heads}</tr>{body}</table></div>'


def scenarios_table(cells: Sequence[Cell], facts: Facts) -> str:
    """One row a scenario and endpoint, one task at a time."""
    head = ("scenario", "endpoint", "tasks", "success", "TTFT P50, ms", "P90", "P99")
    head += ("tok/s P50", "alike", "gap P99, ms", "call P50, ms", "cost of a success")
    rows = [
        (
            escape(title_of(cell.scenario)),
            escape(cell.endpoint),
            str(cell.tasks),
            share(cell.passed),
            ms(cell.ttft["p50"]),
            ms(cell.ttft["p90"], q=0.9),
            ms(cell.ttft["p99"], q=0.99),
            rate(cell.speed["p50"]),
            middle(cell.common_speed),
            "–" if cell.gap_p99_s is None else milliseconds(cell.gap_p99_s),
            ms(cell.e2e["p50"]),
            cost(
                cell.micro_per_success, cell.tokens_per_success, currency_of(facts, cell.endpoint)
            ),
        )
        for cell in cells
        if not cell.stage
    ]
    return table(head, rows, words=(0, 1)) + _flags(cells, has_stage=False) if rows else ""


def load_table(cells: Sequence[Cell], facts: Facts) -> str:
    """One row a stage and endpoint."""
    head = ("offered", "endpoint", "tasks", "success", "TTFT P50, ms", "P99", "call P99, ms")
    head += ("system tok/s", "goodput, 1/s", "faults", "cost of a success")
    rows = [
        (
            f"{escape(cell.stage)} of {facts.capacity.get(cell.endpoint, 0):.1f} tasks/s",
            escape(cell.endpoint),
            str(cell.tasks),
            share(cell.passed),
            ms(cell.ttft["p50"]),
            ms(cell.ttft["p99"], q=0.99),
            ms(cell.e2e["p99"], q=0.99),
            "–" if cell.tokens_per_s is None else f"{cell.tokens_per_s:,.0f}",
            "–" if cell.goodput is None else f"{cell.goodput:.2f}",
            str(sum(cell.faults.values())),
            cost(
                cell.micro_per_success, cell.tokens_per_success, currency_of(facts, cell.endpoint)
            ),
        )
        for cell in cells
        if cell.stage
    ]
    return table(head, rows, words=(1,)) + _flags(cells, has_stage=True) if rows else ""


def _flags(cells: Sequence[Cell], *, has_stage: bool) -> str:
    """What to know before believing a row, each once, with whom it concerns."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for flag in cell.flags:
            if bool(cell.stage) == has_stage:
                row = cell.stage or title_of(cell.scenario)
                found.setdefault(flag, []).append(f"{row} ({cell.endpoint})")
    lines = (f"<li>{escape(flag)}: {escape(', '.join(rows))}</li>" for flag, rows in found.items())
    return f'<ul class="soft">{"".join(lines)}</ul>' if found else ""


def structured_table(cells: Sequence[Cell]) -> str:
    """Error rates of structured output, of the scenarios that ask for it."""
    asked = [c for c in cells if c.scenario in ("tool-call", "agent") or _errs(c)]
    head = ("scenario", "endpoint", "tasks", *(outcome.value for outcome in STRUCTURED))
    rows = [
        (
            escape(title_of(cell.scenario)),
            escape(cell.endpoint),
            str(cell.tasks),
            *(f"{cell.structured_errors[outcome.value]:.0%}" for outcome in STRUCTURED),
        )
        for cell in asked
    ]
    return table(head, rows, words=(1,)) if rows else ""


def _errs(cell: Cell) -> bool:
    return any(cell.structured_errors.values())


def comparisons_table(comparisons: Sequence[Comparison]) -> str:
    """Differences in pairs and what they show."""
    head = ("scenario", "measure", "difference", "95 % interval", "pairs", "shown")
    rows = [
        (
            escape(title_of(found.scenario)),
            escape(f"{found.metric}: {found.second} minus {found.first}"),
            f"{found.difference.value:+.4g}",
            f"{found.difference.low:+.4g} to {found.difference.high:+.4g}",
            str(found.difference.pairs),
            escape(verdict(found)),
        )
        for found in comparisons
    ]
    return table(head, rows, words=(1, 5)) if rows else ""


def likeness_table(likenesses: Sequence[Likeness]) -> str:
    """Whether answers to the same tasks are alike."""
    head = ("scenario", "endpoints", "pairs", "the same", "words in common", "longer by, tokens")
    rows = [
        (
            escape(title_of(found.scenario)),
            escape(f"{found.first}, {found.second}"),
            str(found.longer.pairs),
            share(found.same),
            share(found.like),
            f"{found.longer.value:+.4g}"
            f"<small>{found.longer.low:+.4g} to {found.longer.high:+.4g}</small>",
        )
        for found in likenesses
    ]
    return table(head, rows, words=(1,)) if rows else ""


def verdict(comparison: Comparison) -> str:
    """Who is better, if the interval says so."""
    if comparison.difference.pairs < MIN_PAIRS:
        return "too few pairs to tell"
    if not comparison.difference.is_shown:
        return "no difference shown"
    is_second = (comparison.difference.value < 0) == (comparison.metric in _LESS_IS_BETTER)
    return f"{comparison.second if is_second else comparison.first} is better"


def race_table(places: Sequence[Place], facts: Facts) -> str:
    """The race, in the order of arrival."""
    head = ("endpoint", "errands", "done", "wall time P50, ms", "calls an errand")
    head += ("first sentence P50, ms", f"within {VOICE_BUDGET_S * 1e3:.0f} ms", "cost of a success")
    rows = [
        (
            escape(place.endpoint),
            str(place.rounds),
            share(place.passed),
            ms(place.errand_s),
            f"{place.calls:.1f}",
            ms(place.sentence_s),
            "–" if place.in_budget is None else f"{place.in_budget:.0%}",
            cost(
                place.micro_per_success,
                place.tokens_per_success,
                currency_of(facts, place.endpoint),
            ),
        )
        for place in places
    ]
    return table(head, rows)


def published_table(cells: Sequence[Cell], facts: Facts) -> str:
    """What others publish, beside what was measured here."""
    text = files("headrace.bench.report").joinpath("published_speeds.csv").read_text()
    head = ("platform", "model", "precision", "output tok/s", "said by", "date", "source")
    rows = [
        (
            f"<b>{escape(cell.endpoint)}</b>",
            escape(facts.endpoints.get(cell.endpoint, "")),
            "–",
            f"<b>{middle(cell.speed)}</b>",
            "measured in this run",
            escape(facts.date[:10]),
            escape(title_of(cell.scenario)),
        )
        for cell in cells
        if not cell.stage and cell.speed["p50"] is not None
    ]
    rows += [_published(row) for row in csv.DictReader(text.splitlines())]
    return table(head, rows, words=(1, 4, 6))


def _published(row: Mapping[str, str]) -> tuple[str, ...]:
    source = row["source_title"] + (f" ({row['note']})" if row["note"] else "")
    return (
        escape(row["platform"]),
        escape(row["model"]),
        escape(row["precision"]),
        f"{float(row['tokens_per_s']):,.0f}",
        escape(f"published elsewhere, {row['kind']}"),
        escape(row["date"]),
        escape(source),
    )
