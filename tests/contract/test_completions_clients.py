"""The official Python clients of two vendors on a real model: completions, aliases, lists."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cerebras.cloud.sdk as cerebras
import httpx
import msgspec
import openai
import pytest

from headrace.model import bundled_model, open_model

MODEL = open_model(bundled_model())
NAME = "org/mini"
PROMPT = "What is a headrace?"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that serves what its settings name."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "headrace.toml"
    settings.write_text(
        f"""
        [models."{NAME}"]
        path = "{bundled_model()}"
        aliases = ["gpt-4o-mini"]
        temperature = 0
        max_tokens = 24
        [models.second]
        path = "{bundled_model()}"
        max_tokens = 8
        """
    )
    command = [sys.executable, "-m", "headrace", "serve", "--no-auth", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--config", str(settings)],
        env={**os.environ, "HEADRACE_HOME": str(home)},  # noqa: TID251 (what a child inherits)
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture(scope="module")
def vendor(url: str) -> Iterator[cerebras.Cerebras]:
    with cerebras.Cerebras(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def test_both_clients_complete_whole_and_streamed(
    api: openai.OpenAI, vendor: cerebras.Cerebras
) -> None:
    whole = api.completions.create(model=NAME, prompt=PROMPT)
    text = whole.choices[0].text
    assert text
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 24
    # OpenAI's own chunks break its type, which has no null as a finish reason.
    lenient = api.copy(_extra_kwargs={"_strict_response_validation": False})
    chunks = list(lenient.completions.create(model=NAME, prompt=PROMPT, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    theirs: Any = vendor.completions.create(model=NAME, prompt=PROMPT)
    assert theirs.choices[0].text == text
    assert theirs.time_info.total_time > 0
    stream: Any = vendor.completions.create(model=NAME, prompt=PROMPT, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == text


def test_ids_texts_and_several_prompts_agree(api: openai.OpenAI, url: str) -> None:
    said = httpx.post(f"{url}/v1/tokenize", json={"model": NAME, "prompt": PROMPT}).json()
    assert said["count"] == len(said["tokens"])
    text = api.completions.create(model=NAME, prompt=PROMPT).choices[0].text
    ids = api.completions.create(model=NAME, prompt=said["tokens"]).choices[0].text
    assert ids == text
    pair = api.completions.create(model=NAME, prompt=[PROMPT, "Name three rivers."], n=2, seed=3)
    assert [choice.index for choice in pair.choices] == [0, 1, 2, 3]
    assert pair.choices[0].text == text
    back = httpx.post(f"{url}/v1/detokenize", json={"model": NAME, "tokens": said["tokens"]})
    assert back.json() == {"prompt": PROMPT}


def test_echo_log_probabilities_and_raw_tokens(api: openai.OpenAI, vendor: Any) -> None:
    plain = api.completions.create(model=NAME, prompt=PROMPT, logprobs=3)
    echoed = api.completions.create(model=NAME, prompt=PROMPT, echo=True)
    text = plain.choices[0].text
    assert echoed.choices[0].text == PROMPT + text
    said = plain.choices[0].logprobs
    assert said is not None
    assert said.tokens is not None
    assert said.text_offset is not None
    assert said.top_logprobs is not None
    assert said.token_logprobs is not None
    for token, start, top, own in zip(
        said.tokens, said.text_offset, said.top_logprobs, said.token_logprobs, strict=True
    ):
        assert token.startswith("bytes:") or text[start:].startswith(token)
        assert max(top, key=lambda each: top[each]) == token, "greedy"
        assert top[token] == own
        assert 3 <= len(top) <= 4
    raw = vendor.completions.create(model=NAME, prompt=PROMPT, return_raw_tokens=True)
    assert len(raw.choices[0].tokens) == raw.usage.completion_tokens
    best = api.completions.create(model=NAME, prompt=PROMPT, best_of=3, temperature=1.2, seed=5)
    assert len(best.choices) == 1
    with pytest.raises(openai.BadRequestError, match="suffix"):
        api.completions.create(model=NAME, prompt=PROMPT, suffix="end")
    with pytest.raises(openai.BadRequestError, match="is no token of this model"):
        api.completions.create(model=NAME, prompt=[MODEL.program.vocab_size])


def test_a_prompt_is_scored(api: openai.OpenAI, vendor: Any) -> None:
    """As evaluation harnesses do: how likely each token was, and whether it was likeliest."""
    lenient = api.copy(_extra_kwargs={"_strict_response_validation": False})  # its type has no null
    ids = MODEL.tokenizer.encode_prompt(PROMPT)
    answer = api.completions.create(model=NAME, prompt=PROMPT)
    for client in (lenient, vendor):
        asked: dict[str, Any] = {"model": NAME, "prompt": [ids], "echo": True, "logprobs": 1}
        for most in (0, 1):
            scored = client.completions.create(**asked, max_tokens=most)
            (choice,) = scored.choices
            said = choice.logprobs
            assert len(said.tokens) == len(ids) + most
            assert said.token_logprobs[0] is None
            assert said.top_logprobs[0] is None
            assert all(value < 0 for value in said.token_logprobs[1:])
            assert (choice.finish_reason, scored.usage.completion_tokens) == ("length", most)
        whole = PROMPT + answer.choices[0].text
        asked["prompt"] = whole
        scored = client.completions.create(**asked, max_tokens=0)
        assert scored.choices[0].text == whole
        said = scored.choices[0].logprobs
        own = list(zip(said.token_logprobs, said.top_logprobs, strict=True))[len(ids) :]
        assert all(value == max(top.values()) for value, top in own), "what it said greedily"
        chunks = list(client.completions.create(**asked, max_tokens=0, stream=True))
        texts = [choice.text for chunk in chunks for choice in chunk.choices]
        assert "".join(texts) == whole
        streamed = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]
        assert [v for part in streamed for v in part.token_logprobs or ()] == said.token_logprobs


def test_models_aliases_and_defaults_come_from_the_settings(
    api: openai.OpenAI, vendor: cerebras.Cerebras
) -> None:
    listed = api.models.list().data
    assert [model.id for model in listed] == [NAME, "gpt-4o-mini", "second"]
    assert [model.id for model in vendor.models.list().data] == [model.id for model in listed]
    for model in listed:
        assert api.models.retrieve(model.id) == model
    assert (listed[1].model_extra or {})["root"] == NAME
    asked: Any = {"messages": [{"role": "user", "content": PROMPT}]}
    answer = api.chat.completions.create(model="gpt-4o-mini", **asked)
    assert answer.model == "gpt-4o-mini"
    same = api.chat.completions.create(model=NAME, **asked)
    assert same.choices[0].message.content == answer.choices[0].message.content, "temperature 0"
    second = api.completions.create(model="second", prompt=PROMPT, extra_body={"ignore_eos": True})
    assert second.usage is not None
    assert second.usage.completion_tokens == 8
    assert second.choices[0].finish_reason == "length"


def test_public_models_need_no_key_and_other_prefixes_work(url: str) -> None:
    public = httpx.get(f"{url}/public/v1/models").json()
    assert [model["id"] for model in public["data"]] == [NAME, "gpt-4o-mini", "second"]
    with openai.OpenAI(base_url=f"{url}/openai/v1/", api_key="none", max_retries=0) as client:
        assert client.completions.create(model=NAME, prompt=PROMPT).choices[0].text
    with cerebras.Cerebras(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer: Any = client.completions.create(model=NAME, prompt=PROMPT)
        assert answer.choices[0].text


@pytest.mark.parametrize("is_gzip", [False, True])
@pytest.mark.parametrize("kind", ["application/json", "application/msgpack", "text/plain"])
def test_bodies_of_every_kind_say_the_same(url: str, kind: str, is_gzip: bool) -> None:
    body = {"model": NAME, "prompt": PROMPT, "max_tokens": 4}
    data = msgspec.msgpack.encode(body) if "msgpack" in kind else json.dumps(body).encode()
    headers = {"content-type": kind} | ({"content-encoding": "gzip"} if is_gzip else {})
    got = httpx.post(
        f"{url}/v1/completions", content=gzip.compress(data) if is_gzip else data, headers=headers
    )
    assert got.status_code == 200, got.text
    plain = httpx.post(f"{url}/v1/completions", json=body)
    assert got.json()["choices"] == plain.json()["choices"]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_raised_as_their_classes(
    api: openai.OpenAI, vendor: cerebras.Cerebras, stream: bool
) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        api.completions.create(model="gpt-99", prompt=PROMPT, stream=stream)
    with pytest.raises(cerebras.NotFoundError, match="does not exist"):
        vendor.completions.create(model="gpt-99", prompt=PROMPT, stream=stream)
    with pytest.raises(openai.BadRequestError, match="Current length is 100000 while limit is"):
        api.completions.create(model=NAME, prompt=[1] * 100_000, stream=stream)
    with pytest.raises(openai.BadRequestError) as bad:
        api.completions.create(model=NAME, prompt="", stream=stream)
    assert bad.value.param == "prompt"
