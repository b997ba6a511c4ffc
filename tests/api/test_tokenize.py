"""POST /v1/tokenize and /v1/detokenize."""

from typing import Any

import pytest

from headrace.accounts import AccountService
from tests.api.exchange import app_of, call
from tests.scripted import CARD, ScriptedProvider


def tokenize(**fields: Any) -> Any:
    return call(app_of(ScriptedProvider()), "POST", "/v1/tokenize", {"model": CARD.id} | fields)


def detokenize(**fields: Any) -> Any:
    return call(app_of(ScriptedProvider()), "POST", "/v1/detokenize", {"model": CARD.id} | fields)


def test_a_text_becomes_tokens_and_tokens_text():
    got = tokenize(prompt="hi")
    assert got.json == {
        "count": 2,
        "max_model_len": CARD.context_tokens,
        "tokens": [104, 105],
        "token_strs": None,
    }
    assert detokenize(tokens=got.json["tokens"]).json == {"prompt": "hi"}


def test_messages_become_the_prompt_they_would_be():
    messages = [{"role": "user", "content": [{"type": "text", "text": "h"}]}]
    assert tokenize(messages=messages).json["tokens"] == [104]


def test_the_tokens_words_are_given_when_asked_for():
    assert tokenize(prompt="hi", return_token_strs=True).json["token_strs"] == ["h", "i"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "prompt: send either prompt or messages"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt: send either"),
        ({"prompt": ""}, "prompt: String should have at least 1 character"),
        ({"prompt": [1]}, "prompt: must be a valid string"),
        ({"messages": []}, "messages: must not be empty"),
        ({"prompt": "a", "add_special_tokens": 1}, "add_special_tokens: must be a valid boolean"),
        ({"prompt": "a", "surprise": 1}, "property 'surprise' is unsupported"),
    ],
)
def test_a_bad_field_of_tokenize_is_named(fields: dict[str, Any], said: str):
    got = tokenize(**fields)
    assert got.status == 400
    assert said in got.json["message"]


@pytest.mark.parametrize("tokens", [[], [-1], [1 << 40], ["a"], "1", None, [None], [True]])
def test_what_is_no_token_is_refused(tokens: Any):
    got = detokenize(tokens=tokens)
    assert got.status == 400
    assert "tokens: " in got.json["message"]


@pytest.mark.parametrize("path", ["/v1/tokenize", "/v1/detokenize"])
def test_they_need_a_key_a_model_and_a_body(path: str, accounts: AccountService):
    app = app_of(ScriptedProvider())
    assert call(app, "POST", path, {"model": "gpt-99"}).status == 404
    assert call(app, "POST", path, b"{").status == 400
    assert call(app_of(ScriptedProvider(), accounts), "POST", path, {}).status == 401
