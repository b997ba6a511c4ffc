"""POST /v1/chat/completions without `stream`."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.errors import BackendError, ContextTooLong, QueueFull
from headrace.types import FinishReason, ReasoningFormat, Role, TokenEvent, TokenLogprob
from tests.api.exchange import app_of, ask, call, chat
from tests.scripted import CARD, ScriptedProvider


def test_the_answer_has_the_usual_shape():
    got = chat(app_of(ScriptedProvider("Hello", " there")))
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    answer = got.json
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["created"] == 1_700_000_000
    assert answer["model"] == CARD.id
    assert answer["system_fingerprint"].startswith("fp_")
    assert len(answer["system_fingerprint"]) == 23
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello there", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert answer["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    times = answer["time_info"]
    assert times["queue_time"] + times["prompt_time"] + times["completion_time"] == pytest.approx(
        times["total_time"]
    )
    assert times["created"] == 1_700_000_000.0


def test_the_true_finish_reason_is_given():
    got = chat(app_of(ScriptedProvider("a", finish=FinishReason.LENGTH)))
    assert got.json["choices"][0]["finish_reason"] == "length"


def test_the_request_reaches_the_provider_as_it_was_meant():
    provider = ScriptedProvider("x")
    got = chat(
        app_of(provider),
        messages=[
            {"role": "system", "content": "one"},
            {"role": "developer", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": [{"type": "text", "text": a} for a in ("th", "ree")]},
            {"role": "assistant", "content": ""},
        ],
        temperature=0,
        top_p=0,
        top_k=-1,
        seed=-(1 << 63),
        max_tokens=3.0,
        stop="END",
        user="somebody",
    )
    assert got.status == 200, got.json
    (request,) = provider.requests
    assert [(m.role, m.content) for m in request.messages] == [
        (Role.SYSTEM, "one"),
        (Role.SYSTEM, "two"),
        (Role.USER, "three"),
        (Role.ASSISTANT, ""),
    ]
    assert request.id == got.json["id"]
    assert request.max_tokens == 3
    assert request.stop == ("END",)
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.0, 0, -(1 << 63))
    assert sampling.top_p is not None
    assert 0 < sampling.top_p < 1e-300


def test_what_the_caller_left_open_stays_open():
    provider = ScriptedProvider("x")
    chat(app_of(provider), max_completion_tokens=-1, temperature=None, stop=None)
    (request,) = provider.requests
    assert request.max_tokens is None
    assert request.stop == ()
    assert request.sampling.temperature is None
    assert request.sampling.top_k is None


def test_the_ways_to_move_the_draw_reach_the_provider():
    provider = ScriptedProvider("x")
    got = chat(
        app_of(provider),
        frequency_penalty=1,
        presence_penalty=-0.5,
        logit_bias={"7": -100, "0": 2.5},
        min_completion_tokens=3,
        logprobs=True,
        top_logprobs=2,
    )
    assert got.status == 200, got.json
    (request,) = provider.requests
    sampling = request.sampling
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (1.0, -0.5)
    assert sampling.logit_bias == ((7, -100.0), (0, 2.5))
    assert (request.min_tokens, request.logprobs) == (3, 2)


@pytest.mark.parametrize(
    ("fields", "min_tokens", "logprobs"),
    [
        ({}, 0, None),
        ({"min_tokens": -1, "max_tokens": 3}, None, None),
        ({"min_tokens": 3, "min_completion_tokens": 3, "max_tokens": 3}, 3, None),
        ({"logprobs": True}, 0, 0),
        ({"logprobs": False, "top_logprobs": 0}, 0, None),
        ({"logprobs": None, "top_logprobs": None, "logit_bias": None}, 0, None),
    ],
)
def test_least_tokens_and_log_probabilities_as_they_are_meant(
    fields: dict[str, object], min_tokens: int | None, logprobs: int | None
):
    provider = ScriptedProvider("x")
    got = chat(app_of(provider), **fields)
    assert got.status == 200, got.json
    (request,) = provider.requests
    assert (request.min_tokens, request.logprobs) == (min_tokens, logprobs)
    assert request.sampling.logit_bias == ()


HALF = TokenLogprob(token="\ufffd", data=b"\xf0\x9f", logprob=-0.5)
END = TokenLogprob(token="<end>", data=None, logprob=-1.5)
WAVE = TokenEvent(
    text="🌊",
    token_ids=(1, 2),
    logprobs=(replace(HALF, top=(HALF, END)), replace(HALF, data=b"\x8c\x8a", logprob=-0.25)),
)
WAVE_ON_THE_WIRE = [
    {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [0xF0, 0x9F],
        "top_logprobs": [
            {"token": "\ufffd", "logprob": -0.5, "bytes": [0xF0, 0x9F]},
            {"token": "<end>", "logprob": -1.5, "bytes": None},
        ],
    },
    {"token": "\ufffd", "logprob": -0.25, "bytes": [0x8C, 0x8A], "top_logprobs": []},
]


def test_log_probabilities_have_the_usual_shape():
    got = chat(app_of(ScriptedProvider(WAVE)), logprobs=True, top_logprobs=2)
    (choice,) = got.json["choices"]
    assert choice["logprobs"] == {"content": WAVE_ON_THE_WIRE, "refusal": None}
    nothing = chat(app_of(ScriptedProvider()), logprobs=True).json["choices"][0]
    assert nothing["logprobs"] == {"content": [], "refusal": None}


def test_chunks_carry_the_log_probabilities_of_their_tokens():
    silent = TokenEvent(text="", token_ids=(3,), logprobs=(END,))
    got = chat(app_of(ScriptedProvider(WAVE, silent)), logprobs=True, stream=True)
    choices = [event["choices"][0] for event in got.events]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "🌊"},
        {"content": ""},
        {},
    ]
    role, wave, end, finish = (choice["logprobs"] for choice in choices)
    assert role is finish is None
    assert wave == {"content": WAVE_ON_THE_WIRE, "refusal": None}
    assert [entry["token"] for entry in end["content"]] == ["<end>"]


def test_equal_bounds_are_one_bound():
    provider = ScriptedProvider("x")
    assert chat(app_of(provider), max_tokens=5, max_completion_tokens=5).status == 200
    assert provider.requests[0].max_tokens == 5


@pytest.mark.parametrize("path", ["/openai/v1", "/v1/v1", "/v1/", "//v1", "/v1//"])
def test_the_usual_base_urls_all_work(path: str):
    app = app_of(ScriptedProvider("x"))
    assert call(app, "POST", f"{path}/chat/completions", ask()).status == 200
    assert call(app, "POST", f"{path}/chat/completions/", ask()).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextTooLong(5_000, 4_096), 400, "context_length_exceeded"),
        (QueueFull("256 requests wait already"), 503, "queue_exceeded"),
        (BackendError("secret detail"), 500, "internal_error"),
        (ZeroDivisionError("secret detail"), 500, "internal_error"),
    ],
)
def test_errors_before_the_first_token_are_http_errors(
    stream: bool, error: Exception, status: int, code: str
):
    got = chat(app_of(ScriptedProvider(error)), stream=stream)
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert b"secret" not in got.body


def test_a_prompt_that_is_too_long_says_by_how_much_every_time():
    app = app_of(ScriptedProvider(ContextTooLong(5_000, 4_096)))
    for _ in range(10):
        message = chat(app).json["message"]
        assert "Current length is 5000 while limit is 4096" in message


def test_an_error_in_the_middle_of_a_whole_answer_is_an_http_error():
    got = chat(app_of(ScriptedProvider("a", BackendError("boom"))))
    assert got.status == 500
    assert got.headers["x-request-id"] in got.json["message"]


def test_a_full_queue_says_when_to_come_back():
    got = chat(app_of(ScriptedProvider(QueueFull("full"))))
    assert got.headers["retry-after"] == "1"


def test_a_draining_server_takes_no_new_work():
    provider = ScriptedProvider("x")
    app = app_of(provider)
    app.drain()
    got = chat(app)
    assert (got.status, got.json["code"]) == (503, "service_unavailable")
    assert provider.requests == []


def test_ignored_fields_are_named():
    got = chat(
        app_of(ScriptedProvider("x")),
        store=True,
        metadata={"a": "b"},
        messages=[{"role": "user", "content": "hi", "name": "bob"}],
    )
    assert got.status == 200
    assert got.headers["x-ignored-params"] == "store, metadata, messages.name"


def test_an_echoed_answer_is_a_good_question():
    """Clients send `model_dump()` of our message back, with all its nulls."""
    message = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning": None,
        "reasoning_content": "",
    }
    got = chat(
        app_of(ScriptedProvider("x")), messages=[message, {"role": "user", "content": "go on"}]
    )
    assert got.status == 200, got.json


def test_neutral_values_of_what_is_not_offered_are_accepted_in_silence():
    got = chat(
        app_of(ScriptedProvider("x")),
        n=1,
        tools=[],
        tool_choice="auto",
        parallel_tool_calls=True,
        response_format={"type": "text"},
        reasoning_effort="none",
    )
    assert got.status == 200, got.json
    assert "x-ignored-params" not in got.headers


def test_a_thoughts_log_probabilities_stand_beside_the_answers():
    def said(text: str) -> tuple[TokenLogprob, ...]:
        return (TokenLogprob(token=text, data=text.encode(), logprob=-0.5),)

    script = (
        TokenEvent(text="", token_ids=(1,), reasoning="Hm", reasoning_logprobs=said("Hm")),
        TokenEvent(text="", token_ids=(2,), reasoning_logprobs=said("</think>")),
        TokenEvent(text="Yes", token_ids=(3,), logprobs=said("Yes")),
    )
    asked: dict[str, Any] = {"logprobs": True}
    whole = chat(app_of(ScriptedProvider(*script)), **asked).json["choices"][0]
    streamed = chat(app_of(ScriptedProvider(*script)), **asked, stream=True)
    chunks = [choice for event in streamed.events for choice in event["choices"]]
    for name, tokens in (("reasoning_logprobs", ["Hm", "</think>"]), ("logprobs", ["Yes"])):
        assert [entry["token"] for entry in whole[name]["content"]] == tokens
        parts = [chunk[name]["content"] for chunk in chunks if chunk.get(name)]
        assert [entry["token"] for part in parts for entry in part] == tokens
    plain = chat(app_of(ScriptedProvider("Yes"))).json["choices"][0]
    assert "reasoning_logprobs" not in plain


def test_an_effort_means_nothing_to_a_model_that_does_not_think():
    thinker = replace(CARD, thinks=True)
    for card, strict, status in ((CARD, False, 200), (CARD, True, 400), (thinker, True, 200)):
        app = app_of(ScriptedProvider("x", card=card), strict_params=strict)
        got = chat(app, reasoning_effort="high")
        assert got.status == status
        is_named = got.headers.get("x-ignored-params") == "reasoning_effort"
        assert is_named == (card is CARD and not strict)


def test_strict_params_refuse_what_would_be_ignored():
    app = app_of(ScriptedProvider("x"), strict_params=True)
    got = chat(app, store=True, verbosity="low")
    assert got.status == 400
    assert got.json["message"].splitlines() == [
        "store: property 'store' is unsupported",
        "verbosity: property 'verbosity' is unsupported",
    ]
    assert chat(app, store=None).status == 200


def test_include_reasoning_is_another_word_for_hidden():
    provider = ScriptedProvider("x")
    assert chat(app_of(provider), include_reasoning=False).status == 200
    assert chat(app_of(provider), include_reasoning=True).status == 200
    formats = [request.reasoning.format for request in provider.requests]
    assert formats == [ReasoningFormat.HIDDEN, ReasoningFormat.PARSED]
    got = chat(app_of(provider), include_reasoning=False, reasoning_format="raw")
    assert got.json["param"] == "include_reasoning"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"functions": [{"name": "f"}]}, "functions: 'functions' is of old: use 'tools'"),
        (
            {"tool_choice": {"type": "allowed_tools"}},
            "tool_choice: must be 'none', 'auto', 'required' or a function by its name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name: this field is required",
        ),
    ],
)
def test_a_refusal_says_what_to_send(fields: dict[str, Any], said: str):
    got = chat(app_of(ScriptedProvider()), **fields)
    assert (got.status, got.json["message"]) == (400, said)
