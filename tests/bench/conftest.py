"""A report with everything in it, made in virtual time."""

import datetime

import pytest

from headrace.bench.comparison import comparisons
from headrace.bench.load import Player
from headrace.bench.load.lag import ClientLag
from headrace.bench.prices import Price
from headrace.bench.race import race
from headrace.bench.report.lines import Facts, Report
from headrace.bench.run import Run, Runner, RunSettings
from headrace.bench.scenarios import scenario_named
from headrace.bench.summary import cells, totals
from tests.bench.agent import good_agent
from tests.bench.virtual import LoopClock, play, scripted

PRICE = Price(
    input=1.0, output=4.0, currency="EUR", date=datetime.date(2026, 11, 1), source="a test"
)


@pytest.fixture(scope="session")
def report() -> Report:
    async def main() -> Run:
        endpoints = [
            scripted("quick <b>", good_agent, first_s=0.1),
            scripted("slow", good_agent, first_s=0.4, lanes=2),
        ]
        player = Player(clock=LoopClock(), seed=0)
        names = ("short", "tool-call", "mix")
        settings = RunSettings(
            scenarios=[scenario_named(name) for name in names], tasks=8, stage_s=20
        )
        runner = Runner(player=player, endpoints=endpoints, settings=settings, cpu_s=lambda: 0.0)
        done = await runner.go()
        done.attempts += await race(player, endpoints, 2)
        return done

    done = play(main())
    prices = {"slow": PRICE}
    facts = Facts(
        title="Benchmark", date="2026-11-26 12:00 UTC", version="0.1.0",
        machine={"processor": "two of them"}, settings={"seed": 0},
        endpoints={"quick <b>": "model-a", "slow": "model-b"}, capacity=done.capacity,
        lags=done.lags | {"race": ClientLag(loop_p99_s=0.02, dispatch_p99_s=None, cpu_share=0.1)},
        notes=["a note & more"], prices=prices,
    )  # fmt: skip
    return Report(
        facts=facts,
        cells=cells(done.attempts, prices),
        totals=totals(done.attempts, prices),
        comparisons=comparisons(done.attempts),
        attempts=done.attempts,
    )
