"""Numbers for `/metrics`: each is defined once here, and counted when a request ends.

Nothing is counted per token; the engine's own numbers are read from it when somebody asks. Labels
are few and bounded: a served model's name, a route as we spell it, an error's code. Never a key, a
tenant or a path somebody sent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from headrace import __version__
from headrace.types import Timing, Usage

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
WAITS_S = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
GAPS_S = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The definition of one: what `docs/reference/metrics.md` says of it."""

    name: str  # as scraped
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    says: str
    field: str = ""  # of the engine's snapshot, where it is read from there
    buckets: tuple[float, ...] = ()  # upper bounds, seconds


def _counter(name: str, labels: tuple[str, ...], says: str, field: str = "") -> Metric:
    return Metric(
        name=f"headrace_{name}_total", kind="counter", labels=labels, says=says, field=field
    )


def _gauge(name: str, says: str, field: str) -> Metric:
    return Metric(name=f"headrace_{name}", kind="gauge", labels=("model",), says=says, field=field)


def _seconds(name: str, says: str, buckets: tuple[float, ...]) -> Metric:
    name = f"headrace_{name}_seconds"
    return Metric(name=name, kind="histogram", labels=("model",), says=says, buckets=buckets)


_MODEL = ("model",)
_WHOSE = ("model", "tier")
REQUESTS = _counter(
    "requests",
    ("route", "status", "code"),
    "HTTP exchanges that are over, by route, class of status (499: nobody was left) and error code",
)
COMPLETED = _counter("completions", _WHOSE, "completions that came to their end")
ABORTED = _counter(
    "aborted",
    (*_WHOSE, "reason"),
    "completions that broke off: disconnect, deadline, engine_failure, or an error's code",
)
REFUSED = _counter(
    "refused",
    ("tier", "reason"),
    "completions refused before they began, by error code; without a tier where no key was known",
)
LIMITED = _counter(
    "limited", ("tier", "bucket"), "of these, those that a limit refused, by the limit"
)
PROMPT = _counter("prompt_tokens", _WHOSE, "tokens of the prompts of admitted completions")
CACHED = _counter("cached_tokens", _WHOSE, "of these, tokens found in the prefix cache")
OUTPUT = _counter("output_tokens", _WHOSE, "tokens generated for callers")
FIRST_TOKEN = _seconds(
    "time_to_first_token",
    "request received to first token known; completed ones only",
    WAITS_S,
)
GAP = _seconds(
    "inter_token",
    "mean time between the tokens of a stream, one value each; completed ones only",
    GAPS_S,
)
QUEUE = _seconds("queue", "admitted to first scheduled; completed ones only", WAITS_S)
TOTAL = _seconds("request", "request received to last byte sent; completed ones only", WAITS_S)

OF_REQUESTS = (
    *(REQUESTS, COMPLETED, ABORTED, REFUSED, LIMITED, PROMPT, CACHED, OUTPUT),
    *(FIRST_TOKEN, GAP, QUEUE, TOTAL),
)
OF_ENGINES = (
    _gauge("running", "sequences that hold cache blocks", "running"),
    _gauge("waiting", "sequences that wait for their turn", "waiting"),
    _gauge("kv_blocks_free", "cache blocks nobody holds", "free_blocks"),
    _gauge("kv_blocks", "cache blocks in all", "total_blocks"),
    _counter("preemptions", _MODEL, "sequences sent back to wait for want of blocks", "preempted"),
    _counter("steps", _MODEL, "steps of the backend", "steps"),
    _counter("engine_prompt_tokens", _MODEL, "prompt tokens read by the engine", "prompt_tokens"),
    _counter(
        "engine_cached_tokens", _MODEL, "prompt tokens it did not have to read", "cached_tokens"
    ),
    _counter("engine_output_tokens", _MODEL, "tokens it drew, delivered or not", "output_tokens"),
    _counter("engine_restarts", _MODEL, "times it was started again after a failure", "restarts"),
)


ReadStats = Callable[[], Mapping[str, object]]  # by model: objects with the fields of OF_ENGINES


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self, read_stats: ReadStats = dict) -> None:
        """`read_stats` gives the engines' snapshots; called once a scrape."""
        self._registry = CollectorRegistry()
        Info("headrace_build", "version", registry=self._registry).info({"version": __version__})
        self._counters = {
            metric: Counter(metric.name, metric.says, metric.labels, registry=self._registry)
            for metric in OF_REQUESTS
            if metric.kind == "counter"
        }
        self._histograms = {
            metric: Histogram(
                metric.name,
                metric.says,
                metric.labels,
                buckets=metric.buckets,
                registry=self._registry,
            )
            for metric in OF_REQUESTS
            if metric.kind == "histogram"
        }
        self._registry.register(_Engines(read_stats))
        ProcessCollector(registry=self._registry)  # memory, processor time, open files

    def exchange(self, route: str, status: int, code: str) -> None:
        """One HTTP exchange is over; `code` is the error's, or empty."""
        self._counters[REQUESTS].labels(route, f"{status // 100}xx", code).inc()

    def refused(self, tier: str, reason: str, bucket: str = "") -> None:
        """One completion was refused before it began; `bucket`: the limit in its way, if any."""
        self._counters[REFUSED].labels(tier, reason).inc()
        if bucket:
            self._counters[LIMITED].labels(tier, bucket).inc()

    def aborted(self, model: str, tier: str, usage: Usage, reason: str) -> None:
        """One completion broke off; `usage`: as far as it came."""
        self._counters[ABORTED].labels(model, tier, reason).inc()
        self._count_tokens(model, tier, usage)

    def completed(
        self,
        model: str,
        tier: str,
        usage: Usage,
        timing: Timing,
        *,
        admission_s: float,
        total_s: float,
    ) -> None:
        """One completion came to its end.

        `admission_s`: request received to completion admitted; `total_s`: to its last byte sent.
        """
        self._counters[COMPLETED].labels(model, tier).inc()
        self._count_tokens(model, tier, usage)
        first_s = admission_s + timing.queue_s + timing.prompt_s
        self._histograms[FIRST_TOKEN].labels(model).observe(first_s)
        self._histograms[QUEUE].labels(model).observe(timing.queue_s)
        self._histograms[TOTAL].labels(model).observe(total_s)
        if usage.completion_tokens > 1:
            gap_s = timing.completion_s / (usage.completion_tokens - 1)
            self._histograms[GAP].labels(model).observe(gap_s)

    def render(self) -> bytes:
        """All of it, as Prometheus reads it (CONTENT_TYPE)."""
        return generate_latest(_WithoutBirthdays(self._registry))

    def _count_tokens(self, model: str, tier: str, usage: Usage) -> None:
        self._counters[PROMPT].labels(model, tier).inc(usage.prompt_tokens)
        self._counters[CACHED].labels(model, tier).inc(usage.cached_tokens)
        self._counters[OUTPUT].labels(model, tier).inc(usage.completion_tokens)


class _Engines(Collector):
    """The engines' numbers, read when they are asked for."""

    def __init__(self, read: ReadStats) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        stats = self._read()
        for metric in OF_ENGINES:
            kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
            family = kind(metric.name, metric.says, labels=metric.labels)
            for model, told in stats.items():
                family.add_metric([model], getattr(told, metric.field))
            yield family


class _WithoutBirthdays(Collector):
    """Without the series that say when each counter was made: they double what is scraped."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
