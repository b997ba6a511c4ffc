"""Structured output and tools of a real model, through the official clients.

The bundled model is small: what it answers may be nonsense, but the form of it is what was asked.
"""

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any

import cerebras.cloud.sdk as cerebras
import jsonschema
import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from headrace.model import bundled_model, open_model
from tests.contract.test_engine_death import server

MODEL = open_model(bundled_model()).name
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    "seed": 5,
    "max_completion_tokens": 400,
}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"enum": ["C", "F"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": WEATHER,
            "strict": True,
        },
    },
    {"type": "function", "function": {"name": "get_time", "description": "What time it is."}},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("home"), "cpu") as (url, _):
        yield url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


class Unit(Enum):
    C = "C"
    F = "F"


class Report(BaseModel):
    city: str
    unit: Unit
    degrees: list[int] | None


def schema_format(schema: dict[str, Any], *, strict: bool = True) -> Any:
    named = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": named}


def text_of(answer: ChatCompletion) -> str:
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content is not None
    return choice.message.content


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_json_follows_its_schema(api: openai.OpenAI, temperature: float) -> None:
    answer = api.chat.completions.create(
        **ASKED, temperature=temperature, response_format=schema_format(WEATHER)
    )
    jsonschema.validate(json.loads(text_of(answer)), WEATHER)


def test_a_json_object_is_one(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(**ASKED, response_format={"type": "json_object"})
    (choice,) = answer.choices
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content or ""), dict)
    else:
        assert choice.finish_reason == "length"


def test_a_stream_says_the_same(api: openai.OpenAI) -> None:
    asked = {**ASKED, "response_format": schema_format(WEATHER)}
    whole = text_of(api.chat.completions.create(**asked))
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in api.chat.completions.create(**asked, stream=True)
        if chunk.choices
    ]
    assert "".join(pieces) == whole
    assert len(pieces) > 3


def test_pydantic_models_are_parsed(api: openai.OpenAI) -> None:
    answer = api.chat.completions.parse(**ASKED, response_format=Report)
    (choice,) = answer.choices
    assert isinstance(choice.message.parsed, Report)


def test_a_cut_answer_says_so(api: openai.OpenAI) -> None:
    asked = {**ASKED, "max_completion_tokens": 3, "response_format": schema_format(WEATHER)}
    (choice,) = api.chat.completions.create(**asked).choices
    assert choice.finish_reason == "length"


def test_a_regular_expression_is_matched(api: openai.OpenAI) -> None:
    form: Any = {"type": "regex", "regex": "[0-9]{3}-(north|south)"}
    answer = api.chat.completions.create(**ASKED, response_format=form)
    number, _, side = text_of(answer).partition("-")
    assert number.isdigit()
    assert len(number) == 3
    assert side in ("north", "south")


@pytest.mark.parametrize("stream", [False, True])
def test_a_required_tool_is_called(api: openai.OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {**ASKED, "tools": TOOLS, "tool_choice": "required"}
    if stream:
        with api.chat.completions.stream(**asked) as events:
            answer: ChatCompletion = events.get_final_completion()
    else:
        answer = api.chat.completions.create(**asked)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content in (None, "")
    assert choice.message.tool_calls
    for call in choice.message.tool_calls:
        assert call.type == "function"
        arguments = json.loads(call.function.arguments)
        if call.function.name == "get_weather":
            jsonschema.validate(arguments, WEATHER)
        else:
            assert call.function.name == "get_time"
            assert arguments == {}


def test_the_named_tool_is_called_once(api: openai.OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "get_time"}}
    answer = api.chat.completions.create(**ASKED, tools=TOOLS, tool_choice=named)
    (choice,) = answer.choices
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_time"
    assert choice.finish_reason == "tool_calls"


def test_tools_may_be_left_alone_for_an_answer_in_a_format(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        **ASKED, tools=TOOLS, response_format=schema_format(WEATHER)
    )
    (choice,) = answer.choices
    if choice.finish_reason == "tool_calls":
        assert choice.message.tool_calls
    else:
        jsonschema.validate(json.loads(text_of(answer)), WEATHER)


def test_tools_that_may_not_be_called_are_not(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="none")
    assert not answer.choices[0].message.tool_calls


def test_a_dialogue_goes_on_after_a_call(api: openai.OpenAI) -> None:
    first = api.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="required")
    message = first.choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}
        for call in message.tool_calls or ()
    ]
    dialogue = [*ASKED["messages"], message.model_dump(), *results]
    second = api.chat.completions.create(**{**ASKED, "messages": dialogue}, tools=TOOLS)
    assert second.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_strict_schema_outside_the_subset_is_a_400(api: openai.OpenAI) -> None:
    bad = {**WEATHER, "properties": {"city": {"type": "string", "contentEncoding": "base64"}}}
    with pytest.raises(
        openai.BadRequestError, match=r"properties\.city: keyword 'contentEncoding'"
    ):
        api.chat.completions.create(**ASKED, response_format=schema_format(bad))


def test_choices_are_held_to_the_format_each(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        **ASKED, n=3, temperature=1.2, response_format=schema_format(WEATHER)
    )
    for choice in answer.choices:
        jsonschema.validate(json.loads(choice.message.content or ""), WEATHER)


def test_log_probabilities_go_with_it(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        **ASKED, logprobs=True, top_logprobs=2, response_format=schema_format(WEATHER)
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    entries = logprobs.content or []
    assert "".join(entry.token for entry in entries) == answer.choices[0].message.content


def test_the_cerebras_client_does_both(url: str) -> None:
    with cerebras.Cerebras(base_url=url, api_key="none", max_retries=0) as client:
        create: Any = client.chat.completions.create
        answer = create(**ASKED, response_format=schema_format(WEATHER))
        jsonschema.validate(json.loads(answer.choices[0].message.content), WEATHER)
        called = create(**ASKED, tools=TOOLS, tool_choice="required", stream=True)
        pieces = [p for chunk in called for p in chunk.choices[0].delta.tool_calls or ()]
        assert {piece.type for piece in pieces} == {"function"}
        assert pieces[0].function.name in ("get_weather", "get_time")
