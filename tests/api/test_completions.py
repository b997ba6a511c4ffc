"""POST /v1/completions, whole and streamed."""

from typing import Any

import pytest

from headrace.errors import BackendError, ContextTooLong, QueueFull
from headrace.types import FinishReason, Timing, TokenEvent, TokenLogprob, Usage
from tests.api.exchange import app_of, complete
from tests.scripted import CARD, Pause, ScriptedProvider


def end(choice: int = 0, *, tokens: int = 1) -> TokenEvent:
    return TokenEvent(
        text="",
        choice=choice,
        finish=FinishReason.LENGTH,
        usage=Usage(prompt_tokens=7, completion_tokens=tokens, cached_tokens=2),
        timing=Timing(queue_s=0.001, prompt_s=0.002, completion_s=0.004 * tokens),
    )


def test_the_answer_has_the_usual_shape():
    provider = ScriptedProvider(" upon", " a time")
    got = complete(app_of(provider), max_tokens=5)
    assert got.status == 200, got.json
    answer = got.json
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    assert (answer["created"], answer["model"]) == (1_700_000_000, CARD.id)
    assert answer["system_fingerprint"].startswith("fp_")
    assert answer["choices"] == [
        {"index": 0, "text": " upon a time", "finish_reason": "stop", "logprobs": None}
    ]
    assert answer["usage"]["total_tokens"] == 9
    assert answer["time_info"]["total_time"] == pytest.approx(0.007)
    (request,) = provider.requests
    assert (request.prompt, request.messages, request.max_tokens) == ("Once", (), 5)
    assert request.id == answer["id"]


def test_without_a_bound_the_context_is_the_bound():
    provider = ScriptedProvider("x")
    for fields in ({}, {"max_tokens": None}, {"max_tokens": -1}):
        assert complete(app_of(provider), **fields).status == 200
    assert [request.max_tokens for request in provider.requests] == [None] * 3


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        ("[1]", ["[1]"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3.0], [(1, 2, 3)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
        (["a", [1]], ["a", (1,)]),
    ],
)
def test_a_prompt_is_text_or_token_ids_one_or_several(prompt: Any, prompts: list[Any]):
    provider = ScriptedProvider("x")
    got = complete(app_of(provider), prompt=prompt)
    assert got.status == 200, got.json
    assert [request.prompt for request in provider.requests] == prompts
    assert [choice["index"] for choice in got.json["choices"]] == list(range(len(prompts)))
    assert got.json["usage"]["prompt_tokens"] == 7 * len(prompts)
    assert got.json["usage"]["completion_tokens"] == len(prompts)
    assert len({request.id for request in provider.requests}) == len(prompts)


def test_choices_are_ordered_prompt_by_prompt():
    script = (
        TokenEvent(text="second", token_ids=(1,), choice=1),
        TokenEvent(text="first", token_ids=(2,)),
        TokenEvent(text="", choice=1, finish=FinishReason.STOP),
        end(tokens=2),
    )
    provider = ScriptedProvider(*script, finish=None)
    got = complete(app_of(provider), prompt=["a", "b"], n=2)
    assert [(c["index"], c["text"], c["finish_reason"]) for c in got.json["choices"]] == [
        (0, "first", "length"),
        (1, "second", "stop"),
        (2, "first", "length"),
        (3, "second", "stop"),
    ]
    assert got.json["usage"]["completion_tokens"] == 4
    assert got.json["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert got.json["time_info"]["total_time"] == pytest.approx(0.011)


def test_the_fields_mean_what_they_mean_in_chat():
    provider = ScriptedProvider("x")
    got = complete(
        app_of(provider),
        temperature=0,
        top_p=0.5,
        top_k=3,
        seed=-1,
        stop=["END"],
        logit_bias={"3": 2},
        frequency_penalty=1,
        min_tokens=2,
        max_tokens=9,
        echo=True,
        user="somebody",
        prompt_cache_key="key",
        suffix="",
        grammar_root=None,
        best_of=1,
    )
    assert got.status == 200, got.json
    assert got.headers["x-ignored-params"] == "prompt_cache_key"
    (request,) = provider.requests
    assert (request.sampling.temperature, request.sampling.top_k) == (0, 3)
    assert (request.stop, request.min_tokens, request.max_tokens) == (("END",), 2, 9)
    assert request.echo
    assert request.logprobs is None


@pytest.mark.parametrize("fields", [{"ignore_eos": True}, {"min_tokens": -1}])
def test_a_turn_may_be_kept_from_ending(fields: dict[str, Any]):
    provider = ScriptedProvider("x")
    assert complete(app_of(provider), max_tokens=4, **fields).status == 200
    assert provider.requests[0].min_tokens is None


WORD = TokenLogprob(token=" a", data=b" a", logprob=-0.5, start=0)
OTHER = TokenLogprob(token=" the", data=b" the", logprob=-0.75)
HALF = TokenLogprob(token="\ufffd", data=b"\xf0\x9f", logprob=-1.5, start=2)
END = TokenLogprob(token="<end>", data=None, logprob=-2.0, start=3)
SAID = (
    TokenEvent(
        text=" a",
        token_ids=(1,),
        logprobs=(TokenLogprob(token=" a", data=b" a", logprob=-0.5, top=(OTHER,)),),
    ),
    TokenEvent(text="🌊", token_ids=(2, 3), logprobs=(HALF, END)),
)
LOGPROBS = {
    "tokens": [" a", "bytes:\\xf0\\x9f", "<end>"],
    "token_logprobs": [-0.5, -1.5, -2.0],
    "top_logprobs": [
        {" the": -0.75, " a": -0.5},
        {"bytes:\\xf0\\x9f": -1.5},
        {"<end>": -2.0},
    ],
    "text_offset": [0, 2, 3],
}


def test_log_probabilities_come_as_four_arrays():
    got = complete(app_of(ScriptedProvider(*SAID)), logprobs=1)
    assert got.json["choices"][0]["logprobs"] == LOGPROBS
    got = complete(app_of(ScriptedProvider(*SAID)), logprobs=1, stream=True)
    parts = [c["logprobs"] for e in got.events for c in e["choices"] if c["logprobs"]]
    for name, values in LOGPROBS.items():
        assert [value for part in parts for value in part[name]] == values
    nothing = complete(app_of(ScriptedProvider()), logprobs=0).json["choices"][0]
    assert nothing["logprobs"]["tokens"] == []


def test_an_echo_has_null_for_the_first_token_whole_and_streamed():
    first = TokenLogprob(token="On", data=b"On", logprob=None)
    second = TokenLogprob(token="ce", data=b"ce", logprob=-0.25, start=2, top=(OTHER,))
    said = (
        TokenEvent(text="Once", logprobs=(first, second), is_prompt=True),
        TokenEvent(text=" a", token_ids=(1,), logprobs=(WORD,)),
    )
    for fields in ({"max_tokens": 1}, {"max_tokens": 0}):
        provider = ScriptedProvider(*said)
        asked: dict[str, Any] = {"echo": True, "logprobs": 1, **fields}
        whole = complete(app_of(provider), **asked).json["choices"][0]
        assert whole["text"] == "Once a"
        assert whole["logprobs"]["token_logprobs"] == [None, -0.25, -0.5]
        assert whole["logprobs"]["top_logprobs"][:2] == [None, {" the": -0.75, "ce": -0.25}]
        streamed = complete(app_of(provider), **asked, stream=True)
        parts = [c["logprobs"] for e in streamed.events for c in e["choices"] if c["logprobs"]]
        for name, values in whole["logprobs"].items():
            assert [value for part in parts for value in part[name]] == values
        assert [request.max_tokens for request in provider.requests] == [fields["max_tokens"]] * 2


def test_raw_tokens_are_given_when_asked_for():
    silent = TokenEvent(text="", token_ids=(9,))
    provider = ScriptedProvider(
        "a", silent, TokenEvent(text="bc", parts=("b", "c"), token_ids=(4, 5))
    )
    assert complete(app_of(provider), return_raw_tokens=True).json["choices"][0]["tokens"] == [
        1,
        9,
        4,
        5,
    ]
    got = complete(app_of(provider), return_raw_tokens=True, stream=True)
    told = [c.get("tokens", []) for event in got.events for c in event["choices"]]
    assert [token_id for ids in told for token_id in ids] == [1, 9, 4, 5]
    text = "".join(c["text"] for event in got.events for c in event["choices"])
    assert text == "abc"
    assert "tokens" not in complete(app_of(provider)).json["choices"][0]


def test_the_best_of_several_are_the_likeliest():
    def said(choice: int, *logprobs: float) -> list[TokenEvent]:
        entries = tuple(TokenLogprob(token="x", data=b"x", logprob=each) for each in logprobs)
        prompt = (WORD,) * (3 - choice)  # says nothing about the answer
        return [
            TokenEvent(text="", choice=choice, logprobs=prompt, is_prompt=True),
            TokenEvent(text=str(choice), token_ids=(1,), choice=choice, logprobs=entries),
            TokenEvent(text="", choice=choice, finish=FinishReason.STOP),
        ]

    script = [*said(1, -1, -1), *said(2, -0.25), *said(0, -3)]
    script[-1] = end(0, tokens=4)
    provider = ScriptedProvider(*script, finish=None)
    got = complete(app_of(provider), prompt=["a", "b"], n=2, best_of=3)
    assert got.status == 200, got.json
    assert [(c["index"], c["text"]) for c in got.json["choices"]] == [
        (0, "2"),
        (1, "1"),
        (2, "2"),
        (3, "1"),
    ]
    assert all(choice["logprobs"] is None for choice in got.json["choices"])
    assert got.json["usage"]["completion_tokens"] == 8, "all that were made are counted"
    assert [request.n for request in provider.requests] == [3, 3]


@pytest.mark.parametrize(
    ("options", "places"),
    [(None, [-1]), ({"include_usage": True}, [-1]), ({"include_usage": False}, [])],
)
def test_a_stream_has_chunks_an_end_and_usage_once(
    options: dict[str, bool] | None, places: list[int]
):
    event = TokenEvent(text="bc", parts=("b", "c"), token_ids=(2, 3))
    got = complete(app_of(ScriptedProvider("a", event)), stream=True, stream_options=options)
    assert got.status == 200
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.body.endswith(b"data: [DONE]\n\n")
    assert {chunk["object"] for chunk in got.events} == {"text_completion"}
    assert len({chunk["id"] for chunk in got.events}) == 1
    choices = [choice for chunk in got.events for choice in chunk["choices"]]
    assert [(c["text"], c["finish_reason"]) for c in choices] == [
        ("a", None),
        ("b", None),
        ("c", None),
        ("", "stop"),
    ]
    assert all(c["logprobs"] is None for c in choices)
    told = [chunk for chunk in got.events if chunk.get("usage")]
    assert told == [got.events[place] for place in places]
    for chunk in got.events[:-1] if options and options["include_usage"] else ():
        assert chunk["usage"] is None


def test_streams_of_several_prompts_tell_usage_once():
    got = complete(app_of(ScriptedProvider("a", "b")), prompt=["x", "y"], stream=True)
    told = [chunk["usage"] for chunk in got.events if chunk.get("usage")]
    assert [usage["total_tokens"] for usage in told] == [18]
    texts = ["", ""]
    for chunk in got.events:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == ["ab", "ab"]


@pytest.mark.parametrize("prompt", ["a", ["a", "b"]])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextTooLong(5_000, 4_096), 400, "context_length_exceeded"),
        (QueueFull("full"), 503, "queue_exceeded"),
        (BackendError("secret detail"), 500, "internal_error"),
    ],
)
def test_errors_before_the_first_token_are_http_errors(
    prompt: Any, stream: bool, error: Exception, status: int, code: str
):
    provider = ScriptedProvider(error)
    got = complete(app_of(provider), prompt=prompt, stream=stream)
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert b"secret" not in got.body
    assert provider.running == 0


@pytest.mark.parametrize("prompt", ["a", ["a", "b"]])
def test_an_error_in_the_middle_ends_the_stream_with_an_event(prompt: Any):
    provider = ScriptedProvider("a", Pause(), BackendError("secret"))
    got = complete(app_of(provider), prompt=prompt, stream=True)
    last = got.events[-1]
    assert (last["status_code"], last["choices"]) == (500, [])
    assert last["error"]["code"] == "internal_error"
    assert b"[DONE]" not in got.body
    assert complete(app_of(provider), prompt=prompt).status == 500
    assert provider.running == 0


def test_a_prompt_that_stops_without_a_reason_is_an_error():
    got = complete(
        app_of(ScriptedProvider("a", Pause(), finish=None)), prompt=["a", "b"], stream=True
    )
    assert got.events[-1]["error"]["type"] == "server_error"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ...}, "prompt: this field is required"),
    ({"prompt": ""}, "prompt 0 must not be empty"),
    ({"prompt": []}, "prompt: must not be empty"),
    ({"prompt": [[]]}, "prompt: must be an array of token ids, at least one"),
    ({"prompt": ["a", ""]}, "prompt 1 must not be empty"),
    ({"prompt": ["a", 1]}, "prompt: must be a text, an array of token ids, or an array of either"),
    ({"prompt": [1, "a"]}, "prompt: token ids must be integers"),
    ({"prompt": [1, -1]}, "prompt: token ids must be integers from 0"),
    ({"prompt": [True]}, "prompt: token ids must be integers"),
    ({"prompt": [1.5]}, "prompt: token ids must be integers"),
    ({"prompt": [1 << 40]}, "prompt: token ids must be integers"),
    ({"prompt": [[[1]]]}, "prompt: token ids must be integers"),
    ({"prompt": {"a": 1}}, "prompt: must be a text"),
    ({"prompt": 5}, "prompt: must be a text"),
    ({"prompt": ["a"] * 129}, "prompt: has 129 prompts, at most 128"),
    ({"prompt": ["a"] * 20_000}, "prompt: has 20000 prompts, at most 128"),
    ({"prompt": ["a"] * 65, "n": 2}, "prompts times n (or best_of) must not exceed 128"),
    ({"model": ...}, "model: this field is required"),
    ({"messages": []}, "messages: property 'messages' is unsupported"),
    ({"suffix": "end"}, "suffix: 'suffix' is not offered yet, leave it out"),
    ({"grammar_root": "x"}, "grammar_root: 'grammar_root' is not offered yet"),
    ({"n": 9}, "n: must be less than or equal to 8"),
    ({"n": 10**9}, "n: must be less than or equal to 8"),
    ({"best_of": 9}, "best_of: must be less than or equal to 8"),
    ({"best_of": 10**6}, "best_of: must be less than or equal to 8"),
    ({"n": 2, "best_of": 1}, "best_of: must not be smaller than n"),
    ({"best_of": 2, "stream": True}, "best_of: the best are known at the end only"),
    ({"logprobs": 21}, "logprobs: must be less than or equal to 20"),
    ({"logprobs": True}, "logprobs: must be a valid integer"),
    ({"echo": True, "logprobs": 6}, "logprobs: must not exceed 5 with echo"),
    ({"max_tokens": 0}, "max_tokens: must be at least 1, or -1 for no bound; 0 is for echo"),
    ({"max_tokens": -2}, "max_tokens: must be greater than or equal to -1"),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens: must not be greater than max_tokens"),
    ({"stop": ["a"] * 5}, "stop: "),
    ({"temperature": 3}, "temperature: must be less than or equal to 2"),
    ({"ignore_eos": 1}, "ignore_eos: must be a valid boolean"),
    ({"return_raw_tokens": "yes"}, "return_raw_tokens: must be a valid boolean"),
    ({"surprise": 1}, "surprise: property 'surprise' is unsupported"),
]


@pytest.mark.parametrize(("fields", "said"), BAD, ids=lambda v: str(v)[:40])
def test_a_bad_field_is_a_400_that_names_it(fields: dict[str, Any], said: str):
    provider = ScriptedProvider("x")
    got = complete(app_of(provider), **fields)
    assert got.status == 400
    assert said in got.json["message"]
    assert got.json["code"] == "wrong_api_format"
    assert provider.requests == []


def test_a_long_prompt_of_token_ids_is_read():
    provider = ScriptedProvider("x")
    ids = list(range(200_000))
    assert complete(app_of(provider), prompt=ids).status == 200
    assert provider.requests[0].prompt == tuple(ids)
    assert "more than 262144" in complete(app_of(provider), prompt=[1] * 300_000).json["message"]
