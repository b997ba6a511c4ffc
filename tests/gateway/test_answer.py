"""One choice, token by token: its text, and log-probabilities that follow it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.messages import TokenLogprobs, Tokens
from headrace.gateway.answer import Answer
from headrace.model import Tokenizer
from headrace.types import FinishReason, Request, SamplingParams, TokenEvent, TokenLogprob
from tests.tiny_folder import VOCAB, byte_level_tokenizer

ASKED = Request(id="r", model="m", sampling=SamplingParams())
KNOWN = byte_level_tokenizer().get_vocab_size()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file: Path = tmp_path_factory.mktemp("t") / "tokenizer.json"
    byte_level_tokenizer().save(str(file))
    return Tokenizer(file, vocab_size=VOCAB)


def tokens(ids: list[int], first: int = 0, finish: str | None = None) -> Tokens:
    """The i-th token of an answer has log-probability -i."""
    return Tokens(
        id="r",
        token_ids=tuple(ids),
        cached_tokens=0,
        finish=finish,
        queue_s=0,
        prompt_s=0,
        completion_s=0,
        logprobs=tuple(
            TokenLogprobs(chosen=float(-first - i), top=((ids[i], float(-first - i)), (0, -99.0)))
            for i in range(len(ids))
        ),
    )


def play(
    tokenizer: Tokenizer,
    pieces: list[list[int]],
    *,
    stop: tuple[str, ...] = (),
    finish: str = "length",
    has_logprobs: bool = True,
) -> list[TokenEvent]:
    asked = replace(ASKED, stop=stop, logprobs=1 if has_logprobs else None)
    answer = Answer(tokenizer, asked, prompt_tokens=1)
    events: list[TokenEvent] = []
    first = 0
    for i, piece in enumerate(pieces):
        is_last = i == len(pieces) - 1
        events += answer.events(tokens(piece, first, finish if is_last else None))
        first += len(piece)
        if events[-1].finish is not None:
            break
    return events


def entries(events: list[TokenEvent]) -> list[TokenLogprob]:
    return [entry for event in events for entry in event.logprobs]


def text(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events)


def one_by_one(ids: list[int]) -> list[list[int]]:
    return [[token_id] for token_id in ids]


@given(
    ids=st.lists(st.integers(0, KNOWN - 1), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29)),
)
def test_any_cut_of_the_tokens_loses_no_entry(
    tokenizer: Tokenizer, ids: list[int], cuts: set[int]
) -> None:
    bounds = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    pieces = [ids[a:b] for a, b in pairwise(bounds)]
    found = entries(play(tokenizer, pieces))
    assert [entry.logprob for entry in found] == [float(-i) for i in range(len(ids))]
    assert [entry.data or b"" for entry in found] == [tokenizer.token_bytes(i) for i in ids]
    assert found == entries(play(tokenizer, [ids]))
    assert all(entry.top[0].data == entry.data for entry in found)
    assert all(len(entry.top) == 2 for entry in found)


@given(
    written=st.text("ab😀é", max_size=20),
    stop=st.lists(st.text("ab😀", min_size=1, max_size=4), max_size=3),
)
def test_entries_spell_the_text_and_what_their_last_token_says_beyond_it(
    tokenizer: Tokenizer, written: str, stop: list[str]
) -> None:
    ids = [*tokenizer.encode_text(written), *tokenizer.encode_text("!")]
    events = play(tokenizer, one_by_one(ids), stop=tuple(stop))
    whole = b"".join(entry.data or b"" for entry in entries(events))
    assert whole.startswith(text(events).encode())
    if events[-1].finish is FinishReason.LENGTH:
        assert whole.decode() == text(events) == written + "!"
    else:
        before = b"".join(entry.data or b"" for entry in entries(events)[:-1])
        assert len(before) < len(text(events).encode()) or not entries(events)
    delivered = 0
    for event in events[:-1]:
        delivered += len(event.text)
        assert bool(event.logprobs) <= bool(event.text), "entries go with their text"


def test_half_characters_carry_their_bytes_and_go_out_with_the_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_text("a😀")
    events = play(tokenizer, one_by_one(ids))
    assert [event.text for event in events] == ["a", "", "", "", "😀"]
    assert [len(event.logprobs) for event in events] == [1, 0, 0, 0, 4]
    found = entries(events)[1:]
    assert b"".join(entry.data or b"" for entry in found) == "😀".encode()
    assert {entry.token for entry in found} == {"\ufffd"}


def test_tokens_behind_a_stop_string_have_no_entry(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_text("a") + tokenizer.encode_text("b") + tokenizer.encode_text("a")
    stopped = play(tokenizer, one_by_one(ids), stop=("ba",))
    assert text(stopped) == "a"
    assert [entry.token for entry in entries(stopped)] == ["a"]
    assert stopped[-1].finish is FinishReason.STOP
    assert stopped[-1].usage is not None
    assert stopped[-1].usage.completion_tokens == 3, "what was drawn is counted all the same"
    held = play(tokenizer, one_by_one(ids[:2]), stop=("ba",))
    assert [event.text for event in held] == ["a", "b"], "no match after all"
    assert [len(event.logprobs) for event in held] == [1, 1]


def test_the_token_that_ends_the_turn_has_no_entry_and_others_like_it_do(
    tokenizer: Tokenizer,
) -> None:
    control = min(tokenizer.control.ids)
    (letter,) = tokenizer.encode_text("a")
    ids = [letter, control, letter, control]
    found = entries(play(tokenizer, one_by_one(ids), finish="stop"))
    assert [entry.token for entry in found] == ["a", tokenizer.control.spelling(control), "a"]
    assert [entry.data for entry in found] == [b"a", None, b"a"]
    assert len(entries(play(tokenizer, one_by_one(ids), finish="length"))) == 4
    assert entries(play(tokenizer, [[control]], finish="stop")) == []


@given(
    ids=st.lists(st.integers(0, KNOWN - 1), min_size=1, max_size=30),
    cuts=st.sets(st.integers(1, 29)),
    stop=st.lists(st.text("ab", min_size=1, max_size=2), max_size=2),
    has_logprobs=st.booleans(),
)
def test_tokens_of_one_message_are_told_one_by_one(
    tokenizer: Tokenizer, ids: list[int], cuts: set[int], stop: list[str], has_logprobs: bool
) -> None:
    """Where messages begin and end nobody can see."""
    bounds = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    pieces = [ids[a:b] for a, b in pairwise(bounds)]
    alone = play(tokenizer, one_by_one(ids), stop=tuple(stop), has_logprobs=has_logprobs)
    together = play(tokenizer, pieces, stop=tuple(stop), has_logprobs=has_logprobs)
    assert all(len(event.token_ids) == 1 and not event.parts for event in alone)
    if has_logprobs:
        assert together == alone
        return
    assert len(together) <= len(pieces)
    assert parts(together) == [event.text for event in alone]
    assert text(together) == text(alone)
    assert [i for e in together for i in e.token_ids] == [i for e in alone for i in e.token_ids]
    assert (together[-1].finish, together[-1].usage) == (alone[-1].finish, alone[-1].usage)


def parts(events: list[TokenEvent]) -> list[str]:
    return [part for event in events for part in event.parts or (event.text,)]
