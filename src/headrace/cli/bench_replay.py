"""`headrace bench replay`: a log of requests, asked again of other endpoints."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from headrace.bench.load import Address, Player
from headrace.bench.replay import LOGGED, Replay
from headrace.bench.run import Run
from headrace.bench.scenarios.log import read_log
from headrace.cli.bench_endpoints import (
    COUNTER_HELP,
    KEY_HELP,
    MODEL_HELP,
    NAME_HELP,
    PRICES_HELP,
    PROCESSES_HELP,
    TOKENIZER_HELP,
    URL_HELP,
    addresses,
    budget,
    counter_file,
    counter_name,
    loading,
    opened,
    report,
)
from headrace.cli.bench_plan import known_prices, planned_log, tell_plan
from headrace.cli.bench_run import print_report, write
from headrace.cli.output import print_json
from headrace.clock import SystemClock
from headrace.errors import ConfigError


def replay(
    log: Annotated[Path, typer.Argument(help="JSON lines of requests, perhaps with answers")],
    url: Annotated[list[str], typer.Option(help=URL_HELP)],
    model: Annotated[list[str] | None, typer.Option(help=MODEL_HELP)] = None,
    name: Annotated[list[str] | None, typer.Option(help=NAME_HELP)] = None,
    of: Annotated[
        str | None, typer.Option(help="whose requests, where the log has several endpoints")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.001, help="2: twice as fast as the log's times")
    ] = 1.0,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="the next when all have answered, not by time")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="name of the two files, .jsonl and .html are added")
    ] = Path("headrace-replay"),
    key_file: Annotated[list[Path] | None, typer.Option(help=KEY_HELP)] = None,
    prices: Annotated[Path | None, typer.Option(help=PRICES_HELP)] = None,
    tokenizer: Annotated[Path | None, typer.Option(help=TOKENIZER_HELP)] = None,
    counter: Annotated[Path | None, typer.Option(help=COUNTER_HELP)] = None,
    processes: Annotated[int, typer.Option(min=1, help=PROCESSES_HELP)] = 1,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="spend no more, all told")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="spend no more")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Ask a log's requests again, at its times, and compare in pairs with what the log has."""
    requests = read_log(log, of)
    if dry_run:
        tell_plan([planned_log(requests, known_prices(prices, model or [], len(url)))], as_json)
        return
    started_s = SystemClock().unix_s()
    player = Player(clock=SystemClock(), seed=0, budget=budget(max_tokens, max_cost, prices))

    async def measure() -> tuple[list[Address], Run]:
        options = (prices, tokenizer, counter_file(counter))
        found, _ = await addresses(url, name or [], model or [], key_file or [], *options)
        if any(address.name == LOGGED for address in found):
            raise ConfigError(f"--name: {LOGGED!r} is what the log's own answers are called")
        async with opened(found) as there, loading(player, found, there, processes) as loader:
            again = Replay(log=requests, player=player, endpoints=there, cpu_s=time.process_time)
            if one_by_one:
                return found, await again.one_by_one()
            return found, await again.at_its_times(loader, speed)

    found, done = uvloop.run(measure())
    told: dict[str, Any] = {
        "log": str(log),
        "of": of,
        "pace": "one by one" if one_by_one else f"the log's times, {speed:g} times as fast",
        "processes": processes,
        "counter": counter_name(counter),
    }
    made = report("Replay", found, done, told, started_s)
    if any(attempt.endpoint == LOGGED for attempt in made.attempts):
        endpoints = {**made.facts.endpoints, LOGGED: of or log.name}
        made = replace(made, facts=replace(made.facts, endpoints=endpoints))
    write(made, out)
    if as_json:
        comparisons, likenesses = made.comparisons, made.likenesses
        print_json({"facts": made.facts, "cells": made.cells, "comparisons": comparisons,
                    "likenesses": likenesses})  # fmt: skip
    else:
        print_report(made)
