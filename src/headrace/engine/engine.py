"""Token ids in, token ids out: the loop's body, one step at a time."""

import logging

from headrace.backends.base import BLOCK_TOKENS, Backend, StepResult
from headrace.clock import Clock
from headrace.engine.batch import build_batch
from headrace.engine.block_pool import BlockPool
from headrace.engine.logprobs import MAX_TOP, logprobs_of
from headrace.engine.messages import (
    Accepted,
    Cancel,
    Failed,
    Stats,
    Submit,
    ToEngine,
    ToFront,
    TokenLogprobs,
    Tokens,
)
from headrace.engine.prefix_cache import name_blocks
from headrace.engine.scheduler import Chunk, Scheduler
from headrace.engine.sequence import Sequence
from headrace.errors import HeadraceError, InvalidRequest
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)


class Engine:
    """Runs sequences on a backend. One thread calls it."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        max_sequences: int,
        max_step_tokens: int,
        max_waiting: int,
        has_prefix_cache: bool = True,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._pool = BlockPool(backend.num_blocks, BLOCK_TOKENS)
        self._scheduler = Scheduler(
            self._pool,
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            max_waiting=max_waiting,
            has_prefix_cache=has_prefix_cache,
        )
        self._sequences: dict[str, Sequence] = {}
        self._steps = self._prompt_tokens = self._cached_tokens = self._output_tokens = 0
        self.context_tokens = min(backend.program.max_positions, backend.num_blocks * BLOCK_TOKENS)

    @property
    def is_idle(self) -> bool:
        """Whether no sequence is waiting or running."""
        return not self._sequences

    def stats(self) -> Stats:
        """The counters, as of now."""
        scheduler = self._scheduler
        return Stats(
            running=scheduler.num_running,
            waiting=scheduler.num_waiting,
            free_blocks=self._pool.num_free,
            total_blocks=self._pool.total,
            preempted=scheduler.num_preempted,
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            output_tokens=self._output_tokens,
        )

    def handle(self, message: ToEngine) -> list[ToFront]:
        """Take one message from the front; what it answers at once."""
        match message:
            case Cancel():
                sequence = self._sequences.pop(message.id, None)
                if sequence is not None:
                    self._scheduler.remove(sequence)
                return []
            case Submit():
                return [self._submit(message)]

    def step(self) -> list[ToFront]:
        """Plan, run, commit one step. A failure of the backend ends the sequences of that step."""
        plan = self._scheduler.schedule()
        if not plan:
            return []
        now_s = self._clock.now_s()
        for chunk in plan:
            if chunk.sequence.scheduled_s is None:
                chunk.sequence.scheduled_s = now_s
                chunk.sequence.cached = chunk.sequence.computed
                self._cached_tokens += chunk.sequence.cached
        try:
            result = self._backend.step(build_batch(plan))
        except Exception as exc:
            log.exception(Event("step_failed", sequences=len(plan)))
            return [self._fail(chunk.sequence, exc) for chunk in plan]
        return self._commit(plan, result)

    def fail_all(self, exc: Exception) -> list[ToFront]:
        """End every sequence after an error outside the backend: the engine itself goes on."""
        log.error(Event("engine_failed", sequences=len(self._sequences)), exc_info=exc)
        return [self._fail(sequence, exc) for sequence in list(self._sequences.values())]

    def check_integrity(self) -> None:
        """Raise EngineError unless every KV block is accounted for; all are free when idle."""
        self._scheduler.check_integrity()
        if self.is_idle:
            self._pool.check_integrity()

    def _submit(self, asked: Submit) -> ToFront:
        try:
            self._check(asked)
            sequence = Sequence.begin(asked, self._clock.now_s())
            self._scheduler.add(sequence)
        except HeadraceError as exc:
            return Failed(id=asked.id, error=type(exc).__name__, message=str(exc))
        self._sequences[asked.id] = sequence
        return Accepted(id=asked.id)

    def _check(self, asked: Submit) -> None:
        vocab = self._backend.program.vocab_size
        if asked.id in self._sequences:
            raise InvalidRequest(f"request id {asked.id} is in use")
        if not asked.prompt or asked.max_tokens < 1:
            raise InvalidRequest("a sequence needs a prompt and room for one output token")
        if len(asked.prompt) + asked.max_tokens > self.context_tokens:
            raise InvalidRequest(f"prompt and output exceed {self.context_tokens} tokens")
        if not all(0 <= token < vocab for token in asked.prompt):
            raise InvalidRequest(f"a prompt token lies outside the vocabulary of {vocab}")
        if not all(0 <= token < vocab for token, _ in asked.logit_bias):
            raise InvalidRequest(f"a biased token lies outside the vocabulary of {vocab}")
        if not 0 <= asked.min_tokens <= asked.max_tokens or asked.logprobs > MAX_TOP:
            raise InvalidRequest("min_tokens or logprobs is out of range")
        if asked.min_tokens and len(set(asked.stop_ids)) >= vocab:
            raise InvalidRequest("every token ends this sequence, and none may")

    def _commit(self, plan: list[Chunk], result: StepResult) -> list[ToFront]:
        now_s = self._clock.now_s()
        out: list[ToFront] = []
        drawn = result.token_ids.tolist()
        row = 0
        self._steps += 1
        self._output_tokens += len(drawn)
        self._prompt_tokens += sum(chunk.count for chunk in plan if chunk.sequence.is_reading)
        for chunk in plan:
            sequence, is_sampled = chunk.sequence, chunk.is_sampled
            sequence.computed += chunk.count
            name_blocks(self._pool, sequence, sequence.computed - chunk.count)
            if not is_sampled:
                continue
            sequence.append(drawn[row])
            out.append(self._report(sequence, now_s, _logprobs(sequence, result, row)))
            row += 1
        return out

    def _report(
        self, sequence: Sequence, now_s: float, logprobs: tuple[TokenLogprobs, ...] | None
    ) -> Tokens:
        if sequence.first_token_s is None:
            sequence.first_token_s = now_s
        assert sequence.scheduled_s is not None, "a token from a sequence that never ran"
        reason = sequence.finish_reason()
        if reason is not None:
            self._scheduler.remove(sequence)
            del self._sequences[sequence.asked.id]
        return Tokens(
            id=sequence.asked.id,
            token_ids=(sequence.tokens[-1],),
            cached_tokens=sequence.cached,
            finish=reason,
            queue_s=sequence.scheduled_s - sequence.arrived_s,
            prompt_s=sequence.first_token_s - sequence.scheduled_s,
            completion_s=now_s - sequence.first_token_s,
            logprobs=logprobs,
        )

    def _fail(self, sequence: Sequence, exc: Exception) -> Failed:
        self._scheduler.remove(sequence)
        del self._sequences[sequence.asked.id]
        if isinstance(exc, HeadraceError):
            return Failed(id=sequence.asked.id, error=type(exc).__name__, message=str(exc))
        return Failed(
            id=sequence.asked.id,
            error="EngineError",
            message="the engine failed on this request; the server's log has the details",
        )


def _logprobs(sequence: Sequence, result: StepResult, row: int) -> tuple[TokenLogprobs, ...] | None:
    """Those of the last token of `sequence`, drawn as `row` of the step, if it asked for any."""
    if sequence.asked.logprobs < 0:
        return None
    assert result.logits is not None, "the step did not give the logits it was asked for"
    return (logprobs_of(result.logits[row], sequence.tokens[-1], sequence.asked.logprobs),)
