"""What is measured of one answer. Formulas in the docstrings; all times in seconds.

Start: the intended send time (open loop) or the moment before the request was written (closed
loop). Only visible content counts as a token (`client.answer`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from headrace.bench.client import Answer
from headrace.bench.scenarios import Outcome

_SENTENCE_END = re.compile(r"[.!?:]\s|\n")
# A proxy that holds events back shows as bursts: most gaps nothing, few of them nearly all time.
_BURST_GAPS, _BURST_TIME, _AT_ONCE_S = 0.8, 0.8, 0.0005
_MIN_GAPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A task as it was played once on one endpoint."""

    endpoint: str
    scenario: str
    task: str
    stage: str = ""  # of a load scenario: the share of capacity offered
    start_s: float  # intended, or just before the first request
    woke_s: float | None = None  # open loop: when the client got round to it
    end_s: float
    answers: tuple[Answer, ...]
    outcome: Outcome

    @property
    def is_passed(self) -> bool:
        """Done: all calls whole, the checker content."""
        return self.outcome is Outcome.PASSED

    @property
    def duration_s(self) -> float:
        """From the start of the first call to the end of the last."""
        return self.end_s - self.start_s


def ttft_s(answer: Answer) -> float | None:
    """First visible text, reasoning or tool call, minus start."""
    return answer.pieces[0].at_s - answer.start_s if answer.pieces else None


def ttfa_s(answer: Answer) -> float | None:
    """First visible text of the answer (no reasoning), minus start."""
    times = (piece.at_s for piece in answer.pieces if piece.is_answer)
    first = next(times, None)
    return None if first is None else first - answer.start_s


def first_sentence_s(answer: Answer) -> float | None:
    """When the first sentence of the answer was whole (or the answer over), minus start."""
    text = ""
    for piece in answer.pieces:
        if piece.is_answer:
            text += piece.text
            if _SENTENCE_END.search(text):
                return piece.at_s - answer.start_s
    return answer.pieces[-1].at_s - answer.start_s if text else None


def e2e_s(answer: Answer) -> float | None:
    """Last visible content, minus start."""
    return answer.pieces[-1].at_s - answer.start_s if answer.pieces else None


def _after_first(answer: Answer) -> tuple[float, float]:
    """Tokens after those of the first moment, and the seconds they took."""
    if not answer.pieces:
        return 0.0, 0.0
    first_s = answer.pieces[0].at_s
    tokens = sum(piece.tokens for piece in answer.pieces if piece.at_s > first_s)
    return tokens, answer.pieces[-1].at_s - first_s


def output_speed(answer: Answer) -> float | None:
    """Tokens after the first moment / (last - first), tokens per second.

    The tokens that came with the first are taken off by their number, not as one.
    """
    tokens, took_s = _after_first(answer)
    return tokens / took_s if took_s > 0 and tokens > 0 else None


def common_speed(answer: Answer) -> float | None:
    """As `output_speed`, in tokens of the counter that is the same for all endpoints."""
    tokens, took_s = answer.common_after_first, _after_first(answer)[1]
    return tokens / took_s if tokens and took_s > 0 else None


def tpot_s(answer: Answer) -> float | None:
    """(E2E - TTFT) / (tokens - tokens of the first moment)."""
    tokens, took_s = _after_first(answer)
    return took_s / tokens if tokens > 0 else None


def gaps_s(answer: Answer) -> list[float]:
    """ICL: time from each event to the next."""
    times = [piece.at_s for piece in answer.pieces]
    return [b - a for a, b in pairwise(times)]


def itl_s(answer: Answer) -> list[float]:
    """ITL: each gap shared among the tokens of the later event."""
    found: list[float] = []
    for gap, piece in zip(gaps_s(answer), answer.pieces[1:], strict=False):
        tokens = max(1, round(piece.tokens))
        found += [gap / tokens] * tokens
    return found


def is_buffered(answer: Answer) -> bool:
    """Whether somebody between model and us held events back and let them go in bursts."""
    gaps = sorted(gaps_s(answer))
    if len(gaps) < _MIN_GAPS or sum(gaps) == 0:
        return False
    at_once = sum(gap < _AT_ONCE_S for gap in gaps) / len(gaps)
    longest = gaps[-max(1, len(gaps) // 10) :]
    return at_once >= _BURST_GAPS and sum(longest) / sum(gaps) >= _BURST_TIME


def throughput(answers: Sequence[Answer], window: tuple[float, float]) -> float | None:
    """System throughput: tokens whose arrival lies in the window (s) / its length."""
    begin_s, end_s = window
    if end_s <= begin_s:
        return None
    arrived = sum(
        piece.tokens
        for answer in answers
        for piece in answer.pieces
        if begin_s <= piece.at_s < end_s
    )
    return arrived / (end_s - begin_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The steady part of a run under load."""

    begin_s: float
    end_s: float
    is_steady: bool  # False: it never settled; what is left after the warm-up's bound


_WINDOWS = 3  # that must look alike
_CHANGE = 0.05
_WARM_UP_S, _WARM_UP_REQUESTS = 10.0, 20


def steady_window(attempts: Sequence[Attempt], *, step_s: float = 1.0) -> Window:
    """After the warm-up until the last send that was intended.

    The warm-up ends when tokens per second and running requests, as moving means over three
    windows of `step_s`, change by less than 5 %, but not before 10 s or 20 requests.
    """
    begin_s = min(a.start_s for a in attempts)
    end_s = max(a.start_s for a in attempts)
    finished = sorted(a.end_s for a in attempts)
    enough_s = finished[min(_WARM_UP_REQUESTS, len(finished)) - 1]
    earliest_s = min(begin_s + _WARM_UP_S, enough_s)
    means = _moving_means(attempts, begin_s, end_s, step_s)
    for index in range(1, len(means)):
        at_s = begin_s + (index + _WINDOWS) * step_s
        before, now = means[index - 1], means[index]
        is_like = all(abs(b - a) <= _CHANGE * a for a, b in zip(before, now, strict=True))
        if at_s >= earliest_s and at_s < end_s and is_like:
            return Window(begin_s=at_s, end_s=end_s, is_steady=True)
    return Window(begin_s=min(earliest_s, end_s), end_s=end_s, is_steady=False)


def _moving_means(
    attempts: Sequence[Attempt], begin_s: float, end_s: float, step_s: float
) -> list[tuple[float, float]]:
    """Tokens per second and requests running, by window of `step_s`, each the mean of three."""
    count = int((end_s - begin_s) / step_s)
    tokens, running = [0.0] * count, [0.0] * count
    for attempt in attempts:
        for answer in attempt.answers:
            for piece in answer.pieces:
                index = int((piece.at_s - begin_s) / step_s)
                if 0 <= index < count:
                    tokens[index] += piece.tokens / step_s
        for index in range(count):
            low = begin_s + index * step_s
            covered = min(attempt.end_s, low + step_s) - max(attempt.start_s, low)
            running[index] += max(0.0, covered) / step_s
    return [
        (sum(tokens[i : i + _WINDOWS]) / _WINDOWS, sum(running[i : i + _WINDOWS]) / _WINDOWS)
        for i in range(count - _WINDOWS + 1)
    ]
