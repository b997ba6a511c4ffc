"""The engine in simulated time: a stated cost per step, arrivals from a seed, no threads.

A step costs STEP_S and ROW_S for each row of its batch; nothing else takes time. So a run is a pure
function of its arrivals, and thousands of requests pass in seconds.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.messages import Cancel, Failed, Submit, ToFront, Tokens
from tests.engine.test_engine import VOCAB, submit
from tests.tiny_llama import tiny_program

STEP_S = 0.005
ROW_S = 0.0001
CONTEXT = 8_192


class Costed(NullBackend):
    """Counts instead of computing, and moves the clock by what that would have cost."""

    def __init__(self, clock: ManualClock, *, num_blocks: int) -> None:
        super().__init__(
            tiny_program(max_position_embeddings=CONTEXT + 1_024), num_blocks=num_blocks
        )
        self.rows = 0
        self._clock = clock

    def step(self, batch: Batch) -> StepResult:
        self.rows += len(batch.token_ids)
        self._clock.advance(STEP_S + ROW_S * len(batch.token_ids))
        return super().step(batch)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that comes at a time, and may be taken back later."""

    at_s: float
    asked: Submit
    cancel_s: float = math.inf


@dataclass(slots=True)
class Record:
    """What became of one request. Times are the simulation's."""

    arrival: Arrival
    first_s: float | None = None
    end_s: float | None = None
    tokens: list[int] = field(default_factory=list[int])
    failed: Failed | None = None
    refused_at_once: bool = False

    @property
    def ttft_s(self) -> float:
        """From its arrival to its first token."""
        assert self.first_s is not None, f"{self.arrival.asked.id} had no token"
        return self.first_s - self.arrival.at_s

    @property
    def is_served(self) -> bool:
        """Whether it ran to its end."""
        return self.end_s is not None and self.failed is None


class Simulation:
    """One engine and those who ask it."""

    def __init__(
        self,
        *,
        num_blocks: int = 8_192,
        max_sequences: int = 32,
        max_step_tokens: int = 256,
        max_waiting: int = 256,
        max_waiting_tokens: int = 1 << 20,
    ) -> None:
        self.clock = ManualClock()
        self.backend = Costed(self.clock, num_blocks=num_blocks)
        self.engine = Engine(
            self.backend,
            self.clock,
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            max_waiting=max_waiting,
            max_waiting_tokens=max_waiting_tokens,
        )
        self.records: dict[str, Record] = {}

    def run(
        self,
        arrivals: Iterable[Arrival],
        *,
        until: Callable[[], bool] = lambda: False,
        watch: Callable[[], None] = lambda: None,
    ) -> dict[str, Record]:
        """Let them come, to the end of all work or until `until`; `watch` is called each step."""
        coming = sorted(arrivals, key=lambda arrival: arrival.at_s, reverse=True)
        leaving: list[tuple[float, str]] = []
        while not until():
            now_s = self.clock.now_s()
            while coming and coming[-1].at_s <= now_s:
                arrival = coming.pop()
                self._arrive(arrival)
                leaving.append((arrival.cancel_s, arrival.asked.id))
            for entry in [entry for entry in leaving if entry[0] <= now_s]:
                leaving.remove(entry)
                self._take(self.engine.handle(Cancel(id=entry[1])))
            if not self.engine.is_idle:
                before = self.backend.rows
                self._take(self.engine.step())
                assert self.backend.rows > before or self.engine.is_idle, "an idle step"
                watch()
            elif coming:
                self.clock.advance(max(0.0, coming[-1].at_s - now_s))
            else:
                break
        return self.records

    def _arrive(self, arrival: Arrival) -> None:
        record = self.records[arrival.asked.id] = Record(arrival)
        self._take(self.engine.handle(arrival.asked))
        record.refused_at_once = record.failed is not None

    def _take(self, messages: list[ToFront]) -> None:
        now_s = self.clock.now_s()
        for message in messages:
            record = self.records[message.id]
            if isinstance(message, Failed):
                record.failed, record.end_s = message, now_s
            elif isinstance(message, Tokens):
                record.first_s = now_s if record.first_s is None else record.first_s
                record.tokens += message.token_ids
                record.end_s = now_s if message.finish else None


def poisson(rng: random.Random, per_s: float, count: int, start_s: float = 0.0) -> list[float]:
    """Times of `count` arrivals at `per_s` a second."""
    times: list[float] = []
    for _ in range(count):
        start_s += rng.expovariate(per_s)
        times.append(start_s)
    return times


def prompt(rng: random.Random, length: int) -> tuple[int, ...]:
    """A prompt that shares no beginning with others."""
    return tuple(byte % VOCAB for byte in rng.randbytes(length))


def request(
    rng: random.Random, name: str, length: int, max_tokens: int, **changes: object
) -> Submit:
    """A request for a random prompt of `length` tokens."""
    return submit(name, prompt(rng, length), max_tokens, **changes)


def expected(asked: Submit) -> list[int]:
    """The tokens the counting backend answers with."""
    return [(asked.prompt[-1] + 1 + j) % VOCAB for j in range(asked.max_tokens)]


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile; `share` 0..1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
