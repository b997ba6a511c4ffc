"""Twice the text is twice the work: counted in what the tokenizing library is asked to read.

How its own time grows is `benchmarks/bench_tokenize.py`'s to say.
"""

from typing import Any

import pytest

from headrace.model import LanguageModel, bundled_model, open_model
from headrace.types import Message, Role

REPEATS = ("a", " ", "\n", "ab ", "é", "水", "<", "<|", "\ufdd0")


class Counted:
    """The library's tokenizer, counting the characters it is given and its calls."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.chars = self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, text: str, **options: Any) -> Any:
        self.chars, self.calls = self.chars + len(text), self.calls + 1
        return self._inner.encode(text, **options)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        self.chars, self.calls = self.chars + sum(map(len, texts)), self.calls + 1
        return self._inner.encode_batch_fast(texts, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[LanguageModel, Counted]:
    model = open_model(bundled_model())
    reader = Counted(model.tokenizer._fast)
    monkeypatch.setattr(model.tokenizer, "_fast", reader)
    monkeypatch.setattr(model.tokenizer, "_inner", None)
    return model, reader


@pytest.mark.guards("D57")
@pytest.mark.parametrize("piece", [*REPEATS, "spelling"])
def test_each_character_is_read_once(counted: tuple[LanguageModel, Counted], piece: str) -> None:
    model, reader = counted
    piece = model.tokenizer.control.spellings[0] if piece == "spelling" else piece
    for times in (500, 5_000):  # both ways of calling the library
        text = piece * times
        reader.chars = reader.calls = 0
        model.tokenizer.encode_text(text)
        assert (reader.chars, reader.calls) == (len(text), 1)
        reader.chars = reader.calls = 0
        model.chat_template.render_ids([Message(role=Role.USER, content=f"x{text}x")])
        assert len(text) <= reader.chars <= len(text) + 200
        assert reader.calls <= 10
