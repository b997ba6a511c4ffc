"""Rows of docs/security.md on parameters, on every route that takes them, whole or streamed.

Each is refused with a 400 that names the field, and reaches no provider.
"""

import base64
import socket
from typing import Any, NoReturn

import pytest

from tests.api.exchange import Exchange, app_of, call
from tests.scripted import CARD, ScriptedProvider

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TOKENIZE, DETOKENIZE = "/v1/tokenize", "/v1/detokenize"
HELLO = [{"role": "user", "content": "hi"}]
PLAIN: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    TEXT: {"prompt": "hi"},
    TOKENIZE: {"prompt": "hi"},
    DETOKENIZE: {"tokens": [1]},
}
IMAGE = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + bytes(3_000)).decode()


def parts(*given: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(given)}]}


def schema(inner: dict[str, Any]) -> dict[str, Any]:
    named = {"name": "x", "schema": {"type": "object", "properties": {"a": inner}}}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def tool(inner: dict[str, Any]) -> dict[str, Any]:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": inner}}}
    return {"tools": [{"type": "function", "function": function}]}


GENERATION = (CHAT, TEXT)
EVERY = (CHAT, TEXT, TOKENIZE, DETOKENIZE)
FOREIGN = "http://192.0.2.1/x"

# Row, routes, fields, what the refusal begins with.
BAD: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("D40", GENERATION, {"n": 10**9}, "n: "),
    ("D40", GENERATION, {"n": 9}, "n: "),
    ("D40", (TEXT,), {"prompt": ["a"] * 65, "n": 2}, "prompt: "),
    ("D41", (TEXT,), {"best_of": 10**6}, "best_of: "),
    ("D42", GENERATION, {"max_tokens": 0}, "max_"),
    ("D42", GENERATION, {"max_tokens": -2}, "max_tokens: "),
    ("D43", (CHAT,), {"logprobs": True, "top_logprobs": 500}, "top_logprobs: "),
    ("D43", (TEXT,), {"logprobs": 500}, "logprobs: "),
    ("D44", GENERATION, {"stop": ["a"] * 10_000}, "stop: "),
    ("D44", GENERATION, {"stop": [""]}, "stop.0: "),
    ("D44", GENERATION, {"stop": ["a" * 257]}, "stop.0: "),
    ("D45", GENERATION, {"logit_bias": {"-1": 1}}, "logit_bias: "),
    ("D45", GENERATION, {"logit_bias": {"5": 101}}, "logit_bias.5: "),
    ("D45", GENERATION, {"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias: "),
    ("D45", (TEXT,), {"prompt": [1 << 40]}, "prompt: "),
    ("D45", (DETOKENIZE,), {"tokens": [1 << 40]}, "tokens: "),
    ("D46", (TEXT,), {"prompt": ["a"] * 99_000}, "prompt: has 99000 prompts"),
    ("D47", (TEXT,), {"prompt": [1, -1]}, "prompt: "),
    ("D47", (DETOKENIZE,), {"tokens": [-1]}, "tokens: "),
    ("D48", (TEXT, TOKENIZE), {"prompt": ""}, "prompt"),
    ("D48", (TEXT,), {"prompt": []}, "prompt: "),
    ("D48", (CHAT, TOKENIZE), {"prompt": ..., "messages": []}, "messages: "),
    ("D48", (DETOKENIZE,), {"tokens": []}, "tokens: "),
    ("D49", GENERATION, {"prompt_cache_key": "x" * 1_025}, "prompt_cache_key: "),
    ("D49", GENERATION, {"prompt_cache_key": "x" * 4_000_000}, "prompt_cache_key: "),
    ("D49", EVERY, {"cache_salt": "x"}, "cache_salt: "),
    ("D50", EVERY, {"surprise": 1}, "surprise: "),
    ("D50", EVERY, {"extra_body": {"n": 10**9}}, "extra_body: "),
    ("D51", EVERY, {"chat_template": "{{ 1 }}"}, "chat_template: "),
    ("D51", EVERY, {"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs: "),
    ("D51", (CHAT,), {"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs: "),
    ("D52", EVERY, {"prompt_embeds": "gASVAAAAAA=="}, "prompt_embeds: "),
    ("D52", EVERY, {"input_embeds": [[0.5]]}, "input_embeds: "),
    ("D52", EVERY, {"custom_logit_processor": "gASVAAAAAA=="}, "custom_logit_processor: "),
    ("D53", (CHAT,), parts({"type": "image_url", "image_url": {"url": FOREIGN}}), "messages.0"),
    ("D53", (CHAT,), parts({"type": "file", "file": {"file_id": FOREIGN}}), "messages.0"),
    ("D53", (CHAT,), parts({"type": "text", "text": "a", "url": FOREIGN}), "messages.0"),
    ("D55", (CHAT,), parts({"type": "image_url", "image_url": {"url": IMAGE}}), "messages.0"),
    ("D55", (CHAT,), parts({"type": "input_audio", "input_audio": {"data": IMAGE}}), "messages.0"),
    ("D55", (CHAT,), parts({"type": "video_url", "video_url": {"url": IMAGE}}), "messages.0"),
    ("D62", GENERATION, {"user": "u" * 513}, "user: "),
    ("D62", GENERATION, {"metadata": {str(i): "" for i in range(17)}}, "metadata: "),
    ("D62", GENERATION, {"metadata": {"k" * 65: ""}}, "metadata: "),
    ("D62", GENERATION, {"metadata": {"k": "v" * 513}}, "metadata: "),
    ("D62", (CHAT,), {"messages": [{**HELLO[0], "name": "n" * 65}]}, "messages.0"),
    ("D64", (CHAT,), schema({"type": "stsring"}), "response_format.json_schema.schema.prop"),
    ("D64", (CHAT,), schema({"type": 5}), "response_format.json_schema.schema.properties.a.type"),
    ("D65", (CHAT,), schema({"pattern": "*"}), "response_format.json_schema.schema.properties.a"),
    ("D65", (CHAT,), schema({"pattern": "a" * 10_001}), "response_format.json_schema.schema.pr"),
    ("D65", (CHAT,), schema({"anyOf": [{"pattern": "a" * 9_999}] * 11}), "response_format.json"),
    ("D65", (CHAT,), {"response_format": {"type": "regex", "regex": "*"}}, "response_format.regex"),
    ("D66", (CHAT,), tool({"type": "stsring"}), "tools.0.function.parameters.properties.a.type"),
    ("D66", (CHAT,), tool({"pattern": "*"}), "tools.0.function.parameters.properties.a.pattern"),
    ("D69", (CHAT,), schema({"pattern": "(" * 101 + ")" * 101}), "response_format.json_schema"),
    ("D69", (CHAT,), tool({"pattern": "(" * 4_000 + ")" * 4_000}), "tools.0.function.parameters"),
    (
        "D69",
        (CHAT,),
        {"response_format": {"type": "regex", "regex": "(" * 30_000 + ")" * 30_000}},
        "response_format.regex",
    ),
    ("D73", (CHAT,), schema({"$ref": FOREIGN}), "response_format.json_schema.schema.properties.a"),
    ("D73", (CHAT,), tool({"$ref": "file:///etc/passwd"}), "tools.0.function.parameters.proper"),
]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks a name up, or connects, fails the test."""

    def fail(*_: object, **__: object) -> NoReturn:
        pytest.fail("the server reached for another machine")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)


def send(path: str, fields: dict[str, Any]) -> tuple[Exchange, ScriptedProvider]:
    provider = ScriptedProvider("x")
    body = {"model": CARD.id, **PLAIN[path], **fields}
    app = app_of(provider, max_body_bytes=8 << 20)
    return call(app, "POST", path, {k: v for k, v in body.items() if v is not ...}), provider


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        pytest.param(
            path,
            {**fields, **more},
            said,
            marks=pytest.mark.guards(row),
            id=f"{row}-{number}-{path}-{'stream' if more else 'whole'}",
        )
        for number, (row, paths, fields, said) in enumerate(BAD)
        for path in paths
        for more in (({}, {"stream": True}) if path in GENERATION else ({},))
    ],
)
@pytest.mark.usefixtures("no_network")
def test_it_is_refused_by_name_and_goes_no_further(
    path: str, fields: dict[str, Any], said: str
) -> None:
    got, provider = send(path, fields)
    assert got.status == 400, got.body[:300]
    assert got.json["error"]["message"].startswith(said)
    assert len(got.body) < 4_000
    assert provider.requests == []


@pytest.mark.guards("D54")
@pytest.mark.usefixtures("no_network")
def test_markdown_in_a_text_is_text() -> None:
    text = f"![x]({FOREIGN}.png) <img src='{FOREIGN}'>"
    got, provider = send(CHAT, {"messages": [{"role": "user", "content": text}]})
    assert got.status == 200
    assert provider.requests[0].messages[0].content == text


@pytest.mark.guards("D50")
def test_what_is_ignored_is_named_and_not_handed_on() -> None:
    hints = {"store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k" * 64}
    plain, plain_provider = send(CHAT, {})
    got, provider = send(CHAT, hints)
    assert plain.status == got.status == 200
    assert set(got.headers["x-ignored-params"].replace(" ", "").split(",")) == set(hints)
    (asked,), (plainly,) = provider.requests, plain_provider.requests
    assert [getattr(asked, name) for name in asked.__slots__ if name != "id"] == [
        getattr(plainly, name) for name in plainly.__slots__ if name != "id"
    ]


@pytest.mark.guards("D42")
@pytest.mark.parametrize("path", GENERATION)
def test_a_huge_bound_is_taken_and_left_to_the_context(path: str) -> None:
    got, provider = send(path, {"max_tokens": 10**12})
    assert got.status == 200
    assert provider.requests[0].max_tokens == 10**12


def test_thousands_of_unanswered_calls_are_named_in_few_words() -> None:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": f"{i}", "type": "function", "function": function} for i in range(5_000)]
    got, _ = send(CHAT, {"messages": [{"role": "assistant", "tool_calls": calls}, *HELLO]})
    assert got.status == 400
    assert "and 4980 more" in got.json["error"]["message"]
    assert len(got.body) < 4_000
