"""What must be measured, worked out from what the script told: definitions, done the long way.

Nothing here is taken from the code under test but the names of its fields.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.bench.scenarios import Outcome
from tests.bench.virtual import Told

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LETTERS_A_TOKEN = 4  # of the counter that counts all endpoints alike
STRUCTURED = ("invalid JSON", "invalid schema", "wrong tool", "wrong arguments")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A task as the script saw it: its answers, the right moment to count from, and its end."""

    answers: tuple[Told, ...]
    start_s: float
    outcome: Outcome

    @property
    def end_s(self) -> float:
        return self.answers[-1].ended_s


def counter(text: str) -> list[int]:
    """Every four letters are a token."""
    return list(range(LETTERS_A_TOKEN, len(text) + 1, LETTERS_A_TOKEN))


def words_of(answer: Told) -> list[float]:
    """Tokens of each event: the script's words; of a cut answer, by the counter."""
    if not answer.is_cut:
        return [float(event.words) for event in answer.shown]
    ends = np.cumsum([len(event.text) for event in answer.shown]) // LETTERS_A_TOKEN
    return [float(count) for count in np.diff(ends, prepend=0)]


def all_true(done: Sequence[Done], price: tuple[float, float]) -> dict[str, Any]:
    """Every number of a cell, for tasks one at a time. `price` is of a token in and out."""
    answers = [(start_s, told) for task in done for start_s, told in _starts(task)]
    whole = [(start_s, told) for start_s, told in answers if not told.is_cut]
    prompt = sum(told.prompt_words for _, told in whole)
    output = sum(sum(words_of(told)) for _, told in answers)
    passed = sum(task.outcome is Outcome.PASSED for task in done)
    outcomes = [str(task.outcome.value) for task in done]
    money = prompt * price[0] + output * price[1]
    return {
        "tasks": len(done),
        "passed": passed / len(done),
        "outcomes": {name: outcomes.count(name) for name in set(outcomes)},
        "structured_errors": {name: outcomes.count(name) / len(done) for name in STRUCTURED},
        "faults": sum(told.is_cut for _, told in answers),
        "ttft": _quantiles(whole, lambda start_s, told: told.shown[0].at_s - start_s),
        "ttfa": _quantiles(whole, _first_answer_s),
        "e2e": _quantiles(whole, lambda start_s, told: told.shown[-1].at_s - start_s),
        "tpot": _quantiles(whole, lambda _, told: _took_s(told) / _after_first(told)),
        "speed": _quantiles(whole, lambda _, told: _after_first(told) / _took_s(told)),
        "common_speed": _quantiles(
            whole, lambda _, told: _common_after_first(told) / _took_s(told)
        ),
        "gaps": _itl(whole),
        "connect": [told.connect_s for _, told in answers if told.connect_s is not None],
        "prompt_tokens": prompt,
        "output_tokens": output,
        "common_tokens": sum(_letters(told.shown) // LETTERS_A_TOKEN for _, told in answers),
        "tokens_per_success": (prompt + output) / passed if passed else None,
        "micro_per_success": money / passed if passed else None,
    }


def _starts(task: Done) -> list[tuple[float, Told]]:
    """Only the first call of a task has an intended moment; the others begin as they are sent."""
    first, *others = task.answers
    return [(task.start_s, first), *((told.sent_s, told) for told in others)]


def _quantiles(
    answers: Sequence[tuple[float, Told]], measure: Callable[[float, Told], float]
) -> dict[str, float] | None:
    values = [measure(start_s, told) for start_s, told in answers]
    if not values:
        return None
    return {name: float(np.quantile(values, q)) for name, q in QUANTILES.items()}


def _first_answer_s(start_s: float, told: Told) -> float:
    return min(event.at_s for event in told.shown if event.is_answer) - start_s


def _took_s(told: Told) -> float:
    return told.shown[-1].at_s - told.shown[0].at_s


def _is_first(told: Told, at_s: float) -> bool:
    return at_s == told.shown[0].at_s


def _after_first(told: Told) -> float:
    """Tokens that did not come in the first moment, however many events that had."""
    pairs = zip(told.shown, words_of(told), strict=True)
    return sum(words for event, words in pairs if not _is_first(told, event.at_s))


def _letters(shown: Sequence[Any]) -> int:
    return sum(len(event.text) for event in shown)


def _common_after_first(told: Told) -> int:
    first = [event for event in told.shown if _is_first(told, event.at_s)]
    return _letters(told.shown) // LETTERS_A_TOKEN - _letters(first) // LETTERS_A_TOKEN


def _itl(answers: Sequence[tuple[float, Told]]) -> list[float]:
    """Each gap as often as the later event has tokens, and as small."""
    found: list[float] = []
    for _, told in answers:
        times = np.array([event.at_s for event in told.shown])
        words = np.array([event.words for event in told.shown])[1:]
        found += list(np.repeat(np.diff(times) / words, words))
    return found


@dataclass(frozen=True, kw_only=True)
class Steady:
    """The steady window, and what happened in it."""

    begin_s: float
    end_s: float
    is_steady: bool
    finished: int
    tokens: float
    good: int  # right within 2 s to the first token and 0.1 s a token

    @property
    def length_s(self) -> float:
        return self.end_s - self.begin_s


def steady(done: Sequence[Done]) -> Steady:
    """The warm-up ends with the first second at which the means over three seconds of tokens and
    of running requests are those of a second before, within 5 %; not before 10 s or 20 requests.
    """
    begin_s, last_s = min(t.start_s for t in done), max(t.start_s for t in done)
    ends = sorted(task.end_s for task in done)
    earliest_s = min(begin_s + 10, ends[min(20, len(ends)) - 1])
    arrivals = [
        (event.at_s, words)
        for task in done
        for told in task.answers
        for event, words in zip(told.shown, words_of(told), strict=True)
    ]
    times, tokens = (np.array(column) for column in zip(*arrivals, strict=True))
    starts, stops = np.array([t.start_s for t in done]), np.array([t.end_s for t in done])

    def means(at_s: float) -> tuple[float, float]:
        """Of the three seconds that end at `at_s`."""
        inside = (times >= at_s - 3) & (times < at_s)
        overlap = np.minimum(stops, at_s) - np.maximum(starts, at_s - 3)
        return float(tokens[inside].sum()) / 3, float(overlap.clip(0).sum()) / 3

    def is_like(at_s: float) -> bool:
        pairs = zip(means(at_s - 1), means(at_s), strict=True)
        return all(abs(now - before) <= 0.05 * before for before, now in pairs)

    seconds = np.arange(begin_s + 4, last_s, 1.0)
    settled = next((float(s) for s in seconds if s >= earliest_s and is_like(s)), None)
    from_s = min(earliest_s, last_s) if settled is None else settled
    inside = (times >= from_s) & (times < last_s)
    return Steady(
        begin_s=from_s,
        end_s=last_s,
        is_steady=settled is not None,
        finished=sum(from_s <= task.end_s < last_s for task in done),
        tokens=float(tokens[inside].sum()),
        good=sum(from_s <= task.start_s < last_s and _is_good(task) for task in done),
    )


def _is_good(task: Done) -> bool:
    told = task.answers[0]
    return (
        task.outcome is Outcome.PASSED
        and told.shown[0].at_s - task.start_s <= 2
        and _took_s(told) / _after_first(told) <= 0.1
    )


def capacity(done: Sequence[Done]) -> float:
    """Tasks a second while so many are kept running."""
    window = steady(done)
    if window.finished:
        return window.finished / window.length_s
    return len(done) / (max(t.end_s for t in done) - min(t.start_s for t in done))


def one_by_one(
    told: Mapping[int, Told], outcomes: Mapping[int, Outcome], *, first: int, calls: int
) -> list[Done]:
    """Tasks of `calls` requests, from request `first` on; a cut one ends its task."""
    found: list[Done] = []
    held: list[Told] = []
    for number in range(first, len(told) + 1):
        held.append(told[number])
        if told[number].is_cut or len(held) == calls:
            outcome = Outcome.FAILED_CALL if told[number].is_cut else outcomes[number]
            found.append(Done(answers=tuple(held), start_s=held[0].sent_s, outcome=outcome))
            held = []
    assert not held
    return found


def sent_at(
    told: Mapping[int, Told],
    outcomes: Mapping[int, Outcome],
    starts: Mapping[int, float],
) -> list[Done]:
    """Tasks of one request each, counted from `starts`."""
    return [
        Done(
            answers=(told[number],),
            start_s=start_s,
            outcome=Outcome.FAILED_CALL if told[number].is_cut else outcomes[number],
        )
        for number, start_s in starts.items()
    ]
