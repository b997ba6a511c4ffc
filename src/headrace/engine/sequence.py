"""One stream of tokens in the engine."""

import math
from dataclasses import dataclass, field

from headrace.engine.adjustment import Adjustment
from headrace.engine.grammar import Grammar
from headrace.engine.messages import Submit
from headrace.types import FinishReason


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """The few facts of one sequence; the rest derives from them."""

    asked: Submit
    tokens: list[int]  # prompt, then output
    arrived_s: float
    adjustment: Adjustment | None  # None: nothing is ever added to its logits
    grammar: Grammar | None = None  # None: its output is free
    num_forced: int = 0  # newest tokens that its grammar forced and no step has computed
    is_complete: bool = False  # its grammar is fulfilled, and nothing can follow
    number: int = 0  # order of arrival
    level: int = 0  # priority; higher goes first
    paid: int = 0  # prompt tokens its tenant was charged for: reading them again is free
    passed: int = 0  # how many started before it though it was its turn
    elder: "Sequence | None" = None  # whose blocks hold its prompt, once that has been read
    has_ended: bool = False
    computed: int = 0  # tokens whose keys and values are in the cache
    blocks: list[int] = field(default_factory=list[int])
    block_names: list[bytes] = field(default_factory=list[bytes])  # see `prefix_cache`
    num_scored: int = 0  # prompt positions whose log-probabilities were told
    cached: int = 0  # prompt tokens found in the cache when it first ran
    scheduled_s: float | None = None  # when it first ran
    first_token_s: float | None = None

    @classmethod
    def begin(cls, asked: Submit, now_s: float, grammar: Grammar | None = None) -> "Sequence":
        """A sequence that has run nothing yet."""
        return cls(
            asked=asked,
            tokens=list(asked.prompt),
            arrived_s=now_s,
            adjustment=Adjustment.of(asked),
            grammar=grammar,
            level=asked.priority,
        )

    def take(self, drawn: list[int]) -> tuple[int, ...]:
        """Add output tokens up to the one it ends with; those that were taken."""
        taken = drawn[: self.num_left]
        for i, token_id in enumerate(taken):
            if token_id in self.asked.stop_ids:
                del taken[i + 1 :]
                break
        self._add(taken)
        return tuple(taken)

    def force(self) -> tuple[int, ...]:
        """Add what the grammar says must follow the token that was taken last.

        Raises EngineError when the grammar does not know that token here.
        """
        assert self.grammar is not None, "a sequence without a grammar is free"
        if self.tokens[-1] in self.asked.stop_ids:
            return ()
        self.grammar.accept(self.tokens[-1])
        forced = self.grammar.force(self.num_left)
        for i, token_id in enumerate(forced):
            if token_id in self.asked.stop_ids:
                del forced[i:]
                break
        self._add(forced)
        self.num_forced = len(forced)
        self.is_complete = self.grammar.is_complete
        return tuple(forced)

    def _add(self, taken: list[int]) -> None:
        self.tokens += taken
        if self.adjustment is not None:
            for token_id in taken:
                self.adjustment.count(token_id)

    @property
    def place(self) -> tuple[int, int]:
        """Its place among its tenant's sequences: by priority, then by arrival."""
        return (-self.level, self.number)

    @property
    def is_behind(self) -> bool:
        """Whether more than what it drew last is to be computed: it waits for its turn to read."""
        return len(self.tokens) - self.computed > 1 + self.num_forced

    @property
    def ends_s(self) -> float:
        """The clock's reading by which it must be over; infinity without a deadline."""
        limit_s = self.asked.deadline_s
        return math.inf if limit_s is None else self.arrived_s + limit_s

    @property
    def is_held(self) -> bool:
        """Whether it waits for its elder to read the prompt they share."""
        elder = self.elder
        return elder is not None and not elder.has_ended and elder.num_output == 0

    @property
    def num_to_read(self) -> int:
        """Known tokens it has to read when it starts, but for what its elder has read for it."""
        return len(self.tokens) if self.elder is None or self.num_output else 1

    @property
    def num_output(self) -> int:
        """Output tokens so far."""
        return len(self.tokens) - len(self.asked.prompt)

    @property
    def num_left(self) -> int:
        """Output tokens it may still have."""
        return self.asked.max_tokens - self.num_output

    @property
    def num_pending(self) -> int:
        """Known tokens not yet computed: 1 while decoding, and those that were forced after it;
        more while (re)reading a prompt.
        """
        return len(self.tokens) - self.computed

    @property
    def num_reusable(self) -> int:
        """Known tokens that may be found in the cache: a row is left to draw or to score from."""
        if self.asked.scores_prompt and self.num_scored < len(self.asked.prompt) - 1:
            return self.num_scored
        return len(self.tokens) - 1

    @property
    def is_reading(self) -> bool:
        """Whether its next tokens are of the prompt (a preempted one reads its output again)."""
        return self.computed < len(self.asked.prompt)

    def finish_reason(self) -> FinishReason | None:
        """Why it is over, judged by its last token; None while it is not."""
        num_output = self.num_output
        if num_output == 0:
            return None
        if self.is_complete or self.tokens[-1] in self.asked.stop_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if num_output >= self.asked.max_tokens else None
