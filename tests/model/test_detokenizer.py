"""Any way of cutting the tokens gives the text that decoding all at once gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model import Detokenizer, Tokenizer
from tests.tiny_folder import VOCAB, byte_level_tokenizer

KNOWN = byte_level_tokenizer().get_vocab_size()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file: Path = tmp_path_factory.mktemp("t") / "tokenizer.json"
    byte_level_tokenizer().save(str(file))
    return Tokenizer(file, vocab_size=VOCAB)


@given(st.lists(st.lists(st.integers(0, KNOWN - 1), max_size=5), max_size=12))
def test_pushed_in_any_pieces_equals_decoding_all_at_once(
    tokenizer: Tokenizer, pieces: list[list[int]]
) -> None:
    detokenizer = Detokenizer(tokenizer)
    text = "".join([detokenizer.push(piece) for piece in pieces]) + detokenizer.flush()
    whole = [token_id for piece in pieces for token_id in piece]
    assert text == byte_level_tokenizer().decode(whole, skip_special_tokens=True)


@given(st.text())
def test_each_push_gives_whole_characters_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    detokenizer = Detokenizer(tokenizer)
    given_so_far = ""
    for token_id in tokenizer.encode_text(text):
        given_so_far += detokenizer.push([token_id])
        assert text.startswith(given_so_far)
    assert given_so_far == text
    assert detokenizer.flush() == ""


def test_a_character_waits_for_its_last_byte(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.encode_text(c)[0] for c in "a"] + tokenizer.encode_text("😀")
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push([i]) for i in ids] == ["a", "", "", "", "😀"]
    assert detokenizer.push_each(ids) == ["a", "", "", "", "😀"]


def test_a_broken_tail_becomes_a_replacement_character(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert detokenizer.push(tokenizer.encode_text("a😀")[:-1]) == "a"
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_control_tokens_and_unused_ids_write_nothing(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    first, *rest = tokenizer.encode_text("é")
    assert detokenizer.push([first, *sorted(tokenizer.control.ids), VOCAB - 1]) == ""
    assert detokenizer.push(rest) == "é"
