"""Thoughts told from answers, however the text is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.reasoning import ReasoningMarks, ReasoningReader, reasoning_marks_of

MARKS = ReasoningMarks(opening="<think>", closing="</think>")


def read(pieces: list[str], *, is_open: bool = False) -> tuple[str, str]:
    reader = ReasoningReader(MARKS, is_open=is_open)
    said = [*map(reader.push, pieces), reader.flush()]
    return "".join(piece.reasoning for piece in said), "".join(piece.text for piece in said)


@given(
    thought=st.text("ab <>/think", max_size=20).filter(lambda t: "</think>" not in t),
    answer=st.text("ab <>/think\n", max_size=20),
    is_open=st.booleans(),
    places=st.lists(st.integers(0, 80)),
)
def test_a_thought_and_its_answer_are_told_apart(
    thought: str, answer: str, is_open: bool, places: list[int]
) -> None:
    whole = ("" if is_open else "<think>") + f"\n{thought}\n</think>\n\n{answer}"
    bounds = sorted({0, len(whole), *(place for place in places if place <= len(whole))})
    got = read([whole[a:b] for a, b in itertools.pairwise(bounds)], is_open=is_open)
    assert got == (thought, answer.lstrip("\n"))


@pytest.mark.parametrize("text", ["Hello", "<thin air", " <b>", ""])
def test_an_answer_without_a_thought_is_all_text(text: str) -> None:
    assert read(list(text)) == ("", text)


def test_a_thought_that_is_cut_off_is_no_answer() -> None:
    assert read(["<think>", "I wonder"]) == ("I wonder", "")


def test_a_prompt_may_have_opened_the_thought() -> None:
    assert MARKS.is_open("<|im_start|>assistant\n<think>\n")
    assert not MARKS.is_open("<think>\n\n</think>\n\n")
    assert not MARKS.is_open("assistant\n")


def test_the_marks_are_found_from_the_template() -> None:
    assert reasoning_marks_of("… '</think>' in content …") == MARKS
    assert reasoning_marks_of("{{ messages[0].content }}") is None
