"""The grammar an answer is held to, judged by the library that enforces it."""

import json
from dataclasses import replace
from typing import Any

import llguidance
import pytest

from headrace.model.answer_grammar import answer_grammar
from headrace.model.control_tokens import ControlToken, ControlTokens
from headrace.model.json_calls import HERMES, LLAMA3, MISTRAL
from headrace.model.reasoning import ReasoningMarks
from headrace.model.tool_format import ToolFormat
from headrace.model.tool_formats import PYTHONIC
from headrace.types import (
    Format,
    JsonFormat,
    LarkFormat,
    Message,
    RegexFormat,
    Request,
    Role,
    SamplingParams,
    Tool,
    Toolbox,
    ToolUse,
)

EOS = 256
TOOL_CALLS = 257  # the only control token, beside the end of the text
CONTROL = ControlTokens({"[TOOL_CALLS]": ControlToken(id=TOOL_CALLS, spelling="[TOOL_CALLS]")})
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(name="add", description="", parameters=NUMBERS, strict=True),
    Tool(name="now", description="", parameters={}, strict=False),
)
THINK = ReasoningMarks(opening="<think>", closing="</think>")


class Bytes:
    """A vocabulary of single bytes."""

    bos_token_id = eos_token_id = EOS
    tokens = [bytes([i]) for i in range(256)] + [b"\xff<|eos|>", b"\xff[TOOL_CALLS]"]
    special_token_ids = (EOS, TOOL_CALLS)

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


TOKENIZER = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))


def takes(grammar: str, text: str) -> bool:
    """Whether `text` is a whole answer; `[TOOL_CALLS]` in it is the control token."""
    matcher = llguidance.LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    before, mark, after = text.partition("[TOOL_CALLS]")
    ids = [*before.encode(), *([TOOL_CALLS] if mark else []), *after.encode()]
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def grammar(
    form: ToolFormat = HERMES,
    *,
    use: ToolUse | None = None,
    only: str = "",
    parallel: bool = True,
    content: Format | None = None,
    thought: ReasoningMarks | None = None,
    is_thinking: bool = False,
) -> str:
    box = None if use is None else Toolbox(tools=TOOLS, use=use, only=only, parallel=parallel)
    request = Request(
        id="r",
        model="m",
        messages=(Message(role=Role.USER, content="hi"),),
        sampling=SamplingParams(),
        toolbox=box,
        format=content,
    )
    return answer_grammar(request, CONTROL, form, thought, is_thinking=is_thinking)


ONE = {
    "llama3_json": '{"name": "add", "parameters": {"a": 1, "b": true}}',
    "hermes": '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": true}}\n</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1, "b": true}}]',
    "pythonic": "[add(a=1, b=True)]",
}
TWO = {
    "llama3_json": '{"name": "now", "parameters": {}}; {"name": "add", "parameters": {"a": 1}}',
    "hermes": '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n'
    '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
    "mistral": '[TOOL_CALLS][{"name": "now", "arguments": {}}, '
    '{"name": "add", "arguments": {"a": 1}}]',
    "pythonic": "[now(), add(a=1)]",
}
FORMS = pytest.mark.parametrize(
    "form", [LLAMA3, HERMES, MISTRAL, PYTHONIC], ids=lambda form: form.name
)


@FORMS
def test_calls_are_taken_as_the_family_writes_them(form: ToolFormat) -> None:
    for use in (ToolUse.AUTO, ToolUse.REQUIRED):
        assert takes(grammar(form, use=use), ONE[form.name])
        assert takes(grammar(form, use=use), TWO[form.name])


@FORMS
def test_one_call_where_only_one_may_be(form: ToolFormat) -> None:
    alone = grammar(form, use=ToolUse.REQUIRED, parallel=False)
    assert takes(alone, ONE[form.name])
    assert not takes(alone, TWO[form.name])


@FORMS
def test_the_named_tool_and_no_other(form: ToolFormat) -> None:
    named = grammar(form, use=ToolUse.REQUIRED, only="add", parallel=False)
    assert takes(named, ONE[form.name])
    assert not takes(named, ONE[form.name].replace("add", "now").replace("a=1, b=True", ""))


@FORMS
def test_names_and_arguments_follow_the_tools(form: ToolFormat) -> None:
    asked = grammar(form, use=ToolUse.REQUIRED)
    assert not takes(asked, ONE[form.name].replace("add", "sub"))
    assert not takes(asked, ONE[form.name].replace("1", '"x"'))


@FORMS
def test_text_is_free_beside_tools_unless_one_is_required(form: ToolFormat) -> None:
    for text in ("", "It is noon.", "Two\nlines"):
        assert takes(grammar(form, use=ToolUse.AUTO), text)
        assert not takes(grammar(form, use=ToolUse.REQUIRED), text)


def test_text_may_come_before_a_call() -> None:
    assert takes(grammar(HERMES, use=ToolUse.AUTO), "Let me see.\n" + ONE["hermes"])
    assert takes(grammar(MISTRAL, use=ToolUse.AUTO), "Let me see.\n" + ONE["mistral"])


def test_a_call_that_begins_is_ended_as_one() -> None:
    assert not takes(grammar(HERMES, use=ToolUse.AUTO), "Let me see.<tool_call>oops")
    assert not takes(grammar(MISTRAL, use=ToolUse.AUTO), "[TOOL_CALLS]oops")


def test_definitions_of_arguments_are_found() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#/$defs/Tree"}},
        "additionalProperties": False,
        "$defs": {"Tree": {"type": "object", "properties": {}, "additionalProperties": False}},
    }
    tool = Tool(name="grow", description="", parameters=tree, strict=True)
    for form, text in (
        (LLAMA3, '{"name": "grow", "parameters": {"left": {}}}'),
        (HERMES, '<tool_call>\n{"name": "grow", "arguments": {"left": {}}}\n</tool_call>'),
        (PYTHONIC, "[grow(left={})]"),
    ):
        request = Request(
            id="r",
            model="m",
            messages=(),
            sampling=SamplingParams(),
            toolbox=Toolbox(tools=(tool,), use=ToolUse.REQUIRED),
        )
        assert takes(answer_grammar(request, CONTROL, form, None, is_thinking=False), text)


def test_without_tools_and_format_an_answer_is_free() -> None:
    assert grammar() == ""
    assert grammar(use=ToolUse.NONE) == ""


JSON = JsonFormat(schema=NUMBERS, strict=True)


def test_an_answer_follows_its_format() -> None:
    asked = grammar(content=JSON)
    for text in ('{"a": 1}', '{"a":1}', '{"a": 1, "b": false}'):
        assert takes(asked, text)
    for text in ("1", '{"b": true}', '{"a": 1, "c": 2}', '{"a":  1}', '{"a": 1}\n', ' {"a": 1}'):
        assert not takes(asked, text)


def test_a_hint_leaves_out_what_it_does_not_know() -> None:
    loose: dict[str, Any] = {**NUMBERS, "not": {"required": ["b"]}}
    asked = grammar(content=JsonFormat(schema=loose, strict=False))
    assert takes(asked, '{"a": 1}')
    assert not takes(asked, '{"a": "x"}')


@FORMS
def test_calls_or_the_format(form: ToolFormat) -> None:
    asked = grammar(form, use=ToolUse.AUTO, content=JSON)
    assert takes(asked, '{"a": 1}')
    assert takes(asked, ONE[form.name])
    assert not takes(asked, "It is noon.")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("[0-9]+/[ab]", "12/a"), (r"a\/b", "a/b"), ("x\ny", "x\ny"), (r"\d{2}", "42")],
)
def test_a_regular_expression_is_matched_as_a_whole(pattern: str, text: str) -> None:
    asked = grammar(content=RegexFormat(pattern=pattern))
    assert takes(asked, text)
    assert not takes(asked, text + "!")


def test_a_grammar_of_the_callers_own() -> None:
    asked = grammar(content=LarkFormat(grammar='start: word+\nword: "a" | "b"\n'))
    assert takes(asked, "abba")
    assert not takes(asked, "abc")


def test_a_thought_is_free_and_the_answer_is_not() -> None:
    asked = grammar(content=JSON, thought=THINK)
    assert takes(asked, '<think>\n{ hm }\n</think>\n\n{"a": 1}')
    assert takes(asked, '{"a": 1}')
    assert not takes(asked, "<think>\nhm\n</think>\n\nIt is 1.")
    opened = grammar(content=JSON, thought=THINK, is_thinking=True)
    assert takes(opened, 'hm</think>{"a": 1}')
    assert not takes(opened, '{"a": 1}')


def test_names_of_callers_are_no_grammar() -> None:
    odd = replace(TOOLS[1], name="a-b_C9")
    request = Request(
        id="r",
        model="m",
        messages=(),
        sampling=SamplingParams(),
        toolbox=Toolbox(tools=(odd,), use=ToolUse.REQUIRED),
    )
    asked = answer_grammar(request, CONTROL, LLAMA3, None, is_thinking=False)
    assert takes(asked, json.dumps({"name": "a-b_C9", "parameters": {}}))
