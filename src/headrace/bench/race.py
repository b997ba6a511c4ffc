"""A race: the same errands and voice turns on all endpoints at once, side by side."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headrace.bench.client import Answer
from headrace.bench.load import Endpoint, Player
from headrace.bench.metrics import Attempt, first_sentence_s
from headrace.bench.prices import Price, spent
from headrace.bench.scenarios import Task
from headrace.bench.scenarios.agent import errand
from headrace.bench.scenarios.short import question
from headrace.bench.statistics import Estimate, mean, percentile

VOICE_BUDGET_S = 0.8  # to the first sentence; a pause that people do not notice
VOICE = "voice"


@dataclass(slots=True, kw_only=True)
class Lane:
    """One endpoint's way, for those who watch."""

    name: str
    doing: str = "at the start"
    rounds: int = 0
    passed: int = 0
    calls: int = 0  # of the errand under way
    tokens: float = 0.0
    bytes_seen: int = 0  # of the answer under way
    took_s: float = 0.0  # finished errands and turns together


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How an endpoint came in."""

    endpoint: str
    rounds: int
    passed: Estimate | None  # errands, share
    errand_s: Estimate | None  # wall time of a finished errand, median
    calls: float  # an errand, on average
    sentence_s: Estimate | None  # voice turns: to the first sentence, median
    in_budget: float | None  # share of voice turns within 800 ms
    micro_per_success: float | None
    tokens_per_success: float | None


async def race(
    player: Player,
    endpoints: Sequence[Endpoint],
    rounds: int,
    *,
    on_start: Callable[[Sequence[Lane]], None] = lambda _: None,
) -> list[Attempt]:
    """All endpoints at once, each through `rounds` of an errand and a voice turn.

    `on_start` gets the lanes, which change while the race goes on.
    """
    lanes = [Lane(name=endpoint.name) for endpoint in endpoints]
    on_start(lanes)
    found = await asyncio.gather(
        *(_follow(player, *pair, rounds) for pair in zip(endpoints, lanes, strict=True))
    )
    return [attempt for attempts in found for attempt in attempts]


async def _follow(player: Player, endpoint: Endpoint, lane: Lane, rounds: int) -> list[Attempt]:
    attempts: list[Attempt] = []
    for number in range(rounds):
        tasks: tuple[Task, ...] = (
            errand(player.seed, number),
            question(VOICE, player.seed, number),
        )
        for task in tasks:
            attempt = await _play(player, endpoint, lane, task)
            if attempt is None:
                lane.doing = "out of budget"
                return attempts
            attempts.append(attempt)
        lane.rounds += 1
    lane.doing = "finished"
    return attempts


async def _play(player: Player, endpoint: Endpoint, lane: Lane, task: Task) -> Attempt | None:
    lane.doing, lane.calls = task.scenario, 0

    def see(_: float, data: bytes) -> None:
        lane.bytes_seen += len(data)

    def count(answer: Answer) -> None:
        lane.calls += 1
        lane.bytes_seen = 0
        lane.tokens += answer.output_tokens

    attempt = await player.play(endpoint, task, on_piece=see, on_answer=count)
    if attempt is not None:
        lane.passed += attempt.is_passed
        lane.took_s += attempt.duration_s
    return attempt


def places(attempts: Sequence[Attempt], prices: Mapping[str, Price]) -> list[Place]:
    """One for each endpoint, those with most errands done first, then the quickest."""
    names = dict.fromkeys(attempt.endpoint for attempt in attempts)
    found = [
        _place([attempt for attempt in attempts if attempt.endpoint == name], prices.get(name))
        for name in names
    ]

    def rank(place: Place) -> tuple[float, float]:
        share = place.passed.value if place.passed else 0.0
        return -share, place.errand_s.value if place.errand_s else float("inf")

    return sorted(found, key=rank)


def _place(attempts: Sequence[Attempt], price: Price | None) -> Place:
    errands = [a for a in attempts if a.scenario != VOICE]
    turns = [a.answers[0] for a in attempts if a.scenario == VOICE and not a.answers[0].fault]
    sentences = [s for answer in turns if (s := first_sentence_s(answer)) is not None]
    successes = sum(a.is_passed for a in errands)
    cost = spent(tuple(answer for a in errands for answer in a.answers), price)
    tokens = cost.prompt_tokens + cost.output_tokens
    return Place(
        endpoint=attempts[0].endpoint,
        rounds=len(errands),
        passed=mean([float(a.is_passed) for a in errands]),
        errand_s=percentile([a.duration_s for a in errands if a.is_passed], 0.5),
        calls=sum(len(a.answers) for a in errands) / len(errands),
        sentence_s=percentile(sentences, 0.5),
        in_budget=sum(s <= VOICE_BUDGET_S for s in sentences) / len(sentences)
        if sentences
        else None,
        micro_per_success=cost.micro / successes if successes and cost.micro is not None else None,
        tokens_per_success=tokens / successes if successes else None,
    )
