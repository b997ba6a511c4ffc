"""What `--dry-run` says: what would be sent, and what it would cost at most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from headrace.bench.prices import Price, read_prices
from headrace.bench.scenarios import Scenario
from headrace.bench.scenarios.log import REPLAY, Log
from headrace.cli.bench_endpoints import one_each
from headrace.cli.output import print_json
from headrace.errors import ConfigError

_TOKENS_A_WORD = 2.0  # more than tokenizers make of English


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A row. Tasks are None where they depend on what the endpoint can take."""

    scenario: str
    tasks: int | None  # of each endpoint
    prompt_words: int  # of a task, or of all of a log, at most
    answer_tokens: int
    cost: float | None  # of all endpoints, at most; None: not known beforehand
    currency: str = ""


def known_prices(prices: Path | None, models: Sequence[str], count: int) -> list[Price] | None:
    """One for each of `count` endpoints; None where models or prices are not told.

    Raises ConfigError for a model without a price: nothing is asked of endpoints to find it out.
    """
    if prices is None or not models:
        return None
    table = read_prices(prices)
    chosen = one_each(models, count, "--model")
    if missing := [model for model in chosen if model not in table]:
        raise ConfigError(f"{prices} has no price of {missing[0]}")
    return [table[model] for model in chosen]


def planned(scenario: Scenario, tasks: int | None, prices: Sequence[Price] | None) -> Planned:
    """A scenario's row."""
    count = None if scenario.is_load else tasks or scenario.tasks
    words = scenario.words * scenario.calls
    tokens = scenario.max_tokens * scenario.calls
    cost = None if count is None else _cost(count * words, count * tokens, prices)
    return _row(scenario.name, count, words, tokens, cost, prices)


def planned_log(log: Log, prices: Sequence[Price] | None) -> Planned:
    """A log's row; its words and tokens are those of all requests together."""
    cost = _cost(log.words, log.max_tokens, prices)
    return _row(REPLAY, len(log.requests), log.words, log.max_tokens, cost, prices)


def _row(
    name: str,
    tasks: int | None,
    words: int,
    tokens: int,
    cost: float | None,
    prices: Sequence[Price] | None,
) -> Planned:
    currency = prices[0].currency if prices and cost is not None else ""
    return Planned(scenario=name, tasks=tasks, prompt_words=words, answer_tokens=tokens,
                   cost=cost, currency=currency)  # fmt: skip


def _cost(words: int, tokens: int, prices: Sequence[Price] | None) -> float | None:
    """In the prices' currency, None without prices or with several currencies."""
    if not prices or len({price.currency for price in prices}) > 1:
        return None
    return sum(words * _TOKENS_A_WORD * p.input + tokens * p.output for p in prices) / 1e6


def tell_plan(rows: Sequence[Planned], as_json: bool) -> None:
    """In words: tokens are known only to endpoints."""
    if as_json:
        print_json({"would_send": rows})
        return
    table = Table("scenario", "tasks", "prompt words, at most", "answer tokens, at most", "cost")
    for row in rows:
        table.add_row(
            row.scenario,
            "as many as it can take" if row.tasks is None else str(row.tasks),
            f"{row.prompt_words:,}",
            f"{row.answer_tokens:,}",
            "not known" if row.cost is None else f"{row.cost:.4f} {row.currency} at most",
        )
    Console().print(table)
