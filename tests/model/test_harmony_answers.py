"""The grammar of an answer in harmony, judged by the library that enforces it."""

from pathlib import Path

import llguidance
import pytest

from headrace.engine.vocabulary import Vocabulary
from headrace.model import Tokenizer
from headrace.model.harmony_answers import HarmonyAnswers
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
from tests.harmony_folder import harmony_tokenizer, ids_of

NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(name="add", description="", parameters=NUMBERS, strict=True),
    Tool(name="now", description="", parameters={}, strict=False),
)
THOUGHT = "<|channel|>analysis<|message|>Hm {<|end|><|start|>assistant"
PREAMBLE = "<|channel|>commentary<|message|>I add.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
CALLS = (
    '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}',
    ' to=functions.add<|channel|>commentary <|constrain|>json<|message|>{"a": 1}',
    ' to=functions.add<|channel|>commentary json<|message|>{"a": 1}',
    '<|channel|>commentary to=functions.add<|message|>{"a": 1}',
)
NOW = " to=functions.now<|channel|>commentary <|constrain|>json<|message|>{}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("h")
    return harmony_tokenizer(folder)


class Judge:
    """Whether answers are taken by the grammar of a request."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        stops = [tokenizer.control.id_of(each) for each in ("<|return|>", "<|call|>")]
        known = Vocabulary(tokenizer, tuple(each for each in stops if each is not None))
        wrapped = llguidance.TokenizerWrapper(known)
        self._library = llguidance.LLTokenizer(wrapped, len(known.tokens), known.stop_ids)
        self._tokenizer = tokenizer
        self._answers = HarmonyAnswers(tokenizer.control)

    def takes(
        self,
        script: str,
        *,
        use: ToolUse | None = None,
        only: str = "",
        content: Format | None = None,
    ) -> bool:
        """Whether `script` is a whole answer."""
        box = None if use is None else Toolbox(tools=TOOLS, use=use, only=only)
        request = Request(
            id="r",
            model="m",
            messages=(Message(role=Role.USER, content="hi"),),
            sampling=SamplingParams(),
            toolbox=box,
            format=content,
        )
        grammar = self._answers.grammar(request, is_thinking=False)
        matcher = llguidance.LLMatcher(self._library, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        ids = ids_of(self._tokenizer, script)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@pytest.fixture(scope="module")
def judge(tokenizer: Tokenizer) -> Judge:
    return Judge(tokenizer)


def test_nothing_asked_is_no_grammar(tokenizer: Tokenizer) -> None:
    request = Request(id="r", model="m", sampling=SamplingParams())
    assert HarmonyAnswers(tokenizer.control).grammar(request, is_thinking=False) == ""


@pytest.mark.parametrize("call", [*CALLS, NOW])
@pytest.mark.parametrize("use", [ToolUse.AUTO, ToolUse.REQUIRED])
def test_calls_are_taken_with_their_header_in_either_order(
    judge: Judge, call: str, use: ToolUse
) -> None:
    assert judge.takes(call, use=use)
    assert judge.takes(THOUGHT + THOUGHT + call, use=use)


def test_calls_are_held_to_tools_and_schemas(judge: Judge) -> None:
    for use in (ToolUse.AUTO, ToolUse.REQUIRED):
        assert not judge.takes(CALLS[0].replace("add", "sub"), use=use)
        assert not judge.takes(CALLS[0].replace("1", '"x"'), use=use)
        assert not judge.takes(CALLS[0].removesuffix("}"), use=use)
        assert not judge.takes(CALLS[0].replace("functions.", ""), use=use)
    assert judge.takes(CALLS[0], use=ToolUse.REQUIRED, only="add")
    assert not judge.takes(NOW, use=ToolUse.REQUIRED, only="add")


def test_text_is_free_unless_a_call_is_required(judge: Judge) -> None:
    for script in (FINAL, f"{FINAL}Yes {{", f"{THOUGHT}{PREAMBLE}{FINAL}Yes"):
        assert judge.takes(script, use=ToolUse.AUTO)
        assert not judge.takes(script, use=ToolUse.REQUIRED)
    assert judge.takes(PREAMBLE + CALLS[0], use=ToolUse.AUTO)
    assert not judge.takes(PREAMBLE + CALLS[0], use=ToolUse.REQUIRED)
    assert not judge.takes("Yes", use=ToolUse.AUTO)


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        (JsonFormat(schema=NUMBERS, strict=True), '{"a": 1}', '{"a": "x"}'),
        (RegexFormat(pattern="a/b+"), "a/bb", "a/c"),
        (LarkFormat(grammar='start: "yes" | "no"'), "no", "maybe"),
    ],
)
def test_a_format_holds_for_the_final_channel_alone(
    judge: Judge, form: Format, right: str, wrong: str
) -> None:
    assert judge.takes(FINAL + right, content=form)
    assert judge.takes(THOUGHT + FINAL + right, content=form)
    assert not judge.takes(THOUGHT + FINAL + wrong, content=form)
    assert not judge.takes(right, content=form)
    assert not judge.takes(PREAMBLE + FINAL + right, content=form)
    assert judge.takes(THOUGHT + FINAL + right, content=form, use=ToolUse.AUTO)
    assert judge.takes(THOUGHT + CALLS[0], content=form, use=ToolUse.AUTO)
    assert not judge.takes(THOUGHT + FINAL + wrong, content=form, use=ToolUse.AUTO)
    assert not judge.takes(FINAL + right, content=form, use=ToolUse.REQUIRED)
    assert judge.takes(FINAL + right, content=form, use=ToolUse.NONE)
