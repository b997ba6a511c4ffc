"""Tool calls written as JSON objects, however the text is cut."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.json_calls import HERMES, LLAMA3, MISTRAL, JsonCalls
from headrace.model.tool_format import CallReader, ToolFormat
from headrace.model.tool_formats import tool_format_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(
        st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True),
        st.dictionaries(st.text(max_size=6), JSON, max_size=3),
    ),
    min_size=1,
    max_size=3,
)
Read = tuple[str, list[tuple[str, str, str]]]  # text; id, name and arguments of each call


def read(reader: CallReader, pieces: list[str]) -> Read:
    """What `reader` makes of an answer that comes in `pieces`."""
    text, calls = "", list[list[str]]()
    for said in (*map(reader.push, pieces), reader.flush()):
        text += said.text
        for piece in said.calls:
            if piece.id:
                assert piece.index == len(calls)
                calls.append([piece.id, piece.name, ""])
            calls[piece.index][2] += piece.arguments
    assert reader.num_calls == len(calls)
    return text, [(id_, name, arguments) for id_, name, arguments in calls]


def reader_of(form: ToolFormat) -> CallReader:
    numbers = itertools.count()
    return form.reader(lambda: f"id{next(numbers)}")


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place for place in places if place <= len(text))})
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


def written(form: JsonCalls, calls: list[tuple[str, dict[str, Any]]]) -> str:
    """The calls as the family writes them."""
    objects = [
        f'{{"name": {json.dumps(name)}, "{form.arguments}": {json.dumps(arguments)}}}'
        for name, arguments in calls
    ]
    opening = "" if form.optional_opening else form.opening
    return opening + form.between.join(objects) + form.closing


@pytest.mark.parametrize("form", [LLAMA3, HERMES, MISTRAL], ids=lambda form: form.name)
@given(calls=CALLS, places=st.lists(st.integers(0, 400)))
def test_calls_come_out_as_they_went_in(
    form: JsonCalls, calls: list[tuple[str, dict[str, Any]]], places: list[int]
) -> None:
    text, got = read(reader_of(form), cut(written(form, calls), places))
    assert text == ""
    assert [(id_, name) for id_, name, _ in got] == [
        (f"id{number}", name) for number, (name, _) in enumerate(calls)
    ]
    assert [json.loads(arguments) for *_, arguments in got] == [asked for _, asked in calls]


@pytest.mark.parametrize("form", [LLAMA3, HERMES, MISTRAL], ids=lambda form: form.name)
@given(
    text=st.text('abc{}[]<>/_"\\: \ntoolcnamegus', max_size=60), places=st.lists(st.integers(0, 60))
)
def test_what_is_no_call_stays_text_to_the_letter(
    form: JsonCalls, text: str, places: list[int]
) -> None:
    whole, calls = read(reader_of(form), cut(text, places))
    assert calls == []
    assert whole == text or text.strip() == ""


def test_text_before_a_call_is_delivered_before_it() -> None:
    answer = "Let me look. " + written(HERMES, [("find", {"q": "mill"})])
    text, ((_, name, arguments),) = read(reader_of(HERMES), list(answer))
    assert (text, name, json.loads(arguments)) == ("Let me look. ", "find", {"q": "mill"})


def test_text_is_held_back_no_longer_than_it_may_be_a_mark() -> None:
    reader = reader_of(HERMES)
    assert [reader.push(piece).text for piece in ("a <", "tool", "s <b")] == ["a ", "", "<tools <b"]


def test_arguments_come_piece_by_piece() -> None:
    reader = reader_of(LLAMA3)
    pieces = ['{"name": "f", "parameters": {"a"', ': "x', 'y"}', "}"]
    heard = [[p.arguments for p in reader.push(piece).calls] for piece in pieces]
    assert heard == [["", '{"a"'], [': "x'], ['y"}'], []]


def test_a_call_that_is_cut_off_keeps_what_came() -> None:
    text, ((_, name, arguments),) = read(
        reader_of(HERMES), ['<tool_call>\n{"name": "f", "arguments": {"a": "no en']
    )
    assert (text, name, arguments) == ("", "f", '{"a": "no en')


def test_a_python_tag_opens_calls_too() -> None:
    text, calls = read(reader_of(LLAMA3), ['<|python_tag|>{"name": "f", "parameters": {}}'])
    assert (text, [name for _, name, _ in calls]) == ("", ["f"])


def test_white_space_and_another_word_for_arguments_are_taken() -> None:
    answer = '[TOOL_CALLS] [ { "name" : "f" , "parameters" : {"a": 1} } ]'
    _, ((_, name, arguments),) = read(reader_of(MISTRAL), [answer])
    assert (name, arguments) == ("f", '{"a": 1}')


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ '[TOOL_CALLS][' }}", "mistral"),
        ('<tool_call>\\n{"name": ', "hermes"),
        ("[func_name1(params_name1=params_value1...)]", "pythonic"),
        ('{"name": function name, "parameters": dictionary}', "llama3_json"),
        ("{{ messages[0].content }}", "hermes"),
    ],
)
def test_the_format_is_found_from_the_template(template: str, name: str) -> None:
    assert tool_format_of(template).name == name
