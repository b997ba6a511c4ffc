"""Numbers and names as reports write them, in HTML: with intervals, and marked where weak."""

from html import escape

from headrace.bench.report.lines import Facts
from headrace.bench.scenarios import SCENARIOS
from headrace.bench.scenarios.log import REPLAY
from headrace.bench.statistics import MIN_SAMPLES, Estimate
from headrace.bench.summary import TOTAL, Quantiles


def ms(estimate: Estimate | None, *, q: float = 0.5) -> str:
    """Milliseconds with their interval; a percentile of too few samples is marked."""
    if estimate is None:
        return "–"
    few = "" if estimate.samples >= MIN_SAMPLES[q] else "*"
    low, high = (milliseconds(value) for value in (estimate.low, estimate.high))
    return f"{milliseconds(estimate.value)}{few}<small>{low} to {high}</small>"


def milliseconds(seconds: float) -> str:
    """A time without an interval."""
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def rate(estimate: Estimate | None) -> str:
    """Tokens a second with their interval."""
    if estimate is None:
        return "–"
    return f"{estimate.value:,.0f}<small>{estimate.low:,.0f} to {estimate.high:,.0f}</small>"


def share(estimate: Estimate | None) -> str:
    """A share in percent with its interval."""
    if estimate is None:
        return "–"
    return f"{estimate.value:.0%}<small>{estimate.low:.0%} to {estimate.high:.0%}</small>"


def cost(micro: float | None, tokens: float | None, currency: str) -> str:
    """Money for a success, else tokens; words where nothing succeeded."""
    if tokens is None:
        return "no success"
    if micro is None:
        return f"{tokens:,.0f} tokens"
    return f"{micro / 1e6:.6f} {escape(currency)}<small>{tokens:,.0f} tokens</small>"


def currency_of(facts: Facts, endpoint: str) -> str:
    """The currency of an endpoint's price, "" without one."""
    price = facts.prices.get(endpoint)
    return price.currency if price else ""


def title_of(scenario: str) -> str:
    """What a scenario is called in reports."""
    if scenario == REPLAY:
        return "Replay of a log"
    if scenario == TOTAL:
        return "All of these"
    return SCENARIOS[scenario].title if scenario in SCENARIOS else scenario


def middle(quantiles: Quantiles) -> str:
    """A median without its interval."""
    found = quantiles.get("p50")
    return "–" if found is None else f"{found.value:,.0f}"
