"""POST /v1/chat/completions with `n`: choices side by side, usage once."""

import pytest

from headrace.errors import BackendError
from headrace.types import FinishReason, Timing, TokenEvent, TokenLogprob, Usage
from tests.api.exchange import app_of, chat
from tests.scripted import ScriptedProvider

END = TokenEvent(
    text=" late",
    token_ids=(5,),
    choice=0,
    finish=FinishReason.LENGTH,
    usage=Usage(prompt_tokens=7, completion_tokens=5),
    timing=Timing(queue_s=0.001, prompt_s=0.002, completion_s=0.004),
)
SCRIPT = (
    TokenEvent(text="zero", token_ids=(1,)),
    TokenEvent(text="one", token_ids=(2,), choice=1),
    TokenEvent(text="", token_ids=(3,), choice=1, finish=FinishReason.STOP),
    TokenEvent(text="", token_ids=(4,)),
    END,
)


def provider() -> ScriptedProvider:
    return ScriptedProvider(*SCRIPT, finish=None)


def test_a_whole_answer_has_its_choices_in_order():
    scripted = provider()
    answer = chat(app_of(scripted), n=2).json
    assert scripted.requests[0].n == 2
    assert [
        (choice["index"], choice["message"]["content"], choice["finish_reason"])
        for choice in answer["choices"]
    ] == [(0, "zero late", "length"), (1, "one", "stop")]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (7, 5)
    assert answer["time_info"]["total_time"] == pytest.approx(0.007)


@pytest.mark.parametrize(
    ("options", "places"),
    [(None, [-1]), ({"include_usage": True}, [-1]), ({"include_usage": False}, [])],
)
def test_streamed_choices_have_a_role_and_an_end_each_and_usage_comes_once(
    options: dict[str, bool] | None, places: list[int]
):
    got = chat(app_of(provider()), n=2, stream=True, stream_options=options)
    choices = [choice for event in got.events for choice in event["choices"]]
    assert [(c["index"], c["delta"], c["finish_reason"]) for c in choices] == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (0, {"content": "zero"}, None),
        (1, {"content": "one"}, None),
        (1, {}, "stop"),
        (0, {"content": " late"}, None),
        (0, {}, "length"),
    ]
    told = [event for event in got.events if event.get("usage")]
    assert told == [got.events[place] for place in places]
    for event in told:
        assert event["usage"]["total_tokens"] == 12
        assert event["choices"] == [] or event["choices"][0]["index"] == 0
    assert got.body.endswith(b"data: [DONE]\n\n")


def test_log_probabilities_go_with_their_choice():
    entry = TokenLogprob(token="one", data=b"one", logprob=-1.0)
    script = (TokenEvent(text="one", token_ids=(2,), choice=1, logprobs=(entry,)), *SCRIPT[2:])
    scripted = ScriptedProvider(*script, finish=None)
    zero, one = chat(app_of(scripted), n=2, logprobs=True).json["choices"]
    assert zero["logprobs"]["content"] == []
    assert [each["token"] for each in one["logprobs"]["content"]] == ["one"]
    got = chat(app_of(scripted), n=2, logprobs=True, stream=True)
    found = [c for event in got.events for c in event["choices"] if c["logprobs"]]
    assert [(c["index"], c["logprobs"]["content"][0]["token"]) for c in found] == [(1, "one")]


def test_an_error_when_one_choice_has_ended_ends_the_stream_without_done():
    scripted = ScriptedProvider(*SCRIPT[:3], BackendError("secret"), finish=None)
    got = chat(app_of(scripted), n=2, stream=True)
    last = got.events[-1]
    assert last["error"]["code"] == "internal_error"
    assert last["usage"]["completion_tokens"] == 3
    assert b"[DONE]" not in got.body
    assert chat(app_of(scripted), n=2).status == 500
