"""The official Python client and a model that answers in harmony, token by scripted token."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from headrace.api import HttpServer, address, bind, build_app
from headrace.backends.base import Batch, StepResult
from headrace.backends.null import NullBackend
from headrace.backends.repeat import repeat
from headrace.backends.sampling import allowed_of
from headrace.clock import SystemClock
from headrace.config import Config
from headrace.engine import Engine, EngineClient
from headrace.engine.grammar_compiler import GrammarCompiler
from headrace.engine.vocabulary import open_vocabulary
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import LanguageModel, open_model
from tests.harmony_folder import ids_of, write_harmony_folder
from tests.threaded import threaded

HELLO: list[Any] = [{"role": "user", "content": "1 + 1?"}]
THOUGHT = "<|channel|>analysis<|message|>We add.<|end|><|start|>assistant"
PREAMBLE = "<|channel|>commentary<|message|>I add.<|end|><|start|>assistant"
CALL = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1, "b": 1}<|call|>'
ADD: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]


class Scripted(NullBackend):
    """Says its script after any prompt, as far as masks allow: a token they forbid is an error."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model.program, num_blocks=1_024)
        self._model = model
        self._ids: list[int] = []
        self._start = 0
        self.prompt: list[int] = []

    def play(self, script: str, prompt_tokens: int) -> None:
        """What the next request gets; its prompt has so many tokens."""
        self._ids = ids_of(self._model.tokenizer, script)
        self._start = prompt_tokens

    def step(self, batch: Batch) -> StepResult:
        return repeat(batch, self._scripted)

    def _scripted(self, batch: Batch) -> StepResult:
        places = batch.positions[batch.sample_rows] + 1 - self._start
        drawn = np.array([self._ids[i] if 0 <= i < len(self._ids) else 0 for i in places], np.int32)
        sampling = batch.sampling
        if sampling.await_masks is not None:
            sampling.await_masks()
        for row in np.flatnonzero(sampling.mask_rows >= 0):
            bits = sampling.mask_bits[sampling.mask_rows[row]]
            allowed = allowed_of(bits, self.program.vocab_size)
            assert allowed[drawn[row]], f"token {places[row]} of the script is not allowed"
        return StepResult(token_ids=drawn)


class Api:
    """A client, and the model it talks to."""

    def __init__(self, client: openai.OpenAI, model: str, backend: Scripted) -> None:
        self._client = client
        self._model = model
        self._backend = backend

    def ask(self, script: str, **fields: Any) -> Any:
        """The answer of a model that says `script`; with `stream`, its chunks."""
        asked = {"model": self._model, "messages": HELLO, "temperature": 0} | fields
        bare = {k: v for k, v in asked.items() if k not in ("stream", "response_format")}
        self._backend.play("<|channel|>final<|message|>", 0)
        first = self._client.chat.completions.create(
            **{**bare, "tool_choice": "none"} if "tools" in bare else bare, max_completion_tokens=1
        )
        assert first.usage is not None
        self._backend.play(script, first.usage.prompt_tokens)
        answer: Any = self._client.chat.completions.create(**asked)
        return list(answer) if fields.get("stream") else answer

    def refusal(self, **fields: Any) -> openai.BadRequestError:
        with pytest.raises(openai.BadRequestError) as refused:
            self.ask("", **fields)
        return refused.value


@contextmanager
def serving(provider: LocalProvider, home: Path) -> Iterator[str]:
    """A server on a thread, with the provider's engines in its loop."""
    app = build_app(provider, None, Config(home=home), SystemClock())
    is_ready = threading.Event()

    async def nothing() -> None:
        """No stream lasts so long."""

    server = HttpServer(app, drain_s=5, on_ready=is_ready.set, on_limit=nothing)
    sock = bind("127.0.0.1", 0)
    url = address(sock)

    async def run() -> None:
        await provider.start()
        try:
            await server.run(sock)
        finally:
            await provider.stop()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        is_ready.wait()
        yield url
    finally:
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = write_harmony_folder(tmp_path_factory.mktemp("models") / "tiny-oss")
    model = open_model(folder)
    backend = Scripted(model)

    def make_engine() -> Engine:
        engine = Engine(backend, SystemClock(), max_sequences=4, max_step_tokens=256, max_waiting=8)
        engine.grammars = GrammarCompiler(lambda: open_vocabulary(folder, model.program.vocab_size))
        return engine

    engine = EngineClient(threaded(make_engine), SystemClock(), greeting=(1, 2, 3))
    provider = LocalProvider({model.name: LocalModel(model, engine)})
    with (
        serving(provider, tmp_path_factory.mktemp("home")) as url,
        openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
        ) as client,
    ):
        yield Api(client, model.name, backend)


def test_a_thought_and_an_answer(api: Api) -> None:
    answer = api.ask(f"{THOUGHT}<|channel|>final<|message|>Two.<|return|>")
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.reasoning) == ("Two.", "We add.")
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is None
    details = answer.usage.completion_tokens_details
    assert 0 < details.reasoning_tokens < answer.usage.completion_tokens


def test_a_thought_then_an_answer_are_streamed(api: Api) -> None:
    chunks = api.ask(f"{THOUGHT}<|channel|>final<|message|>Two.<|return|>", stream=True)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    order = [
        "reasoning" if getattr(d, "reasoning", None) else "content"
        for d in deltas[1:]
        if d.content or getattr(d, "reasoning", None)
    ]
    assert order == sorted(order, reverse=True), "the thought comes first"
    assert "".join(getattr(d, "reasoning", None) or "" for d in deltas) == "We add."
    assert "".join(d.content or "" for d in deltas) == "Two."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_a_call_is_held_to_its_schema_and_put_together(api: Api) -> None:
    answer = api.ask(THOUGHT + PREAMBLE + CALL, tools=ADD)
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "add")
    assert json.loads(call.function.arguments) == {"a": 1, "b": 1}
    assert (choice.message.content, choice.message.reasoning) == ("I add.", "We add.")
    assert choice.finish_reason == "tool_calls"


def test_a_call_is_streamed_in_pieces(api: Api) -> None:
    chunks = api.ask(THOUGHT + CALL, tools=ADD, tool_choice="required", stream=True)
    pieces = [
        piece
        for chunk in chunks
        if chunk.choices
        for piece in chunk.choices[0].delta.tool_calls or ()
    ]
    assert (pieces[0].function.name, bool(pieces[0].id)) == ("add", True)
    assert {piece.index for piece in pieces} == {0}
    assert len(pieces) > 3
    joined = "".join(piece.function.arguments or "" for piece in pieces)
    assert json.loads(joined) == {"a": 1, "b": 1}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


def test_a_tool_loop_goes_on_with_its_thought(api: Api) -> None:
    first = api.ask(THOUGHT + CALL, tools=ADD).choices[0].message
    answered = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "2"}
    loop = [*HELLO, first.model_dump(), answered]
    with_thought = api.ask("<|channel|>final<|message|>Two.<|return|>", tools=ADD, messages=loop)
    assert with_thought.choices[0].message.content == "Two."
    bare = [*HELLO, first.model_dump() | {"reasoning": None}, answered]
    without = api.ask("<|channel|>final<|message|>Two.<|return|>", tools=ADD, messages=bare)
    assert with_thought.usage.prompt_tokens > without.usage.prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_format_holds_for_the_final_channel_alone(api: Api, stream: bool) -> None:
    script = f'{THOUGHT}<|channel|>final<|message|>{{"sum": 2}}<|return|>'
    schema = {
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    got = api.ask(script, response_format=form, stream=stream)
    if stream:
        deltas = [chunk.choices[0].delta for chunk in got if chunk.choices]
        content = "".join(delta.content or "" for delta in deltas)
        thought = "".join(getattr(delta, "reasoning", None) or "" for delta in deltas)
    else:
        content, thought = got.choices[0].message.content, got.choices[0].message.reasoning
    assert (json.loads(content), thought) == ({"sum": 2}, "We add.")


@pytest.mark.parametrize(("shown", "content"), [("raw", "We add.Two."), ("hidden", "Two.")])
def test_reasoning_goes_where_it_is_wanted(api: Api, shown: str, content: str) -> None:
    script = f"{THOUGHT}<|channel|>final<|message|>Two.<|return|>"
    message = api.ask(script, extra_body={"reasoning_format": shown}).choices[0].message
    assert message.content == content
    assert getattr(message, "reasoning", None) is None


def test_the_effort_is_in_the_prompt_and_none_is_refused(api: Api) -> None:
    script = "<|channel|>final<|message|>Two.<|return|>"
    sizes = {
        effort: api.ask(script, reasoning_effort=effort).usage.prompt_tokens
        for effort in ("low", "medium", "high")
    }
    assert sizes["medium"] > sizes["high"] > sizes["low"]
    assert api.refusal(reasoning_effort="none").param == "reasoning_effort"
    assert api.refusal(extra_body={"disable_reasoning": True}).param == "reasoning_effort"


def test_an_answer_that_is_no_harmony_is_content(api: Api) -> None:
    answer = api.ask("Two, of course.<|return|>")
    assert answer.choices[0].message.content == "Two, of course."
