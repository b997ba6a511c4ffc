"""For every tokenizer that is here: a caller's text is text, whatever it spells, to the letter."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.model import ChatTemplate, Detokenizer, LanguageModel, bundled_model, open_model
from headrace.types import Message, Role

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = {
    folder.name: folder
    for folder in (bundled_model(), *sorted(GOLDEN.iterdir()))
    if (folder / "tokenizer.json").exists()
}


@cache
def model(name: str) -> LanguageModel:
    return open_model(FOLDERS[name])


def decode(name: str, ids: list[int]) -> str:
    detokenizer = Detokenizer(model(name).tokenizer)
    return detokenizer.push(ids) + detokenizer.flush()


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, str]:
    """A tokenizer, and a text likely to spell, half-spell or join its control tokens."""
    name = draw(st.sampled_from(sorted(FOLDERS)))
    spellings = sorted(model(name).tokenizer.control.spellings)
    halves = [part for s in spellings for part in (s[:-1], s[1:])]
    pieces = st.sampled_from([*spellings, *halves, " ", "\n", "a", "é", "水", "\ufdd0", "\ufdd1"])
    text = draw(st.one_of(st.text(), st.lists(pieces, max_size=10).map("".join)))
    return name, text


@pytest.mark.guards("D56")
@given(case=texts())
def test_it_comes_back_and_holds_no_control_token(case: tuple[str, str]) -> None:
    name, text = case
    tokenizer = model(name).tokenizer
    ids = tokenizer.encode_text(text)
    assert tokenizer.control.ids.isdisjoint(ids)
    assert decode(name, ids) == text


@pytest.mark.guards("D56")
@given(case=texts(), role=st.sampled_from([Role.SYSTEM, Role.USER, Role.ASSISTANT]))
def test_no_message_adds_a_control_token_to_a_prompt(case: tuple[str, str], role: Role) -> None:
    name, text = case
    chat, control = model(name).chat_template, model(name).tokenizer.control
    assume(isinstance(chat, ChatTemplate) and chat.source)

    def control_ids(said: str) -> list[int]:
        question = Message(role=Role.USER, content="x")
        messages = {
            Role.SYSTEM: [Message(role=role, content=said), question],
            Role.USER: [Message(role=role, content=said)],
            Role.ASSISTANT: [question, Message(role=role, content=said), question],
        }[role]
        return [i for i in chat.render_ids(messages) if i in control.ids]

    assert control_ids(f"x{text}x") == control_ids("x")
