"""Tools, response formats and reasoning on the wire."""

import json
from typing import Any

import pytest

from headrace.types import (
    CallPiece,
    FinishReason,
    JsonFormat,
    LarkFormat,
    ReasoningFormat,
    RegexFormat,
    Role,
    TokenEvent,
    ToolUse,
)
from tests.api.exchange import app_of, chat
from tests.scripted import ScriptedProvider

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
CALL: dict[str, Any] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
}
CALLS = (
    TokenEvent(text="", calls=(CallPiece(index=0, id="c1", name="add"),), token_ids=(1,)),
    TokenEvent(text="", calls=(CallPiece(index=0, arguments='{"a": 1,'),), token_ids=(2,)),
    TokenEvent(text="", calls=(CallPiece(index=0, arguments=' "b": 2}'),), token_ids=(3,)),
    TokenEvent(text="", calls=(CallPiece(index=1, id="c2", name="now"),), token_ids=(4,)),
)


def request_of(**fields: Any) -> Any:
    provider = ScriptedProvider("x")
    got = chat(app_of(provider), **fields)
    assert got.status == 200, got.json
    return provider.requests[0]


def refusal_of(**fields: Any) -> dict[str, Any]:
    provider = ScriptedProvider("x")
    got = chat(app_of(provider), **fields)
    assert got.status == 400
    assert provider.requests == []
    return got.json["error"]


def test_calls_are_put_together() -> None:
    got = chat(app_of(ScriptedProvider(*CALLS, finish=FinishReason.TOOL_CALLS)), tools=[TOOL])
    (choice,) = got.json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        CALL,
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]


def test_calls_are_streamed_with_index_and_type_on_every_piece() -> None:
    got = chat(
        app_of(ScriptedProvider(*CALLS, finish=FinishReason.TOOL_CALLS)),
        tools=[TOOL],
        stream=True,
    )
    pieces = [
        piece
        for event in got.events
        for piece in event["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert [(piece["index"], piece["type"]) for piece in pieces] == [
        (0, "function"),
        (0, "function"),
        (0, "function"),
        (1, "function"),
    ]
    assert [piece.get("id") for piece in pieces] == ["c1", None, None, "c2"]
    assert [piece["function"].get("name") for piece in pieces] == ["add", None, None, "now"]
    assert json.loads("".join(p["function"]["arguments"] for p in pieces[:3])) == {"a": 1, "b": 2}
    assert got.events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_thought_has_a_field_of_its_own() -> None:
    script = (
        TokenEvent(text="", reasoning="I ", token_ids=(1,)),
        TokenEvent(text="", reasoning="wonder", token_ids=(2,)),
        TokenEvent(text="Yes", token_ids=(3,)),
    )
    whole = chat(app_of(ScriptedProvider(*script))).json["choices"][0]["message"]
    assert (whole["reasoning"], whole["content"]) == ("I wonder", "Yes")
    events = chat(app_of(ScriptedProvider(*script)), stream=True).events
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[1:4] == [{"reasoning": "I "}, {"reasoning": "wonder"}, {"content": "Yes"}]


def test_a_dialogue_with_calls_reaches_the_provider() -> None:
    asked = request_of(
        tools=[TOOL],
        messages=[
            {"role": "user", "content": "1 + 2?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [CALL],
                "refusal": None,
                "reasoning_content": "sum",
            },
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
        ],
    )
    _, called, answered = asked.messages
    assert (called.content, called.reasoning) == ("", "sum")
    assert [(call.id, call.name) for call in called.tool_calls] == [("c1", "add")]
    assert (answered.role, answered.content, answered.tool_call_id) == (Role.TOOL, "3", "c1")


@pytest.mark.parametrize(
    ("choice", "use", "only", "parallel"),
    [
        (None, ToolUse.AUTO, "", True),
        ("auto", ToolUse.AUTO, "", True),
        ("none", ToolUse.NONE, "", True),
        ("required", ToolUse.REQUIRED, "", True),
        ({"type": "function", "function": {"name": "add"}}, ToolUse.REQUIRED, "add", False),
    ],
)
def test_how_tools_may_be_used(choice: Any, use: ToolUse, only: str, parallel: bool) -> None:
    box = request_of(tools=[TOOL], tool_choice=choice).toolbox
    assert (box.use, box.only, box.parallel) == (use, only, parallel)
    assert [tool.name for tool in box.tools] == ["add"]


def test_formats_reach_the_provider() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    named = {"name": "n", "schema": schema, "strict": True}
    asked = request_of(response_format={"type": "json_schema", "json_schema": named})
    assert asked.format == JsonFormat(schema=schema, strict=True)
    assert request_of(response_format={"type": "text"}).format is None
    assert isinstance(request_of(response_format={"type": "json_object"}).format, JsonFormat)
    regex = {"type": "regex", "regex": "[ab]+"}
    assert request_of(response_format=regex).format == RegexFormat(pattern="[ab]+")
    lark = {"type": "grammar", "grammar": 'start: "a"'}
    assert request_of(response_format=lark).format == LarkFormat(grammar='start: "a"')


def test_tools_and_a_format_go_together() -> None:
    asked = request_of(tools=[TOOL], response_format={"type": "json_object"})
    assert asked.toolbox is not None
    assert asked.format is not None


def test_reasoning_fields_reach_the_provider() -> None:
    assert request_of(reasoning_effort="high").reasoning.effort == "high"
    assert request_of(disable_reasoning=True).reasoning.effort == "none"
    assert request_of(reasoning_format="hidden").reasoning.format is ReasoningFormat.HIDDEN
    assert request_of(clear_thinking=True).reasoning.keeps_history is False


def test_neutral_values_ask_for_nothing() -> None:
    asked = request_of(tools=[], tool_choice="auto", parallel_tool_calls=True, functions=None)
    assert asked.toolbox is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tools": [TOOL, TOOL]}, "'add' is there twice"),
        ({"tools": [{"type": "web"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "'a b' must be 1 to 64"),
        ({"tool_choice": "required"}, "'required' needs tools"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "'sub' is not in tools",
        ),
        ({"response_format": {"type": "xml"}}, "must be one of text, json_object"),
        ({"response_format": {"type": "regex", "regex": "*"}}, "is no regular expression"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
                }
            },
            "response_format.json_schema.schema: the root must be an object",
        ),
        (
            {"reasoning_format": "raw", "response_format": {"type": "json_object"}},
            "'raw' puts thoughts",
        ),
        ({"messages": [{"role": "tool", "content": "3", "tool_call_id": "x"}]}, "no open call"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "user", "content": "and?"},
                ]
            },
            "tool messages are missing for c1",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL]}]}, "missing for c1"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL, CALL]}]}, "is there twice"),
        ({"messages": [{"role": "assistant"}]}, "needs content or tool_calls"),
        ({"tools": [TOOL] * 129}, "tools"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    assert said in refusal_of(**fields)["message"]
