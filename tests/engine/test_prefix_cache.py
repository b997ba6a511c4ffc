"""Equal beginnings are read once, per tenant, and no token changes by it."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.clock import ManualClock
from headrace.engine import Engine
from headrace.engine.messages import Submit, ToFront, Tokens
from tests.engine.test_engine import VOCAB, output, run, submit
from tests.tiny_llama import random_weights, tiny_program


class Counting(NullBackend):
    """Counts the rows it is asked to compute."""

    rows = 0

    def step(self, batch: Batch) -> StepResult:
        self.rows += len(batch.token_ids)
        return super().step(batch)


def engine_on(backend: NullBackend | ReferenceBackend, *, cache: bool = True) -> Engine:
    return Engine(
        backend,
        ManualClock(),
        max_sequences=4,
        max_step_tokens=32,
        max_waiting=100,
        has_prefix_cache=cache,
    )


def cached_tokens(messages: list[ToFront], name: str) -> int:
    return next(m.cached_tokens for m in messages if isinstance(m, Tokens) and m.id == name)


def ask(engine: Engine, *asked: Submit) -> list[ToFront]:
    for message in asked:
        engine.handle(message)
    return run(engine)


def test_a_repeated_prompt_computes_its_last_block_only() -> None:
    backend = Counting(tiny_program(), num_blocks=64)
    engine = engine_on(backend)
    prompt = tuple(range(50))
    first = ask(engine, submit("a", prompt, 4))
    assert cached_tokens(first, "a") == 0
    before = backend.rows
    second = ask(engine, submit("b", prompt, 4))
    assert cached_tokens(second, "b") == 48
    assert backend.rows - before == 2 + 3
    assert output(second, "b") == output(first, "a")


def test_a_prompt_of_whole_blocks_still_computes_a_row_to_sample_from() -> None:
    engine = engine_on(NullBackend(tiny_program(), num_blocks=64))
    prompt = tuple(range(48))
    ask(engine, submit("a", prompt, 1))
    assert cached_tokens(ask(engine, submit("b", prompt, 1)), "b") == 32


def test_the_next_turn_finds_the_answer_too() -> None:
    engine = engine_on(NullBackend(tiny_program(), num_blocks=64))
    prompt = tuple(range(20))
    answer = output(ask(engine, submit("a", prompt, 30)), "a")
    longer = (*prompt, *answer, 7, 7, 7)
    assert cached_tokens(ask(engine, submit("b", longer, 1)), "b") == 48


def test_tenants_find_nothing_of_each_other() -> None:
    engine = engine_on(NullBackend(tiny_program(), num_blocks=64))
    prompt = tuple(range(50))
    ask(engine, submit("a", prompt, 1, tenant="one"))
    assert cached_tokens(ask(engine, submit("b", prompt, 1, tenant="two")), "b") == 0
    assert cached_tokens(ask(engine, submit("c", prompt, 1, tenant="one")), "c") == 48


def test_what_differs_early_shares_nothing_later() -> None:
    engine = engine_on(NullBackend(tiny_program(), num_blocks=64))
    ask(engine, submit("a", tuple(range(50)), 1))
    other = (99, *range(1, 50))
    assert cached_tokens(ask(engine, submit("b", other, 1)), "b") == 0


def test_switched_off_it_finds_nothing() -> None:
    engine = engine_on(NullBackend(tiny_program(), num_blocks=64), cache=False)
    prompt = tuple(range(50))
    ask(engine, submit("a", prompt, 1))
    assert cached_tokens(ask(engine, submit("b", prompt, 1)), "b") == 0


PROGRAM = tiny_program()
WEIGHTS = random_weights(PROGRAM)


@given(
    cuts=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=2, max_size=7),
    num_blocks=st.integers(6, 12),
)
def test_on_off_and_under_pressure_give_the_same_tokens(
    cuts: list[tuple[int, int]], num_blocks: int
) -> None:
    stem = [(5 * i + 3) % VOCAB for i in range(60)]
    asked = [
        submit(str(i), (*stem[:length], tail), 20, temperature=0.9, seed=i)
        for i, (length, tail) in enumerate(cuts)
    ]

    def tokens(engine: Engine) -> list[list[int]]:
        messages = ask(engine, *asked)
        return [output(messages, m.id) for m in asked]

    roomy = tokens(engine_on(ReferenceBackend(PROGRAM, WEIGHTS, num_blocks=128), cache=False))
    tight = tokens(engine_on(ReferenceBackend(PROGRAM, WEIGHTS, num_blocks=num_blocks)))
    assert tight == roomy
