"""Sequences held to grammars: what comes out, what is forced, and what goes wrong."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import llguidance
import pytest

from headrace.backends.base import Backend
from headrace.backends.null import NullBackend
from headrace.backends.reference import ReferenceBackend
from headrace.clock import ManualClock
from headrace.engine import Engine, grammar, grammar_compiler
from headrace.engine import engine as engine_module
from headrace.engine.grammar import Grammar
from headrace.engine.grammar_compiler import KEPT, KEPT_OF_ONE, GrammarCompiler
from headrace.engine.messages import Accepted, Cancel, Failed, Submit, ToFront, Tokens
from headrace.model.grammar_text import spaced
from tests.engine.test_engine import endings, output, run
from tests.engine.test_engine import submit as plain_submit
from tests.random_schemas import SchemaMaker
from tests.tiny_llama import random_weights, tiny_program

EOS = 256
V = 288
PROGRAM = tiny_program(vocab_size=V, max_position_embeddings=2_048)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "is_mill": {"type": "boolean"}},
    "required": ["name", "is_mill"],
    "additionalProperties": False,
}


class Bytes:
    """A vocabulary of single bytes and some longer pieces of JSON."""

    bos_token_id = None
    eos_token_id = EOS
    special_token_ids = (EOS,)
    pieces = (b'": ', b', "', b'{"', b'"}', b"true", b"name")
    tokens = [bytes([i]) for i in range(256)] + [b"\xff<|end|>"] + list(pieces)

    def __call__(self, text: str) -> list[int]:
        data, ids = text.encode(), list[int]()
        while data:
            longest = max(
                (t for t in self.tokens if t and data.startswith(t)), key=len, default=data[:1]
            )
            ids.append(self.tokens.index(longest))
            data = data[len(longest) :]
        return ids


def vocabulary() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()), V)


def json_grammar(schema: dict[str, Any]) -> str:
    return llguidance.LLMatcher.grammar_from_json_schema(json.dumps(spaced(schema, strict=True)))


def lark(text: str) -> str:
    return llguidance.LLMatcher.grammar_from_lark(text)


def submit(name: str, source: str, max_tokens: int = 200, **changes: object) -> Submit:
    return plain_submit(name, (7, 8), max_tokens, grammar=source, stop_ids=(EOS,), **changes)


def make_engine(
    backend: Backend | None = None,
    *,
    num_blocks: int = 512,
    max_sequences: int = 8,
    compiler: GrammarCompiler | None = None,
) -> Engine:
    engine = Engine(
        backend or ReferenceBackend(PROGRAM, random_weights(PROGRAM), num_blocks=num_blocks),
        ManualClock(),
        max_sequences=max_sequences,
        max_step_tokens=64,
        max_waiting=2_000,
    )
    engine.grammars = compiler or GrammarCompiler(vocabulary)
    return engine


def settle(engine: Engine, *asked: Submit) -> list[ToFront]:
    """Hand in requests, and wait for their grammars."""
    out = [said for submit in asked for said in engine.handle(submit)]
    return out + finish_compiling(engine)


def finish_compiling(engine: Engine) -> list[ToFront]:
    out: list[ToFront] = []
    while engine.num_compiling:
        select_readable(engine)
        out += engine.compiled()
    return out


def select_readable(engine: Engine) -> None:
    import select

    assert engine.grammars is not None
    assert select.select([engine.grammars.fileno()], [], [], 30)[0], "no grammar in 30 s"


def text_of(messages: list[ToFront], name: str) -> str:
    ids = output(messages, name)
    return b"".join(Bytes.tokens[i] for i in ids if i != EOS).decode()


@pytest.fixture(params=["before", "beside"])
def masks_made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When masks are made: steps of this clock take no time, which is short or long enough."""
    monkeypatch.setattr(engine_module, "BESIDE_S", 1.0 if request.param == "before" else 0.0)
    return request.param


def test_the_tokens_are_the_same_whenever_masks_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    filled_by: list[str] = []
    original = Grammar.fill

    def fill(self: Grammar, mask: Any) -> None:
        filled_by.append(threading.current_thread().name)
        original(self, mask)

    monkeypatch.setattr(Grammar, "fill", fill)
    found: list[list[str]] = []
    for least_s, thread in ((1.0, "MainThread"), (0.0, "masks_0")):
        monkeypatch.setattr(engine_module, "BESIDE_S", least_s)
        engine = make_engine()
        asked = [submit(f"s{n}", json_grammar(SCHEMA), temperature=1.5, seed=n) for n in range(6)]
        settle(engine, *asked)
        messages = run(engine)
        found.append([text_of(messages, each.id) for each in asked])
        assert set(filled_by) == {thread}
        filled_by.clear()
    assert found[0] == found[1]


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_what_is_finished_follows_the_schema(temperature: float, masks_made: str) -> None:
    engine = make_engine()
    asked = [
        submit(f"s{n}", json_grammar(SCHEMA), temperature=temperature, seed=n) for n in range(6)
    ]
    assert settle(engine, *asked) == [Accepted(id=each.id) for each in asked]
    messages = run(engine)
    assert set(endings(messages).values()) == {"stop"}
    for each in asked:
        jsonschema.validate(json.loads(text_of(messages, each.id)), SCHEMA)


def test_random_schemas_are_followed() -> None:
    engine = make_engine(max_sequences=32, num_blocks=4_096)
    maker = SchemaMaker(7)
    schemas = [maker.draw() for _ in range(30)]
    asked = [
        submit(f"s{n}", json_grammar(schema), 300, temperature=1.5, seed=n)
        for n, schema in enumerate(schemas)
    ]
    settle(engine, *asked)
    messages = run(engine)
    finished = [name for name, reason in endings(messages).items() if reason == "stop"]
    assert len(finished) >= 10
    for name in finished:
        jsonschema.validate(json.loads(text_of(messages, name)), schemas[int(name[1:])])


def test_what_is_forced_takes_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    source = json_grammar(SCHEMA)

    def answer() -> tuple[str, int]:
        engine = make_engine()
        settle(engine, submit("a", source, temperature=1.0, seed=3))
        return text_of(run(engine), "a"), engine.stats().steps

    text, steps = answer()
    monkeypatch.setattr(grammar, "MAX_FORCED", 0)
    slow_text, slow_steps = answer()
    assert json.loads(text).keys() == json.loads(slow_text).keys()
    assert steps < slow_steps
    assert slow_steps >= len(Bytes()(slow_text)) - 1


def test_forced_text_is_exactly_what_the_grammar_says() -> None:
    engine = make_engine()
    settle(engine, submit("a", lark('start: "begin " /[ab]/ " and then end"\n')))
    messages = run(engine)
    assert text_of(messages, "a") in ("begin a and then end", "begin b and then end")
    assert endings(messages) == {"a": "stop"}
    assert engine.stats().steps <= 3


def test_a_cut_answer_ends_by_length() -> None:
    engine = make_engine()
    settle(engine, submit("a", json_grammar(SCHEMA), 5))
    messages = run(engine)
    assert endings(messages) == {"a": "length"}
    assert len(output(messages, "a")) == 5


@pytest.mark.guards("D60")
def test_neighbours_without_a_grammar_say_what_they_say_alone() -> None:
    alone = make_engine()
    alone.handle(plain_submit("free", (3, 4), 60, temperature=0.9, seed=5))
    expected = output(run(alone), "free")
    engine = make_engine()
    engine.handle(plain_submit("free", (3, 4), 60, temperature=0.9, seed=5))
    settle(engine, *(submit(f"s{n}", json_grammar(SCHEMA), seed=n) for n in range(3)))
    assert output(run(engine), "free") == expected


@pytest.mark.guards("D60")
def test_an_answer_is_the_same_alone_and_when_it_is_preempted() -> None:
    asked = [
        submit(f"s{n}", json_grammar(SCHEMA), temperature=1.0, seed=n, tenant=f"t{n}")
        for n in range(6)
    ]
    roomy = make_engine()
    settle(roomy, *asked)
    expected = run(roomy)
    tight = make_engine(num_blocks=16)
    settle(tight, *asked)
    got = run(tight)
    for each in asked:
        assert output(got, each.id) == output(expected, each.id)


def test_certain_tokens_have_log_probability_zero() -> None:
    engine = make_engine()
    settle(engine, submit("a", lark('start: /[ab]/ "cd"\n'), logprobs=2))
    (said,) = (m for m in run(engine) if isinstance(m, Tokens) and m.finish)
    assert said.logprobs is not None
    assert len(said.logprobs) == len(said.token_ids) == 3
    assert said.logprobs[0].chosen < 0
    assert [entry.chosen for entry in said.logprobs[1:]] == [0.0, 0.0]


def test_a_finished_grammar_does_not_wait_for_min_tokens() -> None:
    engine = make_engine()
    settle(engine, submit("a", lark('start: "ab"\n'), min_tokens=50))
    assert endings(run(engine)) == {"a": "stop"}


@pytest.mark.guards("D64")
@pytest.mark.guards("D73")
@pytest.mark.parametrize(
    "source",
    [
        lark("start: nothing\n"),
        lark("start: /*/\n"),
        json_grammar({"type": "stsring"}),
        json_grammar({"$ref": "https://example.com/other.json"}),
        '{"grammars": "none"}',
        "not even JSON",
    ],
)
def test_what_is_no_grammar_is_refused(source: str) -> None:
    (said,) = settle(make_engine(), submit("a", source))
    assert isinstance(said, Failed)
    assert said.error == "InvalidRequest"


@pytest.mark.guards("D68")
@pytest.mark.guards("D70")
@pytest.mark.parametrize(
    "source",
    [
        lark('start: start "a" | "a"\n'),
        lark('start: (x*)*\nx: "a"?\n'),
        lark("start: /((((a?){9}){9}){9}){9}/\n"),
        lark("start: /" + "(" * 3_000 + "a" + ")" * 3_000 + "/\n"),
        json_grammar({"enum": [f"word {n}" for n in range(10_000)]}),
        json_grammar({"type": "string", "pattern": "^(.*a.*){40}$"}),
    ],
    ids=["left recursion", "empty loop", "powers", "groups", "enum", "pattern"],
)
def test_grammars_that_explode_work_or_are_refused_while_others_go_on(source: str) -> None:
    engine = make_engine(NullBackend(PROGRAM, num_blocks=512))
    engine.handle(plain_submit("free", (3,), 30))
    said = engine.handle(submit("a", source, 20))
    assert output(run(engine), "free") == [*range(4, 34)]
    (said,) = settle(engine)
    if isinstance(said, Failed):
        assert said.error in ("InvalidRequest", "GrammarTooComplex")
    else:
        run(engine)


@pytest.mark.guards("D68")
def test_long_chains_of_references_are_refused() -> None:
    chain = {f"D{n}": {"$ref": f"#/$defs/D{n + 1}"} for n in range(4_000)}
    chain["D4000"] = {"type": "null"}
    source = json_grammar({"$ref": "#/$defs/D0", "$defs": chain})
    rules = "start: r0\n" + "".join(f"r{n}: r{n + 1}\n" for n in range(4_000)) + 'r4000: "a"\n'
    for long in (source, lark(rules)):
        (said,) = settle(make_engine(), submit("a", long))
        assert isinstance(said, Failed)
        assert said.error == "GrammarTooComplex"


@pytest.mark.guards("D67")
def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def stuck(*_: object) -> None:
        released.wait(30)
        raise RuntimeError("nobody waits for this any more")

    monkeypatch.setattr(GrammarCompiler, "_compiled", stuck)
    engine = make_engine(compiler=GrammarCompiler(vocabulary, deadline_s=0.01))
    (said,) = settle(engine, submit("a", lark('start: "a"\n')))
    released.set()
    assert isinstance(said, Failed)
    assert said.error == "GrammarTooComplex"


def test_cancelled_while_it_compiles() -> None:
    engine = make_engine()
    engine.handle(submit("a", json_grammar(SCHEMA)))
    engine.handle(Cancel(id="a"))
    assert settle(engine, submit("b", json_grammar(SCHEMA))) == [Accepted(id="b")]
    messages = run(engine)
    assert set(endings(messages)) == {"b"}


def test_cancelled_while_it_runs() -> None:
    engine = make_engine()
    settle(engine, submit("a", json_grammar(SCHEMA)))
    engine.step()
    engine.handle(Cancel(id="a"))
    assert engine.is_idle
    engine.check_integrity()


@pytest.mark.guards("D74")
@pytest.mark.parametrize("method", ["fill", "accept", "force"])
def test_a_grammar_that_loses_its_place_ends_its_own_request_only(
    method: str, masks_made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    settle(
        engine, submit("bad", json_grammar(SCHEMA), seed=1), submit("good", json_grammar(SCHEMA))
    )
    original: Callable[..., Any] = getattr(Grammar, method)
    engine.step()
    broken = engine._sequences["bad"].grammar

    def fail(self: Grammar, *arguments: Any) -> Any:
        if self is broken:
            raise RuntimeError("a fault")
        return original(self, *arguments)

    monkeypatch.setattr(Grammar, method, fail)
    messages = run(engine)
    (failed,) = (m for m in messages if isinstance(m, Failed))
    assert (failed.id, failed.error) == ("bad", "EngineError")
    assert endings(messages) == {"good": "stop"}


def test_an_engine_without_a_vocabulary_refuses_grammars() -> None:
    engine = Engine(
        NullBackend(PROGRAM, num_blocks=16),
        ManualClock(),
        max_sequences=2,
        max_step_tokens=32,
        max_waiting=10,
    )
    (said,) = engine.handle(submit("a", lark('start: "a"\n')))
    assert isinstance(said, Failed)
    assert said.error == "InvalidRequest"


@pytest.mark.guards("D67")
def test_one_tenants_slow_grammar_is_not_waited_for_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()
    original = GrammarCompiler._compiled

    def compiled(self: GrammarCompiler, source: str, tokenizer: Any) -> Any:
        if "slow" in source:
            released.wait(30)
        return original(self, source, tokenizer)

    monkeypatch.setattr(GrammarCompiler, "_compiled", compiled)
    engine = make_engine()
    for n in range(5):
        engine.handle(submit(f"slow{n}", lark(f'start: "slow{n}"\n'), tenant="a"))
    engine.handle(submit("other", lark('start: "b"\n'), tenant="b"))
    select_readable(engine)
    assert engine.compiled() == [Accepted(id="other")]
    released.set()
    finish_compiling(engine)


def test_too_many_grammars_of_one_tenant_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(GrammarCompiler, "_compiled", lambda *_: released.wait(30))
    monkeypatch.setattr(grammar_compiler, "MOST_WAITING", 3)
    engine = make_engine()
    refused = [
        said
        for n in range(9)
        for said in engine.handle(submit(f"a{n}", lark(f'start: "{n}"\n'), tenant="a"))
    ]
    assert {said.error for said in refused if isinstance(said, Failed)} == {"QueueFull"}
    assert len(refused) in (5, 6), "3 wait, and one is being compiled if a thread was quick"
    assert engine.handle(submit("b", lark('start: "b"\n'), tenant="b")) == []
    released.set()
    finish_compiling(engine)


def test_what_one_tenant_asked_for_is_compiled_anew_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[str] = []
    original = GrammarCompiler._compiled

    def counted(self: GrammarCompiler, source: str, tokenizer: Any) -> Any:
        compiled.append(source)
        return original(self, source, tokenizer)

    monkeypatch.setattr(GrammarCompiler, "_compiled", counted)
    engine = make_engine()
    for n, tenant in enumerate("aabba"):
        settle(engine, submit(f"s{n}", lark('start: "a"\n'), tenant=tenant))
    assert len(compiled) == 2


@pytest.mark.guards("D71")
def test_few_compiled_grammars_are_kept() -> None:
    compiler = GrammarCompiler(vocabulary)
    engine = make_engine(NullBackend(PROGRAM, num_blocks=512), compiler=compiler)
    for n in range(200):
        tenant = "one" if n < 100 else f"tenant {n}"
        asked = submit(f"s{n}", json_grammar({**SCHEMA, "title": f"{n}"}), 1, tenant=tenant)
        assert isinstance(settle(engine, asked)[0], Accepted)
        run(engine)
        if n == 99:
            assert compiler.num_kept == KEPT_OF_ONE
    assert compiler.num_kept == KEPT


@pytest.mark.guards("D71")
@pytest.mark.parametrize(
    "count", [1_000, pytest.param(10_000, marks=pytest.mark.full)], ids=["some", "many"]
)
def test_many_different_schemas_do_not_fill_the_memory(count: int) -> None:
    engine = make_engine(NullBackend(PROGRAM, num_blocks=512))

    def serve(n: int) -> None:
        schema = {**SCHEMA, "properties": SCHEMA["properties"] | {f"p{n}": {"type": "integer"}}}
        settle(engine, submit(f"s{n}", json_grammar(schema), 8, tenant=f"{n % 40}"))
        run(engine)

    for n in range(100):  # the vocabulary, the threads, what is kept
        serve(n)
    before = resident_bytes()
    for n in range(100, count):
        serve(n)
    assert resident_bytes() - before < 64 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
