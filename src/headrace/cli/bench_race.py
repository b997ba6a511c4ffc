"""`headrace bench race`: agents' errands and voice turns on several endpoints, side by side."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.live import Live
from rich.table import Table

from headrace.bench.load import Address, Endpoint, LagWatch, Player, counted_by
from headrace.bench.metrics import Attempt
from headrace.bench.race import VOICE_BUDGET_S, Lane, Place, places
from headrace.bench.race import race as run_race
from headrace.bench.run import Run
from headrace.cli.bench_endpoints import (
    KEY_HELP,
    MODEL_HELP,
    NAME_HELP,
    PRICES_HELP,
    SEED_HELP,
    URL_HELP,
    addresses,
    budget,
    counter_file,
    counter_name,
    fresh_seed,
    opened,
    report,
)
from headrace.cli.bench_run import write
from headrace.cli.output import print_json
from headrace.clock import SystemClock

_FRAME_S = 0.1


def race(
    url: Annotated[list[str], typer.Option(help=URL_HELP)],
    model: Annotated[list[str] | None, typer.Option(help=MODEL_HELP)] = None,
    name: Annotated[list[str] | None, typer.Option(help=NAME_HELP)] = None,
    rounds: Annotated[int, typer.Option(min=1, help="an errand and a voice turn each")] = 10,
    out: Annotated[
        Path, typer.Option(help="name of the two files, .jsonl and .html are added")
    ] = Path("headrace-race"),
    seed: Annotated[int | None, typer.Option(min=0, help=SEED_HELP)] = None,
    key_file: Annotated[list[Path] | None, typer.Option(help=KEY_HELP)] = None,
    prices: Annotated[Path | None, typer.Option(help=PRICES_HELP)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="spend no more, all told")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="spend no more")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Let endpoints race: who has an agent's errand done first, and who speaks within 800 ms?"""
    clock = SystemClock()
    started_s = clock.unix_s()
    seed = fresh_seed(started_s) if seed is None else seed
    player = Player(clock=clock, seed=seed, budget=budget(max_tokens, max_cost, prices))

    async def measure() -> tuple[list[Address], Run]:
        options = (prices, None, counter_file(None))
        found, _ = await addresses(url, name or [], model or [], key_file or [], *options)
        async with opened(found) as there:
            async with LagWatch(clock, time.process_time) as watch:
                attempts = await _watched(player, there, rounds)
            lags = {"race": watch.lag(attempts)}
            return found, Run(attempts=counted_by(there, attempts), lags=lags)

    found, done = uvloop.run(measure())
    told = {"rounds": rounds, "seed": seed, "counter": counter_name(None)}
    made = report("Race", found, done, told, started_s)
    write(made, out)
    order = places(done.attempts, made.facts.prices)
    if as_json:
        print_json({"facts": made.facts, "places": order})
    else:
        _print(order)


async def _watched(player: Player, found: Sequence[Endpoint], rounds: int) -> list[Attempt]:
    if not sys.stderr.isatty():
        return await run_race(player, found, rounds)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        lanes: list[Lane] = []

        async def draw() -> None:
            while True:
                live.update(_lanes(lanes, rounds), refresh=True)
                await asyncio.sleep(_FRAME_S)

        drawing = asyncio.create_task(draw())
        try:
            return await run_race(player, found, rounds, on_start=lanes.extend)
        finally:
            drawing.cancel()


def _lanes(lanes: Sequence[Lane], rounds: int) -> Table:
    table = Table("endpoint", "way", "doing", "calls", "tokens", "done well", "time")
    for lane in lanes:
        way = "#" * round(20 * lane.rounds / rounds)
        table.add_row(
            lane.name,
            f"{way:.<20} {lane.rounds}/{rounds}",
            lane.doing,
            str(lane.calls),
            f"{lane.tokens:,.0f}",
            str(lane.passed),
            f"{lane.took_s:.1f} s",
        )
    return table


def _print(order: Sequence[Place]) -> None:
    budget_ms = f"within {VOICE_BUDGET_S * 1e3:.0f} ms"
    table = Table("endpoint", "errands done", "wall time P50", "calls", "first sentence", budget_ms)
    for place in order:
        table.add_row(
            place.endpoint,
            "–" if place.passed is None else f"{place.passed.value:.0%} of {place.rounds}",
            "–" if place.errand_s is None else f"{place.errand_s.value:.2f} s",
            f"{place.calls:.1f}",
            "–" if place.sentence_s is None else f"{place.sentence_s.value * 1e3:,.0f} ms",
            "–" if place.in_budget is None else f"{place.in_budget:.0%}",
        )
    Console().print(table)
