"""Tool calls written as Python, however the text is cut."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.tool_formats import PYTHONIC
from tests.model.test_json_calls import JSON, cut, read, reader_of

KEYWORD = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
CALLS = st.lists(
    st.tuples(KEYWORD, st.dictionaries(KEYWORD, JSON, max_size=3)), min_size=1, max_size=3
)


def written(calls: list[tuple[str, dict[str, Any]]]) -> str:
    def value(of: object) -> str:
        return repr(of) if of is None or isinstance(of, bool) else json.dumps(of)

    said = [
        f"{name}({', '.join(f'{key}={value(of)}' for key, of in keywords.items())})"
        for name, keywords in calls
    ]
    return f"[{', '.join(said)}]"


@given(calls=CALLS, places=st.lists(st.integers(0, 300)))
def test_calls_come_out_as_json(calls: list[tuple[str, dict[str, Any]]], places: list[int]) -> None:
    text, got = read(reader_of(PYTHONIC), cut(written(calls), places))
    assert text == ""
    assert [(name, json.loads(arguments)) for _, name, arguments in got] == calls


@given(text=st.text("ab[](),= '\"\n1", max_size=30).filter(lambda t: "(" not in t))
def test_what_is_no_call_stays_text(text: str) -> None:
    whole, calls = read(reader_of(PYTHONIC), list(text))
    assert calls == []
    assert whole == text or text.strip() == ""


def test_python_spellings_of_values_become_json() -> None:
    answer = "[f(a=True, b=None, c='it''s', d=(1, 2))]"
    _, ((_, _, arguments),) = read(reader_of(PYTHONIC), [answer])
    assert json.loads(arguments) == {"a": True, "b": None, "c": "its", "d": [1, 2]}


def no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


@pytest.mark.guards("D59")
@pytest.mark.parametrize(
    "value",
    [
        "os.system('x')",
        "__import__('pathlib').Path('{}/run').touch()",
        "[__import__('pathlib').Path('{}/run').touch()]",
        "(lambda: open('{}/run', 'w'))()",
        "NaN",
        "-Infinity",
        "[NaN]",
        "{{1, 2}}",
        "[" * 300 + "]" * 300 + "+",
    ],
)
def test_what_is_no_value_is_given_as_text_and_never_run(value: str, tmp_path: Path) -> None:
    value = value.format(tmp_path) if "{" in value else value
    _, ((_, _, arguments),) = read(reader_of(PYTHONIC), [f"[f(a={value})]"])
    assert json.loads(arguments, parse_constant=no_json) == {"a": value}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.guards("D59")
@given(value=st.text("\"'\\[]{}():,=1eNaInf.-_ \n", max_size=20))
def test_arguments_are_json_whatever_is_written(value: str) -> None:
    _, calls = read(reader_of(PYTHONIC), [f"[f(a={value})]"])
    for _, _, arguments in calls:
        if arguments.endswith("}"):
            json.loads(arguments, parse_constant=no_json)
