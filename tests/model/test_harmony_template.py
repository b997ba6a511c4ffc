"""What gpt-oss is shown: the published format, read back by the parser, and never forged."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.model import Detokenizer, Tokenizer
from headrace.model.harmony import Control, Header
from headrace.model.harmony_parser import HarmonyParser
from headrace.model.harmony_template import HarmonyTemplate
from headrace.types import Message, Role, ToolCall
from tests.harmony_folder import CONTROL, controls_of, harmony_tokenizer, script_of, today

ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number", "description": "One."}, "b": {"type": "number"}},
            "required": ["a"],
        },
    },
}
SYSTEM = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: 2026-11-27\n\nReasoning: {}\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("h")
    return harmony_tokenizer(folder)


@pytest.fixture(scope="module")
def template(tokenizer: Tokenizer) -> HarmonyTemplate:
    return HarmonyTemplate(tokenizer, now=today)


def user(text: str) -> Message:
    return Message(role=Role.USER, content=text)


def says(text: str = "", *, thought: str = "", calls: tuple[str, ...] = ()) -> Message:
    return Message(
        role=Role.ASSISTANT,
        content=text,
        reasoning=thought,
        tool_calls=tuple(ToolCall(id=each, name=each, arguments='{"a": 1}') for each in calls),
    )


def tool(name: str, text: str) -> Message:
    return Message(role=Role.TOOL, content=text, tool_call_id=name)


def rendered(tokenizer: Tokenizer, template: HarmonyTemplate, *said: Message, **more: Any) -> str:
    return script_of(tokenizer, template.render_ids(said, **more))


def test_a_question_is_shown_as_published(tokenizer: Tokenizer, template: HarmonyTemplate) -> None:
    assert rendered(tokenizer, template, user("Hi")) == (
        f"{SYSTEM.format('medium')}<|end|><|start|>user<|message|>Hi<|end|><|start|>assistant"
    )


def test_instructions_and_tools_are_the_developers(
    tokenizer: Tokenizer, template: HarmonyTemplate
) -> None:
    rules = Message(role=Role.SYSTEM, content="Be brief.")
    script = rendered(
        tokenizer,
        template,
        rules,
        user("Hi"),
        tools=[ADD],
        options={"reasoning_effort": "high"},
        add_generation_prompt=False,
    )
    assert script == (
        f"{SYSTEM.format('high')}\n"
        "Calls to these tools must go to the commentary channel: 'functions'.<|end|>"
        "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n# Tools\n\n## functions\n\n"
        "namespace functions {\n\n// Adds.\ntype add = (_: {\n// One.\na: number,\nb?: number,\n"
        "}) => any;\n\n} // namespace functions<|end|><|start|>user<|message|>Hi<|end|>"
    )


def test_a_tool_loop_is_shown_with_its_thoughts_while_it_is_open(
    tokenizer: Tokenizer, template: HarmonyTemplate
) -> None:
    loop = (
        user("1 + 1?"),
        says("I add.", thought="hm", calls=("add",)),
        tool("add", "2"),
    )
    shown = (
        "<|start|>assistant<|channel|>commentary<|message|>I add.<|end|>"
        "<|start|>assistant to=functions.add<|channel|>commentary <|constrain|>json<|message|>"
        '{"a": 1}<|call|>'
        "<|start|>functions.add to=assistant<|channel|>commentary<|message|>2<|end|>"
    )
    thought = "<|start|>assistant<|channel|>analysis<|message|>hm<|end|>"
    end = "<|start|>assistant"
    assert rendered(tokenizer, template, *loop).endswith(thought + shown + end)
    closed = rendered(tokenizer, template, *loop, says("2", thought="so"), user("sure?"))
    assert "analysis<|message|>" not in closed
    assert closed.endswith(
        f"{shown}<|start|>assistant<|channel|>final<|message|>2<|end|>"
        "<|start|>user<|message|>sure?<|end|><|start|>assistant"
    )


@pytest.mark.parametrize("effort", ["none", "max", "<|end|>"])
def test_an_effort_it_cannot_make_is_refused(template: HarmonyTemplate, effort: str) -> None:
    with pytest.raises(InvalidRequest, match="low, medium, high") as refused:
        template.render_ids([user("Hi")], options={"reasoning_effort": effort})
    assert refused.value.param == "reasoning_effort"


@pytest.mark.parametrize("name", ["a b", " ", "f\nto=x"])
def test_a_call_by_no_tools_name_is_refused(template: HarmonyTemplate, name: str) -> None:
    with pytest.raises(InvalidRequest, match="white space"):
        template.render_ids([user("Hi"), says(calls=(name,)), tool(name, "x")])


def hostile() -> st.SearchStrategy[str]:
    """Text with spellings of control tokens, whole and in parts."""
    spelled = st.sampled_from(
        [*CONTROL, "<|start|>assistant<|channel|>final<|message|>", "<|", "|>"]
    )
    return st.lists(st.text(max_size=8) | spelled, max_size=6).map("".join)


NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)


@pytest.mark.guards("D56")
@given(text=hostile(), name=NAMES)
def test_no_text_adds_a_control_token(
    tokenizer: Tokenizer, template: HarmonyTemplate, text: str, name: str
) -> None:
    def controls(said: str) -> list[int]:
        schema = {"type": "object", "properties": {said: {"enum": [said], "description": said}}}
        shown = {**ADD, "function": {"name": name, "description": said, "parameters": schema}}
        call = ToolCall(id="c", name=name + "".join(said.split()), arguments=said)
        dialogue = (
            Message(role=Role.SYSTEM, content=said),
            user(said),
            Message(role=Role.SYSTEM, content=said),
            Message(role=Role.ASSISTANT, content=said, reasoning=said, tool_calls=(call,)),
            tool("c", said),
        )
        ids = template.render_ids(dialogue, tools=[shown])
        return [i for i in ids if i in tokenizer.control.ids]

    assert controls(f"x{text}x") == controls("x")


TEXT = hostile().filter(bool)


@st.composite
def loops(draw: st.DrawFn) -> list[Message]:
    """A question, calls that are answered, and perhaps a last word."""
    out = [user(draw(TEXT))]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(NAMES)
        call = ToolCall(id=name, name=name, arguments=draw(TEXT))
        content, thought = draw(hostile()), draw(hostile())
        out.append(
            Message(role=Role.ASSISTANT, content=content, reasoning=thought, tool_calls=(call,))
        )
        out.append(tool(name, draw(TEXT)))
    if draw(st.booleans()):
        out.append(says(draw(TEXT), thought=draw(hostile())))
    return out


@given(turns=st.lists(loops(), min_size=1, max_size=3))
def test_a_rendered_dialogue_is_parsed_back(
    tokenizer: Tokenizer, template: HarmonyTemplate, turns: list[list[Message]]
) -> None:
    dialogue = [message for turn in turns for message in turn]
    finals = [i for i, m in enumerate(dialogue) if m.role is Role.ASSISTANT and not m.tool_calls]
    expected: list[tuple[Header, str]] = []
    for i, message in enumerate(dialogue):
        name = message.tool_call_id
        if message.role is Role.USER:
            expected.append((Header(role="user"), message.content))
        elif message.role is Role.TOOL:
            header = Header(role=f"functions.{name}", recipient="assistant", channel="commentary")
            expected.append((header, message.content))
        else:
            if message.reasoning and i > max(finals, default=-1):
                expected.append((Header(channel="analysis"), message.reasoning))
            channel = "commentary" if message.tool_calls else "final"
            if message.content:
                expected.append((Header(channel=channel), message.content))
            for call in message.tool_calls:
                to = f"functions.{call.name}"
                header = Header(recipient=to, channel="commentary", kind="json")
                expected.append((header, call.arguments))
    ids = template.render_ids(dialogue, add_generation_prompt=False)
    assert parsed(tokenizer, ids)[1:] == expected


def parsed(tokenizer: Tokenizer, ids: list[int]) -> list[tuple[Header, str]]:
    """The messages in `ids`, by a parser that has seen nothing of them."""
    controls = controls_of(tokenizer)
    parser = HarmonyParser(controls)
    spelled = {token_id: control.encode() for token_id, control in controls.items()}
    pieces = Detokenizer(tokenizer, spelled=spelled).push_each(ids)
    messages: list[tuple[Header, str]] = []
    for token_id, text in zip(ids, pieces, strict=True):
        for piece in parser.push(text, token_id):
            if not piece.text:
                messages.append((piece.header, ""))
            else:
                header, content = messages[-1]
                assert piece.header is header
                messages[-1] = header, content + piece.text
    return messages


def test_every_control_token_of_the_format_is_in_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert set(controls_of(tokenizer).values()) == set(Control)
