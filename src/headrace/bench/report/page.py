"""One HTML file, complete in itself: no script, no network, good on paper too."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from headrace.bench.load.lag import MAX_CPU_SHARE, MAX_LAG_S, ClientLag
from headrace.bench.race import VOICE, places
from headrace.bench.report.figures import figures, legend
from headrace.bench.report.lines import Report
from headrace.bench.report.tables import (
    comparisons_table,
    likeness_table,
    load_table,
    published_table,
    race_table,
    scenarios_table,
    structured_table,
)
from headrace.bench.scenarios.log import REPLAY
from headrace.bench.summary import TPOT_LIMIT_S, TTFT_LIMIT_S, Cell

_DEFINITIONS = f"""
<dl><dt>start</dt><dd>the intended send time under load, else just before the request is written
</dd>
<dt>TTFT</dt><dd>first visible text, reasoning or tool call, minus start; taken as bytes arrive</dd>
<dt>speed</dt><dd>tokens after the first moment / (last time − first time), one stream</dd>
<dt>alike</dt><dd>speed in tokens of one counter for all endpoints (see Settings), because
tokens of different models hold different amounts of text</dd>
<dt>gap</dt><dd>ITL: time between events, shared among the tokens of the later one</dd>
<dt>system</dt><dd>tokens that arrive in the steady window / its length</dd>
<dt>success</dt><dd>every stream whole, and the checker content with the answer</dd>
<dt>cost of a success</dt><dd>cost of all attempts, failed ones too / successes</dd>
<dt>goodput</dt><dd>successes a second with TTFT ≤ {TTFT_LIMIT_S:g} s and
{TPOT_LIMIT_S * 1e3:g} ms a token at most</dd>
<dt>interval</dt><dd>95 %, block bootstrap of 2,000 resamples</dd>
<dt>*</dt><dd>too few samples for this percentile (P99: 500)</dd></dl>"""


def page(report: Report) -> str:
    """The file's text."""
    facts = report.facts
    names = list(facts.endpoints)
    race_attempts = [a for a in report.attempts if a.scenario in ("agent", VOICE)]
    parts = [
        f"<h1>{escape(facts.title)}</h1>",
        f'<p class="soft">{escape(facts.date)} · Headrace {escape(facts.version)} · client: '
        f"{escape(', '.join(facts.machine.values()))}</p>",
        _trust(facts.lags),
        _tiles(report.cells, names),
        legend(names),
    ]
    if race_attempts:
        table = race_table(places(race_attempts, facts.prices), facts)
        told = "Agents' errands and voice turns on all endpoints at the same time."
        parts.append(_section("The race", table, told))
    parts += [
        _section(
            "Scenarios", scenarios_table([*report.cells, *report.totals], facts), _pace(report)
        ),
        _section("Structured output, errors", structured_table(report.cells)),
        _section(
            "Under load",
            load_table(report.cells, facts),
            "Sends at times drawn beforehand (Poisson), as shares of the measured capacity.",
        ),
        _section(
            "In pairs",
            comparisons_table(report.comparisons),
            "Whole tasks are compared where both answers are of one length, within a tenth.",
        ),
        _section(
            "Answers, in pairs",
            likeness_table(report.likenesses),
            "Words in common: of the last answers, in order. Longer: the second.",
        ),
        f"<h2>Pictures</h2>{legend(names)}"
        f'<div class="plots">{"".join(figures(report.attempts, report.cells, names))}</div>',
        _section(
            "Beside what is published",
            published_table(report.cells, facts),
            "Other machines, other prompts, other days: published elsewhere, not measured here.",
        ),
        f"<section><h2>What the words mean</h2>{_DEFINITIONS}</section>",
        _settings(report),
    ]
    style = files("headrace.bench.report").joinpath("page.css").read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(facts.title)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _pace(report: Report) -> str:
    """How the tasks that were not under load followed each other."""
    scenarios = {attempt.scenario for attempt in report.attempts if not attempt.stage}
    if REPLAY in scenarios:
        pace = report.facts.settings.get("pace")
        return f"Of a log, at this pace: {pace}. Success is the form that was asked for."
    if scenarios <= {"agent", VOICE}:
        return "All endpoints at the same time, one task at a time each."
    return "One task at a time; endpoints take turns in random order."


def _section(title: str, table: str, told: str = "") -> str:
    if not table:
        return ""
    lead = f'<p class="soft">{escape(told)}</p>' if told else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{table}</section>"


def _trust(lags: Mapping[str, ClientLag]) -> str:
    """Whether the client was quick enough, scenario by scenario."""
    late = [f"{name} ({_lag(lag)})" for name, lag in lags.items() if not lag.is_valid]
    if not late:
        worst_s = max((lag.loop_p99_s for lag in lags.values()), default=0.0)
        told = f"The client kept up: its own lag was {worst_s * 1e3:.1f} ms at most (P99)."
        return f'<p class="good">{told}</p>'
    told = (
        "Not valid, because the client itself was late or busy: "
        f"{'; '.join(late)}. Allowed are {MAX_LAG_S * 1e3:g} ms and {MAX_CPU_SHARE:.0%} of a "
        "processor. Run it on another machine, or offer less."
    )
    return f'<p class="bad">{escape(told)}</p>'


def _lag(lag: ClientLag) -> str:
    told = f"lag {lag.loop_p99_s * 1e3:.1f} ms"
    if lag.dispatch_p99_s is not None:
        told += f", sends {lag.dispatch_p99_s * 1e3:.1f} ms late"
    return f"{told}, processor {lag.cpu_share:.0%}"


def _tiles(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """What one looks for first, endpoint by endpoint, of its first closed scenario."""
    tiles: list[str] = []
    for name in names:
        first = next((c for c in cells if c.endpoint == name and not c.stage), None)
        if first is None:
            continue
        mine = [cell for cell in cells if cell.endpoint == name]
        done = sum(cell.outcomes.get("passed", 0) for cell in mine)
        tasks = sum(cell.tasks for cell in mine)
        ttft, speed = first.ttft["p50"], first.speed["p50"]
        for value, told in (
            ("–" if ttft is None else f"{ttft.value * 1e3:,.1f} ms", "to the first token, P50"),
            ("–" if speed is None else f"{speed.value:,.0f} tok/s", "one stream, P50"),
            (f"{done / tasks:.0%}", f"of {tasks:,} tasks succeeded"),
        ):
            tiles.append(
                f'<div class="tile"><span class="soft">{escape(name)}</span><b>{value}</b>'
                f'<span class="soft">{escape(told)}</span></div>'
            )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _settings(report: Report) -> str:
    """What was run, where, and what is to be known about it."""
    facts = report.facts
    pairs = [*facts.machine.items(), *facts.endpoints.items()]
    pairs += [(name, json.dumps(value)) for name, value in facts.settings.items()]
    pairs += [
        (f"price, {name}", f"{p.input:g} in, {p.output:g} out per million tokens, {p.currency}, "
         f"{p.date}, {p.source}")
        for name, p in facts.prices.items()
    ]  # fmt: skip
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs)
    notes = "".join(f"<li>{escape(note)}</li>" for note in facts.notes)
    told = f"<ul>{notes}</ul>" if notes else ""
    return f"<section><h2>Settings</h2>{told}<dl>{rows}</dl></section>"
