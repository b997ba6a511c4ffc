"""Plays tasks on an endpoint: calls one after another, until done or one of them fails."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from headrace.bench.client import Answer, Transport, read_answer
from headrace.bench.client.counting import counted
from headrace.bench.client.tokens import TokenEnds
from headrace.bench.metrics import Attempt
from headrace.bench.prices import Price, spent
from headrace.bench.scenarios import PLAIN, Extensions, Outcome, Task
from headrace.bench.scenarios.log import logged
from headrace.clock import Clock


@dataclass(slots=True, kw_only=True)
class Budget:
    """What a run may spend at most. Calls under way when it ends are finished and counted."""

    max_tokens: float | None = None  # prompt and output, all endpoints
    max_micro: float | None = None  # of the price table's currency
    tokens: float = 0.0
    micro: float = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether no further call may be made."""
        is_over = self.max_tokens is not None and self.tokens >= self.max_tokens
        return is_over or (self.max_micro is not None and self.micro >= self.max_micro)

    def add(self, answer: Answer, price: Price | None) -> None:
        """Count an answer."""
        cost = spent((answer,), price)
        self.tokens += cost.prompt_tokens + cost.output_tokens
        self.micro += cost.micro or 0.0

    def share(self, count: int) -> "Budget":
        """What each of `count` processes may spend of what is left."""
        tokens, micro = self.max_tokens, self.max_micro
        return Budget(
            max_tokens=None if tokens is None else (tokens - self.tokens) / count,
            max_micro=None if micro is None else (micro - self.micro) / count,
        )

    def add_spent(self, other: "Budget") -> None:
        """Count what another process spent."""
        self.tokens += other.tokens
        self.micro += other.micro


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where tasks are played."""

    name: str  # in reports
    model: str
    transport: Transport
    price: Price | None = None
    token_ends: TokenEnds | None = None  # of its model
    counter: TokenEnds | None = None  # the same for all endpoints
    extensions: Extensions = PLAIN  # that it takes

    def counted(self, attempt: Attempt) -> Attempt:
        """The attempt with its tokens counted; when nothing is measured any more."""
        answers = tuple(
            counted(answer, own=self.token_ends, common=self.counter) for answer in attempt.answers
        )
        return replace(attempt, answers=answers)


@dataclass(slots=True, kw_only=True)
class Player:
    """Plays on any endpoint, on one clock and one budget."""

    clock: Clock
    seed: int
    budget: Budget = field(default_factory=Budget)
    on_attempt: Callable[[Attempt], None] = lambda _: None
    record: list[bytes] | None = None  # of requests and answers, as `scenarios.log` has it

    async def play(
        self,
        endpoint: Endpoint,
        task: Task,
        *,
        intended_s: float | None = None,
        stage: str = "",
        on_piece: Callable[[float, bytes], None] | None = None,
        on_answer: Callable[[Answer], None] = lambda _: None,
    ) -> Attempt | None:
        """The attempt, None if the budget was spent before it began.

        `intended_s` is when the first call should have left (open loop). A task that the budget
        ends in the middle is a failed call: it was begun and not done.
        """
        if self.budget.is_spent:
            return None
        woke_s = self.clock.now_s()
        answers: list[Answer] = []
        call = task.next_call(answers)
        while call is not None:
            meant_s = intended_s if not answers else None
            body = call.body(endpoint.model, self.seed, endpoint.extensions)
            exchange = await endpoint.transport.post(body, on_piece)
            answer = read_answer(exchange, intended_s=meant_s)
            if self.record is not None:
                line = logged(body, answer, endpoint=endpoint.name, task=task.id)
                self.record.append(line)
            answers.append(answer)
            self.budget.add(answer, endpoint.price)
            on_answer(answer)
            if answer.fault:
                break
            call = task.next_call(answers)
            if self.budget.is_spent:
                break
        is_whole = call is None
        attempt = Attempt(
            endpoint=endpoint.name,
            scenario=task.scenario,
            task=task.id,
            stage=stage,
            start_s=answers[0].start_s,
            woke_s=None if intended_s is None else woke_s,
            end_s=answers[-1].ended_s,
            answers=tuple(answers),
            outcome=task.check(answers) if is_whole else Outcome.FAILED_CALL,
        )
        self.on_attempt(attempt)
        return attempt
