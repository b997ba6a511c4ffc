"""A run in numbers: one row for each scenario (stage by stage under load) and endpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from headrace.bench.client import Answer
from headrace.bench.metrics import (
    Attempt,
    Window,
    common_speed,
    e2e_s,
    is_buffered,
    itl_s,
    output_speed,
    steady_window,
    throughput,
    tpot_s,
    ttfa_s,
    ttft_s,
)
from headrace.bench.prices import Price, spent
from headrace.bench.scenarios import STRUCTURED, Outcome
from headrace.bench.statistics import Estimate, mean, percentile

TOTAL = "total"  # what all scenarios together are called
QUANTILES = (0.5, 0.9, 0.95, 0.99)
# Limits of goodput: what MLPerf's server scenario asks of Llama-3.1-8B.
TTFT_LIMIT_S, TPOT_LIMIT_S = 2.0, 0.1

Quantiles = Mapping[str, Estimate | None]  # "p50" ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one endpoint did in one scenario, or in one stage of it. Seconds, tokens per second.

    Faulty answers are in no average of times; they are in the rates and in the cost.
    """

    endpoint: str
    scenario: str
    stage: str
    tasks: int
    passed: Estimate | None  # share, 0..1
    outcomes: Mapping[str, int]
    structured_errors: Mapping[str, float]  # shares of all tasks
    faults: Mapping[str, int]
    ttft: Quantiles
    ttfa: Quantiles
    e2e: Quantiles
    tpot: Quantiles
    speed: Quantiles
    gap_p50_s: float | None  # between tokens (ITL), pooled
    gap_p99_s: float | None
    connect_p50_s: float | None  # of requests on new connections; not part of TTFT
    tokens_per_s: float | None  # under load: of the whole endpoint, in the steady window
    goodput: float | None  # tasks a second that passed within the limits
    window: Window | None
    prompt_tokens: int
    output_tokens: float
    cached_tokens: int
    tokens_per_success: float | None  # of all attempts
    micro_per_success: float | None  # millionths of the price's currency, all attempts
    counts: Sequence[str]  # how tokens of events were known
    flags: Sequence[str]  # what to know before believing it
    # In tokens of the counter that is the same for all endpoints.
    common_speed: Quantiles = field(default_factory=dict[str, Estimate | None])
    common_tokens: int = 0


def cells(attempts: Sequence[Attempt], prices: Mapping[str, Price]) -> list[Cell]:
    """A cell for each scenario and stage, in the order they were met, and endpoint, by its name.

    `prices` is by endpoint.
    """
    met = {(a.scenario, a.stage): index for index, a in reversed(list(enumerate(attempts)))}
    groups: dict[tuple[str, str, str], list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda a: (met[a.scenario, a.stage], a.endpoint)):
        groups.setdefault((attempt.scenario, attempt.stage, attempt.endpoint), []).append(attempt)
    return [_cell(group, prices.get(group[0].endpoint)) for group in groups.values()]


def totals(attempts: Sequence[Attempt], prices: Mapping[str, Price]) -> list[Cell]:
    """A cell for each endpoint of all its tasks that were not under load, by its name.

    None where there is one such scenario: its cell says it all.
    """
    closed = [replace(a, scenario=TOTAL) for a in attempts if not a.stage]
    if len({a.scenario for a in attempts if not a.stage}) < 2:
        return []
    return cells(closed, prices)


def _cell(attempts: Sequence[Attempt], price: Price | None) -> Cell:
    attempts = sorted(attempts, key=lambda a: a.start_s)
    answers = [answer for attempt in attempts for answer in attempt.answers]
    whole = [answer for answer in answers if not answer.fault]
    passed = [float(attempt.is_passed) for attempt in attempts]
    successes = sum(passed)
    cost = spent(tuple(answers), price)
    tokens = cost.prompt_tokens + cost.output_tokens
    gaps = [gap for answer in whole for gap in itl_s(answer)]
    window = steady_window(attempts) if attempts[0].stage else None
    count = {outcome: sum(a.outcome is outcome for a in attempts) for outcome in Outcome}
    return Cell(
        endpoint=attempts[0].endpoint,
        scenario=attempts[0].scenario,
        stage=attempts[0].stage,
        tasks=len(attempts),
        passed=mean(passed),
        outcomes={outcome.value: times for outcome, times in count.items() if times},
        structured_errors={o.value: count[o] / len(attempts) for o in STRUCTURED},
        faults=_counted([answer.fault for answer in answers if answer.fault]),
        ttft=_quantiles(whole, ttft_s),
        ttfa=_quantiles(whole, ttfa_s),
        e2e=_quantiles(whole, e2e_s),
        tpot=_quantiles(whole, tpot_s),
        speed=_quantiles(whole, output_speed),
        gap_p50_s=_plain(gaps, 0.5),
        gap_p99_s=_plain(gaps, 0.99),
        connect_p50_s=_plain([a.connect_s for a in answers if a.connect_s is not None], 0.5),
        tokens_per_s=throughput(answers, (window.begin_s, window.end_s)) if window else None,
        goodput=_goodput(attempts, window) if window else None,
        window=window,
        prompt_tokens=cost.prompt_tokens,
        output_tokens=cost.output_tokens,
        cached_tokens=sum(answer.cached_tokens or 0 for answer in answers),
        tokens_per_success=tokens / successes if successes else None,
        micro_per_success=cost.micro / successes if successes and cost.micro is not None else None,
        counts=sorted({answer.counts for answer in whole}),
        flags=_flags(whole, window),
        common_speed=_quantiles(whole, common_speed),
        common_tokens=sum(answer.common_tokens or 0 for answer in answers),
    )


def _quantiles(answers: Sequence[Answer], measure: Callable[[Answer], float | None]) -> Quantiles:
    values = [value for answer in answers if (value := measure(answer)) is not None]
    return {f"p{q * 100:g}": percentile(values, q) for q in QUANTILES}


def _plain(values: Sequence[float], q: float) -> float | None:
    """A percentile without its interval: pooled gaps are many, and not independent."""
    return float(np.quantile(values, q)) if values else None


def _counted(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in dict.fromkeys(names)}


def _goodput(attempts: Sequence[Attempt], window: Window) -> float | None:
    if window.end_s <= window.begin_s:
        return None
    good = sum(
        attempt.is_passed and all(map(_is_quick, attempt.answers))
        for attempt in attempts
        if window.begin_s <= attempt.start_s < window.end_s
    )
    return good / (window.end_s - window.begin_s)


def _is_quick(answer: Answer) -> bool:
    first_s, each_s = ttft_s(answer), tpot_s(answer)
    return first_s is not None and first_s <= TTFT_LIMIT_S and (each_s or 0.0) <= TPOT_LIMIT_S


def _flags(answers: Sequence[Answer], window: Window | None) -> list[str]:
    found: list[str] = []
    buffered = sum(map(is_buffered, answers))
    if answers and buffered * 2 > len(answers):
        found.append("events come in bursts: something holds the stream back")
    if any(answer.usage_differs for answer in answers):
        found.append("usage differs from the tokenizer's count by more than 2 %")
    if any(not answer.has_usage and answer.counts == "events" for answer in answers):
        found.append("no usage reported: tokens are events")
    if any(answer.counts == "counter" for answer in answers):
        found.append("no usage reported: tokens are those of the common counter")
    if any(answer.counts == "log" for answer in answers):
        found.append("from a log, which has first and last moments only: gaps are means")
    if any(answer.counts == "share" for answer in answers):
        found.append("events hold several tokens: those of each are estimated by its length")
    if any(answer.cached_tokens for answer in answers):
        found.append("parts of prompts came from the endpoint's cache")
    if window is not None and not window.is_steady:
        found.append("never settled: no steady window")
    return found
