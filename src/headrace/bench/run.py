"""A run: every scenario on every endpoint, interleaved in random order on one clock.

What is sent is settled by the seed and the scenarios' version alone. Endpoints get the same bodies
(the model's name apart), so that differences can be taken in pairs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headrace.bench.client import read_answer
from headrace.bench.load import (
    Alone,
    ClientLag,
    ClosedLoop,
    Endpoint,
    LagWatch,
    Loaded,
    Loader,
    Numbered,
    OpenLoop,
    Order,
    Player,
    counted_by,
    poisson_times,
)
from headrace.bench.metrics import Attempt, steady_window
from headrace.bench.probe import UNCOUNTED, probed
from headrace.bench.scenarios import Scenario
from headrace.bench.scenarios.short import shape
from headrace.errors import EngineError

_OK = 200
_PROBE_WORDS = 200
_MARGIN = 1.05  # other logs hold a little more tokens a word than the probe
_TEMPLATE_TOKENS = 64  # that a chat template may add
_MIN_WORDS = 100  # a shorter "long" prompt is none
_ROOM = 250_000  # between stages


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What is run."""

    scenarios: Sequence[Scenario]
    seed: int = 0
    tasks: int | None = None  # of each closed scenario; None: its own number
    shares: Sequence[float] = (0.5, 0.8, 1.0, 1.2)  # of measured capacity, offered
    stage_s: float = 10.0  # of sending, a stage
    concurrency: int = 8  # while capacity is measured
    context_tokens: int | None = None  # of the smallest endpoint; None: prompts are not cut


@dataclass(slots=True, kw_only=True)
class Run:
    """What came of it."""

    attempts: list[Attempt] = field(default_factory=list[Attempt])
    lags: dict[str, ClientLag] = field(default_factory=dict[str, ClientLag])  # by scenario
    capacity: dict[str, float] = field(default_factory=dict[str, float])  # tasks/s, by endpoint
    notes: list[str] = field(default_factory=list[str])

    def add_lags(self, scenario: str, loaded: Loaded) -> None:
        """Keep what is worst of each process in a scenario."""
        for process, lag in loaded.lags.items():
            name = f"{scenario}, {process}" if process else scenario
            self.lags[name] = lag.worse(self.lags.get(name))


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs; `cpu_s` gives this process's processor time, `on_scenario` hears what begins.

    Tasks one at a time are played here, load is sent by `loader` (None: here too).
    """

    player: Player
    endpoints: Sequence[Endpoint]
    settings: RunSettings
    cpu_s: Callable[[], float]
    loader: Loader | None = None
    on_scenario: Callable[[str], None] = lambda _: None
    run: Run = field(default_factory=Run)

    async def go(self) -> Run:
        """All scenarios. Raises EngineError where an endpoint does not answer at all."""
        self.endpoints = [await self._probed(endpoint) for endpoint in self.endpoints]
        tokens_per_word = [await self._tokens_per_word(endpoint) for endpoint in self.endpoints]
        for scenario in self.settings.scenarios:
            words = self._cut(scenario, max(tokens_per_word))
            if words is None:
                continue
            if self.player.budget.is_spent:
                self.run.notes.append(f"{scenario.name}: not run, the budget is spent")
                continue
            self.on_scenario(scenario.name)
            play = self._load if scenario.is_load else self._closed
            self.run.attempts += await play(scenario, words)
            if self.player.budget.is_spent:
                self.run.notes.append(f"{scenario.name}: cut short, the budget is spent")
        return self.run

    async def _probed(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, knowing what it takes."""
        is_full_length = any(scenario.is_full_length for scenario in self.settings.scenarios)
        found = await probed(endpoint, self.player, is_full_length=is_full_length)
        if is_full_length and not found.extensions.ignore_eos:
            note = f"{endpoint.name}: does not take ignore_eos, lengths as they come"
            self.run.notes.append(note)
        return found

    async def _tokens_per_word(self, endpoint: Endpoint) -> float:
        """Tokens a word of our texts has there; the endpoint is warm afterwards."""
        call = shape("probe", self.settings.seed, UNCOUNTED, _PROBE_WORDS, 1).call
        body = call.body(endpoint.model, self.settings.seed)
        answer = read_answer(await endpoint.transport.post(body))
        self.player.budget.add(answer, endpoint.price)
        if answer.status != _OK:
            raise EngineError(f"{endpoint.name} does not answer: {answer.fault}")
        if answer.prompt_tokens is None:
            self.run.notes.append(f"{endpoint.name}: reports no usage; 1.5 tokens a word assumed")
            return 1.5
        return answer.prompt_tokens / call.words * _MARGIN

    def _cut(self, scenario: Scenario, tokens_per_word: float) -> int | None:
        """Words of its longest prompt, None if it cannot be run."""
        if self.settings.context_tokens is None:
            return scenario.words
        room = self.settings.context_tokens - scenario.max_tokens - _TEMPLATE_TOKENS
        most = int(room / tokens_per_word)
        if most >= scenario.words:
            return scenario.words
        if most < min(_MIN_WORDS, scenario.words):
            self.run.notes.append(f"{scenario.name}: not run, the context is too small")
            return None
        self.run.notes.append(
            f"{scenario.name}: prompts cut to {most:,} of {scenario.words:,} words by the context"
        )
        return most

    async def _closed(self, scenario: Scenario, words: int) -> list[Attempt]:
        """One task at a time, each on all endpoints before the next; the first does not count."""
        rng = np.random.default_rng((self.settings.seed, 1))
        found: list[Attempt] = []
        count = self.settings.tasks or scenario.tasks
        async with LagWatch(self.player.clock, self.cpu_s) as watch:
            for number in (UNCOUNTED, *range(count)):
                task = scenario.make(self.settings.seed, number, words)
                for place in self._shuffled(rng):
                    attempt = await self.player.play(self.endpoints[place], task)
                    if attempt is not None and number != UNCOUNTED:
                        found.append(attempt)
        self.run.lags[scenario.name] = watch.lag(found)
        return counted_by(self.endpoints, found)

    async def _load(self, scenario: Scenario, words: int) -> list[Attempt]:
        """Capacity first, in a closed loop; then shares of it offered, in an open loop."""
        rng = np.random.default_rng((self.settings.seed, 2))
        settings = self.settings
        make = Numbered(scenario.make, settings.seed, words)
        for place in self._shuffled(rng):
            order = ClosedLoop(
                endpoint=place,
                make=make,
                extensions=self.endpoints[place].extensions,
                first=UNCOUNTED,
                concurrency=settings.concurrency,
                duration_s=settings.stage_s,
            )
            attempts = await self._send(scenario, order)
            if not attempts:
                return []
            self.run.capacity[self.endpoints[place].name] = _rate(attempts)
        found: list[Attempt] = []
        for stage, share in enumerate(settings.shares):
            for place in self._shuffled(rng):
                rate = share * self.run.capacity[self.endpoints[place].name]
                times = poisson_times(rate, settings.stage_s, settings.seed + stage)
                first = UNCOUNTED + (stage + 1) * _ROOM
                order = OpenLoop(
                    endpoint=place,
                    make=make,
                    extensions=self.endpoints[place].extensions,
                    due=[(at_s, first + index) for index, at_s in enumerate(times)],
                    stage=f"{share:.0%}",
                )
                found += await self._send(scenario, order)
        return found

    async def _send(self, scenario: Scenario, order: Order) -> list[Attempt]:
        loader = self.loader or Alone(
            player=self.player, endpoints=self.endpoints, cpu_s=self.cpu_s
        )
        loaded = await loader.load(order)
        self.run.add_lags(scenario.name, loaded)
        return loaded.attempts

    def _shuffled(self, rng: np.random.Generator) -> list[int]:
        """The endpoints' places, in random order."""
        return [int(place) for place in rng.permutation(len(self.endpoints))]


def _rate(attempts: Sequence[Attempt]) -> float:
    """Tasks finished a second, in the steady window."""
    window = steady_window(attempts)
    finished = sum(window.begin_s <= a.end_s < window.end_s for a in attempts)
    if finished:
        return finished / (window.end_s - window.begin_s)
    return len(attempts) / (max(a.end_s for a in attempts) - min(a.start_s for a in attempts))
