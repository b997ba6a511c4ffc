"""`headrace bench run`: scenarios against endpoints, JSON lines and one HTML file."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from headrace.bench.calibration import calibrate
from headrace.bench.gate import judge, junit, limits_of, read_limits
from headrace.bench.load import Address, Player
from headrace.bench.metrics import Attempt
from headrace.bench.report import page, read_lines, write_lines
from headrace.bench.report.lines import Report
from headrace.bench.report.tables import verdict
from headrace.bench.report.values import title_of
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import SCENARIOS, Scenario, scenario_named
from headrace.bench.scenarios.dataset import dataset as own_tasks
from headrace.cli.bench_endpoints import (
    COUNTER_HELP,
    KEY_HELP,
    MODEL_HELP,
    NAME_HELP,
    PRICES_HELP,
    PROCESSES_HELP,
    SEED_HELP,
    TOKENIZER_HELP,
    URL_HELP,
    addresses,
    budget,
    counter_file,
    counter_name,
    fresh_seed,
    loading,
    opened,
    report,
)
from headrace.cli.bench_plan import known_prices, planned, tell_plan
from headrace.cli.output import print_json, say
from headrace.clock import SystemClock


def run(
    url: Annotated[list[str], typer.Option(help=URL_HELP)],
    model: Annotated[list[str] | None, typer.Option(help=MODEL_HELP)] = None,
    name: Annotated[list[str] | None, typer.Option(help=NAME_HELP)] = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCENARIOS)} [the first six]")
    ] = None,
    dataset: Annotated[
        list[Path] | None, typer.Option(help="your own tasks, JSON lines with prompts and checkers")
    ] = None,
    limits: Annotated[
        Path | None, typer.Option(help="TOML; exit status 1 when one is surely broken")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="an earlier run's .jsonl, whose numbers are limits")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="of the baseline's numbers")] = 0.1,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="verdicts as JUnit XML")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="name of the files: .jsonl, .html, .requests.jsonl are added")
    ] = Path("headrace-bench"),
    tasks: Annotated[int | None, typer.Option(min=1, help="of each, one at a time")] = None,
    stage_s: Annotated[float, typer.Option(min=1, help="of sending, a stage of load")] = 10.0,
    concurrency: Annotated[int, typer.Option(min=1, help="while capacity is measured")] = 8,
    seed: Annotated[int | None, typer.Option(min=0, help=SEED_HELP)] = None,
    key_file: Annotated[list[Path] | None, typer.Option(help=KEY_HELP)] = None,
    prices: Annotated[Path | None, typer.Option(help=PRICES_HELP)] = None,
    tokenizer: Annotated[Path | None, typer.Option(help=TOKENIZER_HELP)] = None,
    counter: Annotated[Path | None, typer.Option(help=COUNTER_HELP)] = None,
    processes: Annotated[int, typer.Option(min=1, help=PROCESSES_HELP)] = 1,
    record: Annotated[
        bool, typer.Option(help="write all bodies with their times and answers, for bench replay")
    ] = True,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="spend no more, all told")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="spend no more")] = None,
    calibration: Annotated[
        bool, typer.Option(help="measure the client itself first, by a server beside it")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Measure any OpenAI-compatible endpoint by tasks with checkers; compare several in pairs."""
    chosen = _chosen(scenario or [], dataset or [])
    kept = [*(read_limits(limits) if limits else ())]
    kept += limits_of(read_lines(baseline).cells, tolerance) if baseline else ()
    if dry_run:
        told_prices = known_prices(prices, model or [], len(url))
        tell_plan([planned(one, tasks, told_prices) for one in chosen], as_json)
        return
    started_s = SystemClock().unix_s()
    seed = fresh_seed(started_s) if seed is None else seed
    settings = RunSettings(
        scenarios=chosen, seed=seed, tasks=tasks, stage_s=stage_s, concurrency=concurrency
    )
    player = Player(
        clock=SystemClock(),
        seed=seed,
        budget=budget(max_tokens, max_cost, prices),
        record=[] if record else None,
    )

    async def measure() -> tuple[list[Address], Run, str]:
        options = (prices, tokenizer, counter_file(counter))
        found, room = await addresses(url, name or [], model or [], key_file or [], *options)
        async with opened(found) as there, loading(player, found, there, processes) as loader:
            fitting = replace(settings, context_tokens=room)
            runner = Runner(
                player=player,
                endpoints=there,
                settings=fitting,
                cpu_s=time.process_time,
                loader=loader,
            )
            itself = str(await calibrate(player.clock)) if calibration else "not done"
            return found, await _watched(player, runner), itself

    found, done, itself = uvloop.run(measure())
    told: dict[str, Any] = {
        "scenarios": [one.name for one in chosen],
        "seed": seed,
        "tasks": tasks,
        "stage_s": stage_s,
        "concurrency": concurrency,
        "processes": processes,
        "counter": counter_name(counter),
        "calibration": itself,
        "temperature": 0,
    }
    made = report("Benchmark", found, done, told, started_s)
    write(made, out)
    write_record(player.record, out)
    if as_json:
        shown = {"cells": made.cells, "totals": made.totals, "comparisons": made.comparisons}
        print_json({"facts": made.facts} | shown)
    else:
        print_report(made)
    verdicts = judge([*made.cells, *made.totals], kept)
    if junit_file is not None:
        junit_file.write_text(junit(verdicts))
    broken = [one for one in verdicts if not one.is_kept]
    for one in broken:
        say(f"broken: {one.name}: {one.told}", style="red")
    if broken:
        raise typer.Exit(1)


def _chosen(names: Sequence[str], files: Sequence[Path]) -> list[Scenario]:
    """What was named, else one's own tasks, else the scenarios that are asked by default."""
    found = [scenario_named(name) for name in names] + [own_tasks(path) for path in files]
    return found or [one for one in SCENARIOS.values() if one.is_default]


async def _watched(player: Player, runner: Runner) -> Run:
    """Run, with a line of progress on stderr where somebody looks."""
    if not sys.stderr.isatty():
        return await runner.go()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("asking what is there")
        count = {"tasks": 0, "passed": 0}
        name = ""

        def begin(scenario: str) -> None:
            nonlocal name
            name = title_of(scenario)
            count.update(tasks=0, passed=0)

        def add(attempt: Attempt) -> None:
            count["tasks"] += 1
            count["passed"] += attempt.is_passed
            told = f"{name}: {count['tasks']} tasks, {count['passed']} done well"
            bar.update(line, description=told)

        runner.on_scenario, player.on_attempt = begin, add
        return await runner.go()


def write(made: Report, out: Path) -> None:
    """Both files beside each other."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines, html = out.with_name(f"{out.name}.jsonl"), out.with_name(f"{out.name}.html")
    write_lines(made, lines)
    html.write_text(page(made))
    say(f"written: {html} and {lines}", style="dim")


def write_record(record: Sequence[bytes] | None, out: Path) -> None:
    """What was sent and what came of it, as `bench replay` takes it."""
    if record is not None:
        out.with_name(f"{out.name}.requests.jsonl").write_bytes(b"\n".join(record) + b"\n")


def print_report(made: Report) -> None:
    """What was found, for people."""
    table = Table("scenario", "endpoint", "tasks", "done", "TTFT P50", "P99", "tok/s", "system")
    for cell in (*made.cells, *made.totals):
        name = f"{cell.scenario} {cell.stage}".strip()
        first, last = cell.ttft["p50"], cell.ttft["p99"]
        speed = cell.speed["p50"]
        table.add_row(
            name,
            cell.endpoint,
            str(cell.tasks),
            "–" if cell.passed is None else f"{cell.passed.value:.0%}",
            "–" if first is None else f"{first.value * 1e3:,.1f} ms",
            "–" if last is None else f"{last.value * 1e3:,.1f} ms{'' if last.is_enough else '*'}",
            "–" if speed is None else f"{speed.value:,.0f}",
            "–" if cell.tokens_per_s is None else f"{cell.tokens_per_s:,.0f}",
        )
    Console().print(table)
    for found in made.comparisons:
        low, high = found.difference.low, found.difference.high
        span = f"{low:+.4g} to {high:+.4g}"
        Console(highlight=False).print(
            f"{found.scenario}, {found.metric}: {verdict(found)} ({span})"
        )
    for name, lag in made.facts.lags.items():
        if not lag.is_valid:
            say(f"{name}: not valid, the client itself was late or busy", style="red")
    for note in made.facts.notes:
        say(note, style="dim")
