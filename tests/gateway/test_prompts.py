"""What a prompt is to a real model: text, token ids, messages; and its tokens shown."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from headrace.config import ModelConfig
from headrace.errors import ContextTooLong, InvalidRequest, UnknownModel
from headrace.model import ChatTemplate, Tokenizer
from headrace.types import (
    FinishReason,
    Message,
    Reasoning,
    Role,
    SamplingParams,
    TokenEvent,
    TokenizeRequest,
    ToolCall,
)
from tests.gateway.test_local import MODEL, ask, collect, provider

VOCAB = MODEL.program.vocab_size
TEXT = "Once upon a time, 水."


def run(*requests: dict[str, Any]) -> list[list[TokenEvent]]:
    async def scenario() -> list[list[TokenEvent]]:
        async with provider() as running:
            return [await collect(running, ask(messages=(), **request)) for request in requests]

    return asyncio.run(scenario())


def test_a_text_is_read_as_the_checkpoint_reads_texts() -> None:
    ids = MODEL.tokenizer.encode_prompt(TEXT)
    (events, same) = run({"prompt": TEXT}, {"prompt": tuple(ids)})
    assert events[0].usage is not None
    assert events[0].usage.prompt_tokens == len(ids)
    said = [token for event in events for token in event.token_ids]
    assert said == [(ids[-1] + 1 + j) % VOCAB for j in range(12)], "nothing stands behind it"
    assert "".join(e.text for e in same) == "".join(e.text for e in events)


@pytest.mark.parametrize("n", [1, 3])
def test_an_echo_begins_every_choice_and_is_no_output(n: int) -> None:
    ids = tuple(MODEL.tokenizer.encode_text(TEXT))
    plain, text, tokens = run(
        {"prompt": TEXT, "n": n},
        {"prompt": TEXT, "n": n, "echo": True},
        {"prompt": ids, "n": n, "echo": True},
    )
    for choice in range(n):
        alone = "".join(event.text for event in plain if event.choice == choice)
        for events in (text, tokens):
            assert "".join(e.text for e in events if e.choice == choice) == TEXT + alone
            assert events[-1].usage is not None
            assert events[-1].usage.completion_tokens == 12 * n


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stop", [(), ("upon",)])
def test_an_echo_with_log_probabilities_has_those_of_every_token(
    n: int, stop: tuple[str, ...]
) -> None:
    ids = MODEL.tokenizer.encode_prompt(TEXT + " 水")
    plain, echoed, silent = run(
        {"prompt": tuple(ids), "n": n},
        {"prompt": tuple(ids), "n": n, "echo": True, "logprobs": 1, "stop": stop},
        {"prompt": tuple(ids), "n": n, "echo": True, "logprobs": 1, "max_tokens": 0},
    )
    for choice in range(n):
        own = [event for event in echoed if event.choice == choice]
        text = "".join(event.text for event in own)
        alone = "".join(event.text for event in plain if event.choice == choice)
        assert text == TEXT + " 水" + alone
        entries = [entry for event in own for entry in event.logprobs]
        assert len(entries) == len(ids) + 12
        assert [entry.logprob is None for entry in entries[:2]] == [True, False]
        assert entries[0].top == ()
        for entry in entries:
            if entry.data is not None and "\ufffd" not in entry.token:
                assert text[entry.start :].startswith(entry.token)
        prompts = [event for event in own if event.is_prompt]
        assert sum(len(event.logprobs) for event in prompts) == len(ids)
        is_prompt = [event.is_prompt for event in own if event.text]
        assert is_prompt == sorted(is_prompt, reverse=True), "the prompt comes first"
        only = [event for event in silent if event.choice == choice]
        assert "".join(event.text for event in only) == TEXT + " 水"
        assert [e for event in only for e in event.logprobs] == entries[: len(ids)]
        assert only[-1].finish is FinishReason.LENGTH
    assert echoed[-1].usage is not None
    assert echoed[-1].usage.completion_tokens == 12 * n
    assert silent[-1].usage is not None
    assert silent[-1].usage.completion_tokens == 0
    assert not any(event.token_ids for event in silent)


def test_a_prompt_of_one_token_has_nothing_to_say_of_it() -> None:
    (events,) = run({"prompt": (5,), "echo": True, "logprobs": 0, "max_tokens": 0})
    assert [e.logprob for event in events for e in event.logprobs] == [None]


def test_a_stop_string_of_the_prompt_stops_nothing() -> None:
    (events,) = run({"prompt": TEXT, "echo": True, "stop": ("upon",)})
    assert "".join(event.text for event in events).startswith(TEXT)
    assert events[-1].usage is not None
    assert events[-1].usage.completion_tokens == 12


def test_log_probabilities_know_where_their_text_begins() -> None:
    (events,) = run({"prompt": (MODEL.tokenizer.encode_text("水")[0],), "logprobs": 0})
    text = "".join(event.text for event in events)
    entries = [entry for event in events for entry in event.logprobs]
    assert [entry.start for entry in entries] == sorted(entry.start for entry in entries)
    for entry in entries:
        if entry.data is not None and "\ufffd" not in entry.token:
            assert text[entry.start :].startswith(entry.token)


@pytest.mark.guards("D45")
def test_ids_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=f"{VOCAB} is no token of this model") as refused:
        run({"prompt": (1, VOCAB)})
    assert refused.value.param == "prompt"


@pytest.mark.guards("D61")
def test_a_prompt_that_fills_the_context_is_refused_each_time() -> None:
    async def scenario() -> None:
        async with provider() as running:
            for prompt in ((1,) * 100_000, "word " * 8_000):
                for _ in range(10):
                    with pytest.raises(ContextTooLong, match="Current length is ") as refused:
                        await collect(running, ask(messages=(), prompt=prompt))
                    assert refused.value.param == "prompt"
            events = await collect(running, ask())
            assert events[-1].finish is not None

    asyncio.run(scenario())


@pytest.mark.guards("D42")
@pytest.mark.parametrize("field", ["max_tokens", "min_tokens"])
def test_a_huge_bound_becomes_what_the_context_has_room_for(field: str) -> None:
    async def scenario() -> None:
        async with provider() as running:
            model = running._models["mini"]
            request = ask(**{"max_tokens": None, field: 10**12})
            asked = model._submit(request, (1, 2), 100, is_thinking=False)
            assert asked.max_tokens == 100
            assert asked.min_tokens == (100 if field == "min_tokens" else 0)

    asyncio.run(scenario())


@pytest.mark.guards("D45")
def test_a_bias_of_what_is_no_token_is_refused() -> None:
    bias = SamplingParams(temperature=0.0, logit_bias=((VOCAB, 1.0),))
    with pytest.raises(InvalidRequest, match=f"logit_bias: {VOCAB} is no token of this model"):
        run({"prompt": "a", "sampling": bias})


def test_the_default_of_the_settings_bounds_an_answer() -> None:
    async def scenario() -> list[TokenEvent]:
        async with provider() as running:
            running._models["mini"]._settings = ModelConfig(max_tokens=5)
            return await collect(running, replace(ask(), max_tokens=None))

    last = asyncio.run(scenario())[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


def test_tokens_are_shown_and_read_back() -> None:
    async def scenario() -> None:
        async with provider() as running:
            asked = TokenizeRequest(model="mini", prompt=TEXT, spellings=True)
            found = await running.tokenize(asked)
            assert list(found.token_ids) == MODEL.tokenizer.encode_prompt(TEXT)
            assert found.context_tokens == running.models[0].context_tokens
            assert found.spellings is not None
            assert len(found.spellings) == len(found.token_ids)
            assert all(found.spellings)
            bare = await running.tokenize(replace(asked, add_special_tokens=False))
            assert list(bare.token_ids) == MODEL.tokenizer.encode_text(TEXT)
            assert await running.detokenize("mini", bare.token_ids) == TEXT
            messages = ask().messages
            chat = await running.tokenize(TokenizeRequest(model="mini", messages=messages))
            assert list(chat.token_ids) == MODEL.chat_template.render_ids(messages)
            long = TokenizeRequest(model="mini", prompt="word " * 20_000)
            ids = (await running.tokenize(long)).token_ids
            assert await running.detokenize("mini", ids) == "word " * 20_000
            with pytest.raises(InvalidRequest, match="is no token"):
                await running.detokenize("mini", (VOCAB,))
            for unknown in ("", "Mini"):
                with pytest.raises(UnknownModel):
                    await running.detokenize(unknown, (1,))

    asyncio.run(scenario())


@pytest.mark.guards("D57")
def test_long_texts_are_tokenized_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    plain = Tokenizer.encode_prompt

    def recorded(self: Tokenizer, text: str) -> list[int]:
        threads.append(threading.current_thread())
        return plain(self, text)

    monkeypatch.setattr(Tokenizer, "encode_prompt", recorded)

    async def scenario() -> None:
        async with provider() as running:
            for text in ("short", "long " * 20_000):
                await running.tokenize(TokenizeRequest(model="mini", prompt=text))
                with suppress(ContextTooLong):
                    await collect(running, ask(messages=(), prompt=text))

    asyncio.run(scenario())
    assert [thread is threading.main_thread() for thread in threads] == [True, True, False, False]


@pytest.mark.guards("D57")
@pytest.mark.parametrize("place", ["content", "reasoning", "arguments"])
def test_long_messages_are_rendered_off_the_event_loop(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    plain = ChatTemplate.render_ids

    def recorded(self: ChatTemplate, *arguments: Any, **options: Any) -> list[int]:
        threads.append(threading.current_thread())
        return plain(self, *arguments, **options)

    long = "long " * 20_000
    said = Message(role=Role.ASSISTANT, content="")
    if place == "arguments":
        said = replace(said, tool_calls=(ToolCall(id="1", name="f", arguments=long),))
    else:
        said = replace(said, **{place: long})

    async def scenario() -> None:
        async with provider() as running:
            monkeypatch.setattr(ChatTemplate, "render_ids", recorded)
            with suppress(ContextTooLong, InvalidRequest):
                await collect(running, replace(ask(), messages=(*ask().messages, said)))

    asyncio.run(scenario())
    assert threads
    assert threading.main_thread() not in threads


def test_cleared_thoughts_are_those_before_the_last_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rendered: list[list[str]] = []
    plain = ChatTemplate.render_ids

    def recorded(self: ChatTemplate, messages: Sequence[Message], **options: Any) -> list[int]:
        rendered.append([message.reasoning for message in messages])
        return plain(self, messages, **options)

    def thought(what: str) -> Message:
        return Message(role=Role.ASSISTANT, content="so", reasoning=what)

    asked = Message(role=Role.USER, content="and?")
    messages = (asked, thought("long ago"), asked, thought("just now"))
    requests = [
        replace(ask(messages=messages), reasoning=Reasoning(keeps_history=keeps))
        for keeps in (True, False)
    ]

    async def scenario() -> None:
        async with provider() as running:
            monkeypatch.setattr(ChatTemplate, "render_ids", recorded)
            for request in requests:
                await collect(running, request)

    asyncio.run(scenario())
    assert rendered == [["", "long ago", "", "just now"], ["", "", "", "just now"]]
