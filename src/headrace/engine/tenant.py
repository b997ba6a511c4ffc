"""One tenant in the scheduler: its sequences, in order, and the service it has had."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from headrace.engine.reserves import Group
from headrace.engine.sequence import Sequence

OUTPUT_COST = 2.0  # prompt tokens an output token counts for, as in the paper (see `fairness`)


@dataclass(slots=True, kw_only=True, eq=False)
class Tenant:
    """Lists are in order of `Sequence.place`: what is preempted finds its old place again."""

    name: str
    own_weight: float = 1.0
    group: Group = field(default_factory=Group)
    counter: float = 0.0  # virtual tokens: service over weight
    running: list[Sequence] = field(default_factory=list[Sequence])  # with blocks
    waiting: list[Sequence] = field(default_factory=list[Sequence])  # without
    waiting_tokens: int = 0  # `num_to_read` of those that wait

    @property
    def weight(self) -> float:
        """Its part of the service, relative to others'."""
        return self.own_weight * self.group.scale

    @property
    def is_backlogged(self) -> bool:
        """Whether it has something to read."""
        return bool(self.waiting) or any(s.is_behind for s in self.running)

    @property
    def num_unread(self) -> int:
        """Known tokens that are not computed yet."""
        return self.waiting_tokens + sum(s.num_pending for s in self.running if s.is_behind)

    def charge(self, sequence: Sequence, count: int) -> None:
        """Count the service of computing the next `count` tokens of `sequence`.

        Prompt tokens cost 1 when they are first read, a drawn token OUTPUT_COST.
        """
        read = min(sequence.computed + count, len(sequence.asked.prompt))
        unpaid = max(0, read - max(sequence.computed, sequence.paid))
        sequence.paid = max(sequence.paid, read)
        drawn = OUTPUT_COST if count == sequence.num_pending else 0.0
        self.counter += (unpaid + drawn) / self.weight

    def charge_more(self, count: int) -> None:
        """Count `count` more tokens drawn in the same call of the backend."""
        self.counter += OUTPUT_COST * count / self.weight

    def wait(self, sequence: Sequence) -> None:
        """Put it where it belongs among those that wait."""
        insort(self.waiting, sequence, key=_place)
        self.waiting_tokens += sequence.num_to_read

    def start(self, sequence: Sequence) -> None:
        """Move one that waits to those that run."""
        self.leave(sequence)
        insort(self.running, sequence, key=_place)

    def leave(self, sequence: Sequence) -> None:
        """Forget one of its sequences, wherever it is."""
        if _take(self.waiting, sequence):
            self.waiting_tokens -= sequence.num_to_read
        else:
            _take(self.running, sequence)

    def raise_to(self, sequence: Sequence, level: int) -> None:
        """Give one of its sequences another priority."""
        for sequences in (self.waiting, self.running):
            if _take(sequences, sequence):
                sequence.level = level
                insort(sequences, sequence, key=_place)
                return


def _place(sequence: Sequence) -> tuple[int, int]:
    return sequence.place


def _take(ordered: list[Sequence], sequence: Sequence) -> bool:
    at = bisect_left(ordered, sequence.place, key=_place)
    if at < len(ordered) and ordered[at] is sequence:
        del ordered[at]
        return True
    return False
