"""Bad requests: each is refused with a 4xx that says what to change, and reaches no provider."""

import asyncio
import json
from typing import Any

import pytest

from tests.api.exchange import Exchange, app_of, ask, call, chat
from tests.scripted import CARD, ScriptedProvider

COMPLETIONS = "/v1/chat/completions"


def user(content: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **fields}]


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages: "),
    ({"messages": ...}, "messages: this field is required"),
    ({"model": ...}, "model: this field is required"),
    ({"model": 5}, "model: must be a valid string"),
    ({"model": ""}, "model: "),
    ({"messages": "hi"}, "messages: must be a valid list"),
    ({"messages": ["hi"]}, "messages.0"),
    ({"messages": [{"content": "hi"}]}, "messages.0.role: must be one of system"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role: must be one of system"),
    ({"messages": [{"role": 5, "content": "hi"}]}, "messages.0.role: must be one of system"),
    ({"messages": user(None)}, "messages.0.user.content: this field is required"),
    ({"messages": user(5)}, "messages.0.user.content: must be a string or an array of text parts"),
    ({"messages": user([{"type": "image_url", "image_url": {"url": "x"}}])}, "part 0 must be a te"),
    ({"messages": user([{"type": "text", "text": "a", "x": 1}])}, "part 0 has properties other"),
    ({"messages": user(["a"])}, "part 0 must be a text part"),
    ({"messages": user("a", x=1)}, "messages.0.user.x: property 'messages.0.user.x' is unsupport"),
    ({"messages": user("a", name="n" * 65)}, "messages.0.user.name: "),
    ({"messages": [{"role": "assistant", "content": None}]}, "messages.0.assistant: needs content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool.tool_call_id: this field"),
    ({"messages": [{"role": "function", "content": "x"}]}, "role 'function' is of old"),
    (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]},
        "messages.0.assistant.tool_calls.0.function: this field is required",
    ),
    ({"temperature": 2.1}, "temperature: must be less than or equal to 2"),
    ({"temperature": -0.1}, "temperature: must be greater than or equal to 0"),
    ({"temperature": True}, "temperature: must be a valid number"),
    ({"temperature": "1"}, "temperature: must be a valid number"),
    ({"top_p": 1.5}, "top_p: "),
    ({"top_k": 1.5}, "top_k: must be a valid integer"),
    ({"top_k": True}, "top_k: must be a valid integer"),
    ({"top_k": 10**30}, "top_k: "),
    ({"min_p": -1}, "min_p: "),
    ({"seed": 1 << 63}, "seed: "),
    ({"seed": -(1 << 63) - 1}, "seed: "),
    ({"seed": "1"}, "seed: must be a valid integer"),
    ({"max_tokens": 0}, "must be at least 1, or -1 for no bound"),
    ({"max_completion_tokens": 0}, "max_completion_tokens: must be at least 1"),
    ({"max_tokens": -2}, "max_tokens: must be greater than or equal to -1"),
    ({"max_tokens": 1.5}, "max_tokens: "),
    ({"max_tokens": 4, "max_completion_tokens": 5}, "differs from max_completion_tokens"),
    ({"stop": ""}, "stop.0: "),
    ({"stop": ["a"] * 5}, "stop: "),
    ({"stop": ["a"] * 10_000}, "stop: "),
    ({"stop": "x" * 257}, "stop.0: "),
    ({"stop": 5}, "stop: "),
    ({"stop": [None]}, "stop.0: "),
    ({"stream": "yes"}, "stream: must be a valid boolean"),
    ({"stream": True, "stream_options": {"x": 1}}, "property 'stream_options.x' is unsupported"),
    ({"stream": True, "stream_options": True}, "stream_options: "),
    ({"n": 9}, "n: must be less than or equal to 8"),
    ({"n": 10**9}, "n: must be less than or equal to 8"),
    ({"n": 0}, "n: must be greater than or equal to 1"),
    ({"n": "2"}, "n: must be a valid integer"),
    ({"user": "u" * 513}, "user: "),
    ({"user": 5}, "user: must be a valid string"),
    ({"surprise": 1}, "surprise: property 'surprise' is unsupported"),
    ({"enable_thinking": True}, "property 'enable_thinking' is unsupported"),
    ({"chat_template": "{{x}}"}, "property 'chat_template' is unsupported"),
    ({"tools": [{"type": "function"}]}, "tools.0.function: this field is required"),
    ({"tools": {}}, "tools: must be a valid list"),
    ({"tool_choice": "required"}, "tool_choice: 'required' needs tools"),
    ({"tool_choice": "any"}, "tool_choice"),
    ({"response_format": {"type": "json_object", "schema": {}}}, "schema' is unsupported"),
    ({"response_format": "json"}, "response_format"),
    ({"logprobs": 0}, "logprobs: must be a valid boolean"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs: must be less than or equal to 20"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs: must be greater than or equal to 0"),
    ({"top_logprobs": 5}, "top_logprobs: needs logprobs to be true"),
    ({"logprobs": False, "top_logprobs": 5}, "top_logprobs: needs logprobs to be true"),
    ({"frequency_penalty": 2.1}, "frequency_penalty: must be less than or equal to 2"),
    ({"frequency_penalty": True}, "frequency_penalty: must be a valid number"),
    ({"presence_penalty": -3}, "presence_penalty: must be greater than or equal to -2"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5: must be less than or equal to 100"),
    ({"logit_bias": {"5": "1"}}, "logit_bias.5: must be a valid number"),
    ({"logit_bias": {"5": None}}, "logit_bias.5: must be a valid number"),
    ({"logit_bias": {"five": 1}}, "logit_bias: 'five' is no token id"),
    ({"logit_bias": {"-1": 1}}, "logit_bias: '-1' is no token id"),
    ({"logit_bias": {"05": 1}}, "logit_bias: '05' is no token id"),
    ({"logit_bias": {"٥": 1}}, "logit_bias: '٥' is no token id"),
    ({"logit_bias": {"9" * 4_000: 1}}, "logit_bias: '999"),
    ({"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias: has 301 entries, at most 300"),
    ({"logit_bias": [1]}, "logit_bias: must be a valid dictionary"),
    ({"prediction": {"type": "text", "content": "x"}}, "prediction: this value is not supported"),
    ({"reasoning_effort": "most"}, "reasoning_effort: must be 'none', "),
    ({"reasoning_format": "xml"}, "reasoning_format: must be 'none', "),
    ({"min_tokens": -2}, "min_tokens: must be greater than or equal to -1"),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens: must not be greater than max_completion"),
    ({"min_completion_tokens": 5, "max_tokens": 4}, "min_tokens: must not be greater than max"),
    ({"min_tokens": 5, "min_completion_tokens": 4}, "min_tokens: differs from min_completion_tok"),
    ({"functions": [{}]}, "functions: "),
    ({"modalities": ["text", "audio"]}, "modalities: this value is not supported"),
    ({"metadata": {"a": 1}}, "metadata: this value is not supported"),
    ({"repetition_penalty": 1.1}, "repetition_penalty: this value is not supported"),
    ({"service_tier": "fast"}, "service_tier: must be 'auto', 'default', 'flex', 'priority', "),
    ({"service_tier": 1}, "service_tier: "),
    ({"prompt_cache_key": "x" * 1025}, "prompt_cache_key: "),
    ({"chat_template_kwargs": {"x": 1}}, "chat_template_kwargs: "),
]


@pytest.mark.parametrize(("fields", "said"), BAD_FIELDS, ids=lambda v: str(v)[:40])
def test_a_bad_field_is_a_400_that_names_it(fields: dict[str, Any], said: str):
    provider = ScriptedProvider("x")
    got = chat(app_of(provider), **fields)
    assert got.status == 400
    assert said in got.json["message"]
    assert got.json["code"] == "wrong_api_format"
    assert provider.requests == []


def test_several_offences_have_a_line_each():
    got = chat(app_of(ScriptedProvider()), temperature=9, surprise=1, tools=[1], max_tokens=0)
    lines = got.json["message"].split("\n")
    assert len(lines) == 3  # rules across fields wait until each field is right
    assert {line.partition(":")[0] for line in lines} == {"temperature", "surprise", "tools.0"}
    assert got.json["param"] == "validation_error"


def test_one_offence_is_named_in_param():
    assert chat(app_of(ScriptedProvider()), temperature=9).json["param"] == "temperature"


def test_a_flood_of_offences_is_cut_short():
    got = chat(app_of(ScriptedProvider()), **{f"x{n}": 1 for n in range(5_000)})
    lines = got.json["message"].split("\n")
    assert len(lines) == 21
    assert lines[-1] == "… and 4980 more"


def test_a_strange_field_name_is_shown_short_and_printable():
    got = chat(app_of(ScriptedProvider()), **{"\x1b[31m" + "y" * 5_000: 1})
    assert len(got.body) < 2_000
    assert "\x1b" not in got.json["message"]


@pytest.mark.guards("D05")
@pytest.mark.guards("D06")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"{", "not valid JSON"),
        (b'{"model": "x",}', "not valid JSON"),
        (b"{'model': 1}", "not valid JSON"),
        (b'{"temperature": NaN}', "not valid JSON"),
        (b'{"temperature": Infinity}', "not valid JSON"),
        (b'{"temperature": -Infinity}', "not valid JSON"),
        (b'{"temperature": 1e999}', "out of range"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a": 1} {}', "not valid JSON"),
        (b'{"a": ' + b"[" * 90_000, "deeper than 64"),
        (b"[" * 100_001, "more than 100000 values"),
        (b'{"a": ' * 40_000, "deeper than 64"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b'{"a": [' + b"[]," * 500_000 + b"[]]}", "more than 100000 values"),
        (b'{"a": [' + b'"",' * 500_000 + b'""]}', "more than 100000 values"),
        (b'{"a": [' + b"1," * 500_000 + b"1]}", "more than 100000 values"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_what_is_not_json_is_refused(body: bytes, said: str):
    got = call(
        app_of(ScriptedProvider()), "POST", COMPLETIONS, body, content_type="application/json"
    )
    assert got.status == 400
    assert got.json["code"] == "invalid_json"
    assert said in got.json["message"]


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null"])
def test_json_that_is_no_object_is_refused(body: bytes):
    got = call(app_of(ScriptedProvider()), "POST", COMPLETIONS, body)
    assert got.status == 400
    assert "must be a JSON object" in got.json["message"]


def test_brackets_and_commas_inside_strings_are_only_text():
    provider = ScriptedProvider("x")
    text = '[{"\\' * 30_000 + "," * 300_000
    got = chat(app_of(provider), messages=user(text))
    assert got.status == 200, got.json
    assert provider.requests[0].messages[0].content == text


@pytest.mark.guards("D05")
def test_64_levels_are_not_too_deep():
    deep: Any = {}
    for _ in range(62):
        deep = [deep]
    assert "is unsupported" in chat(app_of(ScriptedProvider()), x=deep).json["message"]
    assert "deeper than 64" in chat(app_of(ScriptedProvider()), x=[deep]).json["message"]


def test_an_unknown_model_is_a_404_before_the_fields_are_looked_at():
    got = chat(app_of(ScriptedProvider()), model="gpt-99", temperature=9)
    assert got.status == 404
    assert got.json["code"] == "model_not_found"
    assert got.json["message"] == "Model gpt-99 does not exist or you do not have access to it."


@pytest.mark.guards("D08")
@pytest.mark.parametrize(
    "kind", ["text/html", "application/cbor", "multipart/form-data; boundary=x", "x" * 500]
)
def test_other_content_types_are_415(kind: str):
    got = call(app_of(ScriptedProvider()), "POST", COMPLETIONS, ask(), content_type=kind)
    assert (got.status, got.json["code"]) == (415, "unsupported_media_type")


def test_a_charset_or_no_type_at_all_is_fine():
    app = app_of(ScriptedProvider("x"))
    kind = "application/json; charset=utf-8"
    assert call(app, "POST", COMPLETIONS, ask(), content_type=kind).status == 200
    bare = Exchange(app, "POST", COMPLETIONS, ask())
    bare._scope["headers"] = [h for h in bare._scope["headers"] if h[0] != b"content-type"]
    assert asyncio.run(bare.run()).status == 200


@pytest.mark.guards("D02")
def test_a_body_over_the_limit_is_refused_by_its_length_alone():
    exchange = Exchange(
        app_of(ScriptedProvider()), "POST", COMPLETIONS, headers={"content-length": "10000000000"}
    )
    exchange.incoming.get_nowait()  # nothing may be read

    assert asyncio.run(exchange.run()).status == 413
    assert exchange.json["code"] == "request_too_large"


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "²"])
def test_a_length_that_is_no_number_is_refused(length: str):
    got = call(app_of(ScriptedProvider()), "POST", COMPLETIONS, ask(), content_length=length)
    assert got.status == 400


@pytest.mark.guards("D03")
def test_an_endless_body_is_cut_at_the_limit():
    exchange = Exchange(app_of(ScriptedProvider(), max_body_bytes=2_000), "POST", COMPLETIONS)
    exchange.incoming.get_nowait()
    for _ in range(30):
        exchange.incoming.put_nowait(
            {"type": "http.request", "body": b"x" * 100, "more_body": True}
        )
    assert asyncio.run(exchange.run()).status == 413
    assert exchange.incoming.qsize() == 9


@pytest.mark.guards("D04")
def test_a_body_that_does_not_come_is_a_408():
    exchange = Exchange(app_of(ScriptedProvider(), body_timeout_s=0.01), "POST", COMPLETIONS)
    exchange.incoming.get_nowait()
    assert asyncio.run(exchange.run()).status == 408
    assert exchange.json["type"] == "timeout_error"


def test_a_client_that_leaves_while_sending_gets_no_answer():
    exchange = Exchange(app_of(ScriptedProvider()), "POST", COMPLETIONS)
    exchange.incoming.get_nowait()
    exchange.hang_up()
    assert asyncio.run(exchange.run()).messages == []


def test_a_body_in_pieces_is_one_body():
    exchange = Exchange(app_of(ScriptedProvider("x")), "POST", COMPLETIONS)
    exchange.incoming.get_nowait()
    raw = json.dumps(ask()).encode()
    for n in range(len(raw)):
        more = n + 1 < len(raw)
        exchange.incoming.put_nowait(
            {"type": "http.request", "body": raw[n : n + 1], "more_body": more}
        )
    assert asyncio.run(exchange.run()).status == 200


@pytest.mark.parametrize("payload", ["' OR 1=1 --", '"; DROP TABLE api_keys; --', "\\", "%27"])
def test_quotes_in_every_field_are_only_text(payload: str):
    provider = ScriptedProvider("x")
    got = chat(app_of(provider), messages=user(payload), user=payload, stop=payload)
    assert got.status == 200
    assert provider.requests[0].model == CARD.id
