"""Thoughts, text and calls told apart in a stream of tokens."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.answer import Answer
from headrace.gateway.local import new_call_id
from headrace.model import Tokenizer
from headrace.model.json_calls import HERMES, LLAMA3
from headrace.model.marked_reader import MarkedReader
from headrace.model.reasoning import ReasoningMarks, ReasoningReader
from headrace.model.tool_format import ToolFormat
from headrace.types import FinishReason, ReasoningFormat, TokenEvent
from tests.gateway.test_answer import ASKED, tokens
from tests.tiny_folder import VOCAB, byte_level_tokenizer

THINK = ReasoningMarks(opening="<think>", closing="</think>")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file: Path = tmp_path_factory.mktemp("t") / "tokenizer.json"
    byte_level_tokenizer().save(str(file))
    return Tokenizer(file, vocab_size=VOCAB)


def play(
    tokenizer: Tokenizer,
    text: str,
    *,
    form: ToolFormat | None = None,
    thinks: bool = False,
    shown: ReasoningFormat = ReasoningFormat.PARSED,
    stop: tuple[str, ...] = (),
    finish: str = "stop",
    cuts: tuple[int, ...] = (),
    has_logprobs: bool = False,
) -> list[TokenEvent]:
    reader = MarkedReader(
        thoughts=ReasoningReader(THINK, is_open=False) if thinks else None,
        calls=form.reader(new_call_id) if form else None,
        reasoning_format=shown,
    )
    asked = replace(ASKED, stop=stop, logprobs=1 if has_logprobs else None)
    answer = Answer(tokenizer, asked, prompt_tokens=1, reader=reader)
    ids = tokenizer.encode_text(text)
    bounds = sorted({0, len(ids), *(cut for cut in cuts if cut <= len(ids))})
    events: list[TokenEvent] = []
    for start, end in itertools.pairwise(bounds):
        events += answer.events(tokens(ids[start:end], start, finish if end == len(ids) else None))
        if events[-1].finish is not None:
            break
    return events


def told(events: list[TokenEvent]) -> tuple[str, str, list[tuple[str, str]]]:
    calls: list[tuple[str, str]] = []
    for piece in (piece for event in events for piece in event.calls):
        if piece.id:
            calls.append((piece.name, ""))
        name, arguments = calls[piece.index]
        calls[piece.index] = (name, arguments + piece.arguments)
    text = "".join(event.text for event in events)
    return "".join(event.reasoning for event in events), text, calls


@given(cuts=st.lists(st.integers(1, 80)).map(tuple))
def test_a_whole_answer_is_told_apart(tokenizer: Tokenizer, cuts: tuple[int, ...]) -> None:
    text = (
        "<think>\nwhich tool? 水\n</think>\n\nLet me see."
        '<tool_call>\n{"name": "look", "arguments": {"what": "}"}}\n</tool_call>'
    )
    events = play(tokenizer, text, form=HERMES, thinks=True, cuts=cuts)
    reasoning, said, calls = told(events)
    assert (reasoning, said) == ("which tool? 水", "Let me see.")
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [("look", {"what": "}"})]
    assert events[-1].finish is FinishReason.TOOL_CALLS
    usage = events[-1].usage
    assert usage is not None
    assert usage.completion_tokens == len(tokenizer.encode_text(text))
    assert 0 < usage.reasoning_tokens < usage.completion_tokens


def test_a_call_that_is_cut_off_ends_by_length(tokenizer: Tokenizer) -> None:
    text = '{"name": "look", "parameters": {"what": "a'
    events = play(tokenizer, text, form=LLAMA3, finish="length")
    assert events[-1].finish is FinishReason.LENGTH
    assert told(events)[2] == [("look", '{"what": "a')]


def test_stop_strings_end_text_and_mean_nothing_elsewhere(tokenizer: Tokenizer) -> None:
    text = '{"name": "END", "parameters": {"what": "END"}}'
    events = play(tokenizer, text, form=LLAMA3, stop=("END",))
    assert told(events)[2] == [("END", '{"what": "END"}')]
    events = play(tokenizer, "<think>\nEND\n</think>\n\nthe END of it", thinks=True, stop=("END",))
    assert told(events)[:2] == ("END", "the ")
    assert events[-1].finish is FinishReason.STOP


def test_a_hidden_thought_is_counted_all_the_same(tokenizer: Tokenizer) -> None:
    events = play(
        tokenizer, "<think>\nhm\n</think>\n\nYes", thinks=True, shown=ReasoningFormat.HIDDEN
    )
    assert told(events)[:2] == ("", "Yes")
    assert events[-1].usage is not None
    assert events[-1].usage.reasoning_tokens > 0


def test_ids_are_what_every_template_takes() -> None:
    ids = {new_call_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(found) == 9 and found.isalnum() for found in ids)


@pytest.mark.parametrize(
    ("shown", "apart", "beside"),
    [
        (ReasoningFormat.PARSED, "<think>Hm.</think>", "Yes."),
        (ReasoningFormat.TEXT_PARSED, "", "<think>Hm.</think>Yes."),
        (ReasoningFormat.HIDDEN, "", "Yes."),
    ],
)
def test_log_probabilities_of_a_thought_go_where_it_goes(
    tokenizer: Tokenizer, shown: ReasoningFormat, apart: str, beside: str
) -> None:
    events = play(
        tokenizer,
        "<think>Hm.</think>Yes.",
        thinks=True,
        shown=shown,
        has_logprobs=True,
        finish="length",
    )
    thought = [entry.token for event in events for entry in event.reasoning_logprobs]
    rest = [entry.token for event in events for entry in event.logprobs]
    # Until a mark is whole nobody knows that it is one; what it began with may be of the text.
    assert "".join(thought).endswith(apart[-11:])
    assert "".join(rest).endswith(beside)
    assert "Hm" not in "".join(rest) or shown is ReasoningFormat.TEXT_PARSED
    assert "Hm" not in "".join(thought) or shown is ReasoningFormat.PARSED
    assert "Yes" not in "".join(thought)
