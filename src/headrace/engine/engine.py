"""Token ids in, token ids out: the loop's body, one step at a time."""

import logging
import math
from concurrent.futures import ThreadPoolExecutor

from headrace.backends.base import BLOCK_TOKENS, Backend, StepResult
from headrace.backends.phase_times import WatchesPhases
from headrace.clock import Clock
from headrace.engine.batch import Batches
from headrace.engine.block_pool import BlockPool
from headrace.engine.grammar import Grammar
from headrace.engine.grammar_compiler import GrammarCompiler
from headrace.engine.logprobs import last_logprobs
from headrace.engine.masks import Masks
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
    failure,
)
from headrace.engine.prefix_cache import name_blocks
from headrace.engine.scheduler import Chunk, Scheduler
from headrace.engine.scoring import prompt_logprobs, with_scored_rows
from headrace.engine.sequence import Sequence
from headrace.engine.stride import Stride
from headrace.engine.submission import check_submission
from headrace.engine.waiting import WaitingRoom
from headrace.errors import (
    DeadlineExceeded,
    EngineError,
    HeadraceError,
    InvalidRequest,
)
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)

# Steps from this long on have their masks made beside them: handing that over takes some 50 us of
# another core's, more than a mask of a small vocabulary.
BESIDE_S = 1e-3
CHECK_EVERY_S = 1.0  # how often an idle engine looks whether all blocks are there, at most


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
        max_waiting_tokens: int = 1 << 20,
        has_prefix_cache: bool = True,
    ) -> None:
        """`max_waiting` requests and `max_waiting_tokens` prompt tokens of one tenant may wait."""
        self._backend = backend
        self._clock = clock
        self._pool = BlockPool(backend.num_blocks, BLOCK_TOKENS)
        self._scheduler = Scheduler(
            self._pool,
            max_sequences=max_sequences,
            max_step_tokens=max_step_tokens,
            has_prefix_cache=has_prefix_cache,
        )
        self._room = WaitingRoom(
            max_requests=max_waiting,
            max_tokens=max_waiting_tokens,
            max_sequences=max_sequences,
        )
        self.stride = Stride()  # bounds the steps of one call; may be changed
        self._batches = Batches()
        self._next_deadline_s = math.inf
        self._checked_s = -math.inf
        self._has_prefix_cache = has_prefix_cache
        self.grammars: GrammarCompiler | None = None  # set before any use; None refuses them
        self._mask_thread = ThreadPoolExecutor(1, thread_name_prefix="masks")  # starts when used
        self._compiling: dict[str, tuple[Submit, float]] = {}  # and when they came
        self._sequences: dict[str, Sequence] = {}
        self._steps = self._prompt_tokens = self._cached_tokens = self._output_tokens = 0
        self.context_tokens = min(backend.program.max_positions, backend.num_blocks * BLOCK_TOKENS)

    @property
    def is_idle(self) -> bool:
        """Whether no sequence is waiting or running."""
        return not self._sequences

    @property
    def num_compiling(self) -> int:
        """Sequences that wait for their grammar."""
        return len(self._compiling)

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

    @property
    def next_deadline_s(self) -> float:
        """When `step` has a sequence to end, or sooner, by the clock; infinity: none to come."""
        return self._next_deadline_s

    def handle(self, message: ToEngine) -> list[ToFront]:
        """Take one message from the front; what it answers at once."""
        match message:
            case Cancel():
                self._compiling.pop(message.id, None)
                sequence = self._sequences.pop(message.id, None)
                if sequence is not None:
                    self._scheduler.remove(sequence)
                    self._stop_watching(sequence)
                    self._check_if_idle()
                return []
            case Submit():
                return self._submit(message)

    def compiled(self) -> list[ToFront]:
        """Take the grammars that are ready: their sequences go on; what that answers."""
        if self.grammars is None:
            return []
        out: list[ToFront] = []
        for request_id, found in self.grammars.take():
            asked, arrived_s = self._compiling.pop(request_id, (None, 0.0))
            if asked is None:
                continue  # cancelled meanwhile
            if isinstance(found, HeadraceError):
                out.append(failure(request_id, found))
            else:
                out.append(self._admit(asked, arrived_s, found))
        return out

    def step(self) -> list[ToFront]:
        """Plan, run, commit one call of the backend: one step, or several while nobody waits.

        A failure of the backend ends the sequences of that call.
        """
        now_s = self._clock.now_s()
        out: list[ToFront] = self._expire(now_s) if now_s >= self._next_deadline_s else []
        plan = self._scheduler.schedule()
        if plan:
            self._note(plan, now_s)
            out += self._run(plan, now_s)
        self._check_if_idle()
        return out

    def _run(self, plan: list[Chunk], began_s: float) -> list[ToFront]:
        is_alone = len(plan) == self._scheduler.num_running and not self._scheduler.num_waiting
        steps = self.stride.reserve(plan, self._pool) if is_alone else 1
        masks = self._masks(plan)
        try:
            batch = with_scored_rows(self._batches.build(plan, steps, masks), plan)
            result = self._backend.step(batch)
        except Exception as exc:
            log.exception(Event("step_failed", sequences=len(plan)))
            return [self._fail(chunk.sequence, exc) for chunk in plan]
        finally:
            if masks is not None:
                masks.wait()
        now_s = self._clock.now_s()
        self.stride.note(plan, steps, now_s - began_s)
        self._steps += steps
        return [*prompt_logprobs(plan, result), *self._commit(plan, steps, result, now_s, masks)]

    def _masks(self, plan: list[Chunk]) -> Masks | None:
        """What the grammars of this step's sequences allow, as far as it is known yet."""
        held = [c.sequence for c in plan if c.is_sampled and c.sequence.grammar is not None]
        if not held:
            return None
        masks = Masks(held, self._backend.program.vocab_size)
        if self.stride.step_s >= BESIDE_S:
            masks.fill_beside(self._mask_thread)
        else:
            masks.fill()
        return masks

    def _note(self, plan: list[Chunk], now_s: float) -> None:
        """Take down when sequences first ran, and how fast prompts are read."""
        num_read = 0
        for chunk in plan:
            sequence = chunk.sequence
            if sequence.is_behind:
                num_read += chunk.count
            if sequence.scheduled_s is None:
                sequence.scheduled_s = now_s
                sequence.cached = sequence.computed
                self._cached_tokens += sequence.cached
                if sequence.elder is None:  # else it waited for that one, and finds what it read
                    self._room.queue_times.note(now_s, now_s - sequence.arrived_s)
                    num_read += sequence.cached
        is_short = self._scheduler.is_crowded or any(not chunk.is_sampled for chunk in plan)
        self._room.pace.note(now_s, num_read, is_short=is_short)

    def _expire(self, now_s: float) -> list[ToFront]:
        """End the sequences whose time is over."""
        over = [s for s in self._sequences.values() if s.ends_s <= now_s]
        out: list[ToFront] = [self._fail(s, DeadlineExceeded(_too_long(s))) for s in over]
        self._next_deadline_s = min((s.ends_s for s in self._sequences.values()), default=math.inf)
        return out

    def fail_all(self, exc: Exception) -> list[ToFront]:
        """End every sequence after an error outside the backend, and start with an empty cache."""
        log.error(Event("engine_failed", sequences=len(self._sequences)), exc_info=exc)
        out: list[ToFront] = [failure(request_id, exc) for request_id in self._sequences]
        self._sequences.clear()
        self._scheduler.clear()
        return out

    def check_integrity(self) -> None:
        """Raise EngineError unless every KV block is accounted for; all are free when idle."""
        self._scheduler.check_integrity()
        if self.is_idle and self._scheduler.num_running + self._scheduler.num_waiting:
            raise EngineError("a sequence that ended is still scheduled")

    def _check_if_idle(self) -> None:
        """When the work is done, look for lost blocks, and start afresh if there are any."""
        if self.is_idle and self._clock.now_s() - self._checked_s >= CHECK_EVERY_S:
            self._checked_s = self._clock.now_s()
            try:
                self.check_integrity()
            except EngineError as exc:
                self.fail_all(exc)

    def _submit(self, asked: Submit) -> list[ToFront]:
        now_s = self._clock.now_s()
        try:
            if asked.id in self._sequences or asked.id in self._compiling:
                raise InvalidRequest(f"request id {asked.id} is in use")
            check_submission(asked, self._backend.program.vocab_size, self.context_tokens)
            if asked.grammar:
                if self.grammars is None:
                    raise InvalidRequest("this engine takes no grammars", param="response_format")
                self.grammars.compile(asked.id, asked.grammar, asked.tenant)
                self._compiling[asked.id] = (asked, now_s)
                return []
        except HeadraceError as exc:
            return [failure(asked.id, exc)]
        return [self._admit(asked, now_s)]

    def _admit(self, asked: Submit, arrived_s: float, grammar: Grammar | None = None) -> ToFront:
        """Give it a place in the queue, if there is one."""
        try:
            self._room.check(asked, self._scheduler.tenants, self._clock.now_s())
        except HeadraceError as exc:
            return failure(asked.id, exc)
        sequence = Sequence.begin(asked, arrived_s, grammar)
        if self._has_prefix_cache:
            sequence.elder = self._sequences.get(asked.after)
        self._scheduler.add(sequence)
        self._sequences[asked.id] = sequence
        if asked.is_watched and isinstance(self._backend, WatchesPhases):
            self._backend.watch_phases(True)
        self._next_deadline_s = min(self._next_deadline_s, sequence.ends_s)
        return Accepted(id=asked.id)

    def _commit(
        self,
        plan: list[Chunk],
        steps: int,
        result: StepResult,
        now_s: float,
        masks: Masks | None,
    ) -> list[ToFront]:
        out: list[ToFront] = []
        lost = masks.lost if masks is not None else {}
        rows = sum(chunk.is_sampled for chunk in plan)
        drawn = result.token_ids[: rows * steps].tolist()
        row = 0
        self._prompt_tokens += sum(chunk.count for chunk in plan if chunk.sequence.is_reading)
        for chunk in plan:
            sequence, before = chunk.sequence, chunk.sequence.computed
            taken: tuple[int, ...] = ()
            sequence.num_forced = 0
            if sequence in lost:
                out.append(self._fail(sequence, lost[sequence]))
                row += 1
                continue
            if chunk.is_sampled:
                taken = sequence.take(drawn[row::rows])
            sequence.computed += chunk.count + max(0, len(taken) - 1)  # the last is yet to be fed
            name_blocks(self._pool, sequence, before)
            if taken:
                try:
                    taken += sequence.force() if sequence.grammar is not None else ()
                except Exception as exc:  # noqa: BLE001 (one sequence's trouble is not the others')
                    out.append(self._fail(sequence, exc))
                else:
                    logprobs = last_logprobs(sequence, result, row)
                    out.append(self._report(sequence, taken, now_s, logprobs))
                row += 1
        return out

    def _report(
        self,
        sequence: Sequence,
        taken: tuple[int, ...],
        now_s: float,
        logprobs: tuple[TokenLogprobs, ...] | None,
    ) -> Tokens:
        if sequence.first_token_s is None:
            sequence.first_token_s = now_s
        assert sequence.scheduled_s is not None, "a token from a sequence that never ran"
        self._output_tokens += len(taken)
        self._scheduler.tenants[sequence.asked.tenant].charge_more(len(taken) - 1)
        reason = sequence.finish_reason()
        phases: tuple[tuple[str, float], ...] = ()
        if reason is not None:
            self._scheduler.remove(sequence)
            del self._sequences[sequence.asked.id]
            phases = self._stop_watching(sequence)
        return Tokens(
            id=sequence.asked.id,
            token_ids=taken,
            cached_tokens=sequence.cached,
            finish=reason,
            queue_s=sequence.scheduled_s - sequence.arrived_s,
            prompt_s=sequence.first_token_s - sequence.scheduled_s,
            completion_s=now_s - sequence.first_token_s,
            logprobs=logprobs,
            phases=phases,
        )

    def _stop_watching(self, sequence: Sequence) -> tuple[tuple[str, float], ...]:
        """If `sequence` was watched: how long the phases took."""
        if not sequence.asked.is_watched or not isinstance(self._backend, WatchesPhases):
            return ()
        phases = tuple((phase.name, phase.seconds) for phase in self._backend.phase_times())
        self._backend.watch_phases(False)
        return phases

    def _fail(self, sequence: Sequence, exc: Exception) -> Failed:
        self._scheduler.remove(sequence)
        self._stop_watching(sequence)
        del self._sequences[sequence.asked.id]
        return failure(sequence.asked.id, exc)


def _too_long(sequence: Sequence) -> str:
    limit_s = sequence.asked.deadline_s
    return f"This request took longer than the {limit_s:g} s it may take, its wait included."
