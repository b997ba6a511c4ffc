"""Answers in harmony told apart: by channel and recipient, whatever a model makes of the format."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.answer import Answer
from headrace.gateway.local import new_call_id
from headrace.model import Tokenizer
from headrace.model.harmony_answers import HarmonyAnswers
from headrace.model.harmony_template import HarmonyTemplate
from headrace.types import (
    FinishReason,
    Message,
    Reasoning,
    ReasoningFormat,
    Request,
    Role,
    TokenEvent,
    Tool,
    Toolbox,
    ToolCall,
)
from tests.gateway.test_answer import ASKED, tokens
from tests.gateway.test_told_apart import told
from tests.harmony_folder import CONTROL, harmony_tokenizer, ids_of, today
from tests.tiny_folder import VOCAB

TOOLBOX = Toolbox(tools=(Tool(name="add", description="", parameters={}, strict=False),))
THOUGHT = "<|channel|>analysis<|message|>We add. 水<|end|><|start|>assistant"
CALL = " to=functions.add<|channel|>commentary <|constrain|>json<|message|>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("h")
    return harmony_tokenizer(folder)


def asked(
    *,
    tools: bool = True,
    shown: ReasoningFormat = ReasoningFormat.PARSED,
    logprobs: int | None = None,
    stop: tuple[str, ...] = (),
) -> Request:
    return replace(
        ASKED,
        messages=(Message(role=Role.USER, content="?"),),
        prompt=None,
        toolbox=TOOLBOX if tools else None,
        reasoning=Reasoning(format=shown),
        logprobs=logprobs,
        stop=stop,
    )


def play(
    tokenizer: Tokenizer,
    script: str | list[int],
    request: Request | None = None,
    *,
    cuts: tuple[int, ...] = (),
    finish: str = "stop",
) -> list[TokenEvent]:
    request = request or asked()
    ids = ids_of(tokenizer, script) if isinstance(script, str) else script
    answers = HarmonyAnswers(tokenizer.control)
    reader = answers.reader(request, new_call_id, is_thinking=False)
    answer = Answer(tokenizer, request, prompt_tokens=1, reader=reader)
    bounds = sorted({0, len(ids), *(cut for cut in cuts if cut <= len(ids))})
    events: list[TokenEvent] = []
    for start, end in itertools.pairwise(bounds):
        events += answer.events(tokens(ids[start:end], start, finish if end == len(ids) else None))
        if events[-1].finish is not None:
            break
    return events


@given(cuts=st.lists(st.integers(1, 90)).map(tuple))
def test_a_whole_answer_is_told_apart(tokenizer: Tokenizer, cuts: tuple[int, ...]) -> None:
    preamble = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
    events = play(tokenizer, f'{THOUGHT}{preamble}{CALL}{{"a": 1}}<|call|>', cuts=cuts)
    assert told(events) == ("We add. 水", "I look.", [("add", '{"a": 1}')])
    assert events[-1].finish is FinishReason.TOOL_CALLS


def test_arguments_stream_as_they_are_written(tokenizer: Tokenizer) -> None:
    script = f'{CALL}{{"a": 12}}<|call|>'
    cuts = tuple(range(1, len(ids_of(tokenizer, script))))
    pieces = [piece for event in play(tokenizer, script, cuts=cuts) for piece in event.calls]
    assert [(piece.index, piece.name) for piece in pieces[:2]] == [(0, "add"), (0, "")]
    assert pieces[0].id
    assert [piece.arguments for piece in pieces] == ["", *'{"a": 12}']


SAME = pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("<|channel|>final<|message|>Yes.<|return|>", ("", "Yes.", [])),
        (f"{THOUGHT}<|channel|>final<|message|>Yes.<|return|>", ("We add. 水", "Yes.", [])),
        # the recipient after the channel, and the kind without its token
        (
            "<|channel|>commentary to=functions.add json<|message|>{}<|call|>",
            ("", "", [("add", "{}")]),
        ),
        ("<|channel|>commentary to=functions.add <|message|>{}<|call|>", ("", "", [("add", "{}")])),
        ("<|channel|>analysis to=functions.add<|message|>{}<|call|>", ("", "", [("add", "{}")])),
        # no format at all
        ("Yes, we can.", ("", "Yes, we can.", [])),
        ("Yes<|return|>", ("", "Yes", [])),
        (" to be", ("", " to be", [])),
        ("<|message|>Yes<|end|>", ("", "Yes", [])),
        # a message that was not ended, or not begun
        (
            "<|channel|>analysis<|message|>Hm<|channel|>final<|message|>Yes",
            ("Hm", "Yes", []),
        ),
        (
            "<|channel|>analysis<|message|>Hm<|start|>assistant<|channel|>final<|message|>Yes",
            ("Hm", "Yes", []),
        ),
        (
            "<|channel|>analysis<|message|>Hm<|end|><|channel|>final<|message|>Yes",
            ("Hm", "Yes", []),
        ),
        ("<|channel|>analysis<|message|>Hm<|end|>Yes, so", ("Hm", "Yes, so", [])),
        # tokens of headers where there is none
        ("<|channel|>final<|message|>a<|message|>b<|constrain|>c", ("", "abc", [])),
        ("<|end|><|return|><|call|><|channel|>final<|message|>a", ("", "a", [])),
        # channels and recipients that are not there
        ("<|channel|>other<|message|>a", ("", "a", [])),
        ("<|channel|>commentary to=python<|message|>a", ("", "a", [])),
        ("<|channel|>analysis to=python<|message|>a", ("a", "", [])),
        # nobody else speaks in an answer
        ("<|end|><|start|>user<|message|>No?<|end|>", ("", "", [])),
        # a header that never ends
        (f"<|channel|>final{'x' * 300}", ("", "x" * 300, [])),
        (f"<|channel|>analysis{'x' * 300}", ("x" * 300, "", [])),
        ("<|start|>assistant is a word", ("", " is a word", [])),
        # cut off
        (f'{THOUGHT}{CALL}{{"a', ("We add. 水", "", [("add", '{"a')])),
        (THOUGHT, ("We add. 水", "", [])),
        ("<|channel|>fin", ("", "", [])),
        ("", ("", "", [])),
    ],
)


@SAME
def test_what_breaks_the_rules_is_read_all_the_same(
    tokenizer: Tokenizer, script: str, expected: tuple[str, str, list[tuple[str, str]]]
) -> None:
    ids = ids_of(tokenizer, script) or [tokenizer.control.id_of("<|endoftext|>") or 0]
    assert told(play(tokenizer, ids)) == expected
    assert told(play(tokenizer, ids, cuts=tuple(range(len(ids))))) == expected


@pytest.mark.guards("D56")
@given(text=st.lists(st.sampled_from(CONTROL) | st.text(max_size=5), max_size=6).map("".join))
def test_text_that_spells_control_tokens_stays_in_its_message(
    tokenizer: Tokenizer, text: str
) -> None:
    """A model that repeats what a user wrote does not change channel by it."""
    ids = [
        *ids_of(tokenizer, "<|channel|>final<|message|>"),
        *tokenizer.encode_inner(text),
        *ids_of(tokenizer, "<|return|>"),
    ]
    assert told(play(tokenizer, ids)) == ("", text, [])


def test_a_character_that_is_cut_by_a_control_token_does_not_swallow_it(
    tokenizer: Tokenizer,
) -> None:
    half = tokenizer.encode_inner("水")[:1]
    ids = [
        *ids_of(tokenizer, "<|channel|>analysis<|message|>"),
        *half,
        *ids_of(tokenizer, "<|end|><|start|>assistant<|channel|>final<|message|>Yes"),
    ]
    assert told(play(tokenizer, ids)) == ("\ufffd", "Yes", [])


def test_without_tools_a_call_is_text(tokenizer: Tokenizer) -> None:
    events = play(tokenizer, f"{CALL}{{}}<|call|>", asked(tools=False))
    assert told(events) == ("", "{}", [])
    assert events[-1].finish is FinishReason.STOP


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ReasoningFormat.PARSED, ("We add. 水", "Yes")),
        (ReasoningFormat.TEXT_PARSED, ("We add. 水", "Yes")),
        (ReasoningFormat.HIDDEN, ("", "Yes")),
        (ReasoningFormat.RAW, ("", "We add. 水Yes")),
    ],
)
def test_thoughts_go_where_they_are_wanted_and_are_counted(
    tokenizer: Tokenizer, shown: ReasoningFormat, expected: tuple[str, str]
) -> None:
    head = f"{THOUGHT}<|channel|>final<|message|>"
    events = play(tokenizer, f"{head}Yes<|return|>", asked(shown=shown))
    assert told(events)[:2] == expected
    usage = events[-1].usage
    assert usage is not None
    assert usage.reasoning_tokens == len(ids_of(tokenizer, head))


def test_log_probabilities_of_thoughts_stand_apart(tokenizer: Tokenizer) -> None:
    script = f"{THOUGHT}<|channel|>final<|message|>Yes<|return|>"
    events = play(tokenizer, script, asked(logprobs=1))
    beside = [entry.token for event in events for entry in event.logprobs]
    apart = [entry.token for event in events for entry in event.reasoning_logprobs]
    assert beside == ["Y", "e", "s"]
    assert len(apart) == len(ids_of(tokenizer, script)) - 4


def test_stop_strings_end_text_alone(tokenizer: Tokenizer) -> None:
    script = "<|channel|>analysis<|message|>END<|end|><|start|>assistant<|channel|>final<|message|>"
    events = play(tokenizer, f"{script}the END of it", asked(stop=("END",)))
    assert told(events)[:2] == ("END", "the ")
    assert events[-1].finish is FinishReason.STOP


def test_any_ten_thousand_streams_of_tokens_are_read(tokenizer: Tokenizer) -> None:
    """Random tokens, well-formed answers cut anywhere, and such with tokens changed."""
    draw = random.Random(8)
    control = sorted(tokenizer.control.ids)
    whole = ids_of(
        tokenizer,
        f"{THOUGHT}<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
        f'{CALL}{{"a": 1}}<|call|><|start|>assistant<|channel|>final<|message|>Yes<|return|>',
    )
    for number in range(10_000):
        if number % 3 == 0:
            size = draw.randrange(1, 40)
            ids = [
                draw.choice(control) if draw.random() < 0.4 else draw.randrange(VOCAB)
                for _ in range(size)
            ]
        else:
            ids = whole[: draw.randrange(1, len(whole) + 1)]
        if number % 3 == 1:
            for _ in range(draw.randrange(1, 6)):
                ids[draw.randrange(len(ids))] = draw.choice([*control, draw.randrange(VOCAB)])
        cuts = tuple(draw.sample(range(1, 60), draw.randrange(4)))
        request = asked(tools=draw.random() < 0.8)
        events = play(tokenizer, ids, request, cuts=cuts, finish="length")
        told(events)
        assert events[-1].finish is FinishReason.LENGTH
        assert sum(len(event.token_ids) for event in events) == len(ids)


TEXT = st.text(min_size=1, max_size=20)


@given(thought=st.text(max_size=20), text=TEXT, has_call=st.booleans(), arguments=TEXT)
def test_an_answer_is_what_it_was_after_it_was_history(
    tokenizer: Tokenizer, thought: str, text: str, has_call: bool, arguments: str
) -> None:
    """Told apart, sent back by the client, rendered, and told apart again."""
    calls = (ToolCall(id="c", name="add", arguments=arguments),) if has_call else ()
    message = Message(
        role=Role.ASSISTANT,
        content=text,
        reasoning=thought if has_call else "",  # of a final answer it is not shown again
        tool_calls=calls,
    )
    template = HarmonyTemplate(tokenizer, now=today)
    question = Message(role=Role.USER, content="?")
    before = len(template.render_ids([question]))  # with the role, which an answer goes on from
    ids = template.render_ids([question, message], add_generation_prompt=False)
    events = play(tokenizer, ids[before:])
    assert told(events) == (message.reasoning, text, [("add", arguments)] if has_call else [])
