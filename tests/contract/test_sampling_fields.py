"""Choices, log-probabilities, penalties and biases of a real model, through the official client."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

from headrace.model import bundled_model, open_model
from tests.contract.test_engine_death import server

MODEL = open_model(bundled_model())
ASKED: dict[str, Any] = {
    "model": MODEL.name,
    "messages": [{"role": "user", "content": "Name three rivers, and say 水 once."}],
    "seed": 11,
}
Entries = list[ChatCompletionTokenLogprob]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with (
        server(tmp_path_factory.mktemp("home"), "cpu") as (url, _),
        openai.OpenAI(
            base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
        ) as client,
    ):
        yield client


def whole(api: openai.OpenAI, **fields: Any) -> ChatCompletion:
    return api.chat.completions.create(**{**ASKED, **fields})


def streamed(api: openai.OpenAI, count: int, **fields: Any) -> tuple[list[str], list[Entries], int]:
    texts, entries, tokens = [""] * count, [list[Any]() for _ in range(count)], 0
    for chunk in api.chat.completions.create(**{**ASKED, **fields}, n=count, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.logprobs is not None:
                entries[choice.index] += choice.logprobs.content or []
        if chunk.usage is not None:
            assert tokens == 0, "usage came twice"
            tokens = chunk.usage.completion_tokens
    return texts, entries, tokens


def entries_of(answer: ChatCompletion, choice: int = 0) -> Entries:
    said = answer.choices[choice].logprobs
    assert said is not None
    assert said.content is not None
    return said.content


def test_a_stream_and_a_whole_answer_say_the_same_of_each_choice(api: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "temperature": 1.3,
        "max_tokens": 40,
        "logprobs": True,
        "top_logprobs": 3,
        "stop": ["\n"],
        "presence_penalty": 0.4,
    }
    answer = whole(api, n=3, **fields)
    texts, entries, tokens = streamed(api, 3, **fields)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == texts
    assert [entries_of(answer, choice) for choice in range(3)] == entries
    assert len(set(texts)) == 3
    assert answer.usage is not None
    assert answer.usage.completion_tokens == tokens
    for text, said in zip(texts, entries, strict=True):
        data = b"".join(bytes(entry.bytes or []) for entry in said)
        assert data.startswith(text.removesuffix("\N{REPLACEMENT CHARACTER}").encode())
        assert all(len(entry.top_logprobs) == 3 for entry in said)
        assert all(entry.logprob <= 0 for entry in said)
    alone = whole(api, **fields)
    assert alone.choices[0].message.content == texts[0]
    assert entries_of(alone) == entries[0]
    assert alone.usage is not None
    assert alone.usage.prompt_tokens == answer.usage.prompt_tokens


def test_greedy_tokens_are_the_likeliest(api: openai.OpenAI) -> None:
    answer = whole(api, temperature=0, max_tokens=30, logprobs=True, top_logprobs=1)
    for entry in entries_of(answer):
        (best,) = entry.top_logprobs
        assert (best.token, best.logprob, best.bytes) == (entry.token, entry.logprob, entry.bytes)


def test_a_bias_forces_and_forbids(api: openai.OpenAI) -> None:
    (letter,) = MODEL.tokenizer.encode_text("x")
    forced = whole(api, temperature=0, max_tokens=5, logit_bias={str(letter): 100})
    assert forced.choices[0].message.content == MODEL.tokenizer.token_bytes(letter).decode() * 5
    free = whole(api, temperature=0, max_tokens=1, logprobs=True, top_logprobs=2)
    first = bytes(entries_of(free)[0].bytes or [])
    banned = [i for i in range(MODEL.program.vocab_size) if MODEL.tokenizer.token_bytes(i) == first]
    assert 0 < len(banned) < 300
    bias = {str(token_id): -100 for token_id in banned}
    other = whole(api, temperature=0, max_tokens=1, logprobs=True, top_logprobs=2, logit_bias=bias)
    (entry,) = entries_of(other)
    assert entry.token == entries_of(free)[0].top_logprobs[1].token, "the second likeliest"
    assert entry.top_logprobs == entries_of(free)[0].top_logprobs, "the model's own, unbiased"
    with pytest.raises(openai.BadRequestError, match="is no token of this model") as refused:
        whole(api, logit_bias={str(MODEL.program.vocab_size): 1})
    assert refused.value.param == "logit_bias"


def test_a_penalty_leaves_fewer_repetitions(api: openai.OpenAI) -> None:
    def distinct(**fields: Any) -> int:
        fields |= {"temperature": 0, "max_tokens": 80, "logprobs": True}
        answer = whole(api, **fields, extra_body={"min_tokens": 80})
        assert len(entries_of(answer)) == 80
        return len({tuple(entry.bytes or []) for entry in entries_of(answer)})

    plain = distinct()
    assert distinct(frequency_penalty=2) > plain
    assert distinct(frequency_penalty=-2) < plain


def test_an_answer_is_as_long_as_was_asked(api: openai.OpenAI) -> None:
    for least in (5, 60):
        answer = whole(
            api, temperature=0, extra_body={"min_completion_tokens": least}, max_tokens=90
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens >= least
    endless = whole(api, temperature=0, extra_body={"min_tokens": -1}, max_tokens=90)
    assert endless.choices[0].finish_reason == "length"
