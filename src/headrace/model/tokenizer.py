"""The tokenizer of a checkpoint: text to token ids, token ids to bytes.

Wraps Hugging Face's `tokenizers` library. Text is always ordinary text here: a control token comes
out of `encode_rendered` only, for what a chat template wrote itself. Safe to share between threads.
"""

import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import cast

import tokenizers

from headrace.errors import CheckpointError, InvalidRequest
from headrace.model.control_tokens import ControlToken, ControlTokens
from headrace.model.json_file import check_size
from headrace.model.token_bytes import Decoding, decoding_of

LONG_TEXT_CHARS = 2_000  # from here the call that tracks no offsets is faster: 2-3x at 1 MiB
_SAMPLES = ("", " ", "Hello, world!\n", "é ﬁ 你好 🙂 \u0301")  # each of them is text it must take
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """One vocabulary, the rules that cut text into it, and its control tokens."""

    def __init__(
        self, file: Path, settings: Mapping[str, object] | None = None, *, vocab_size: int
    ) -> None:
        """`file`: a tokenizer.json; `settings`: tokenizer_config.json; `vocab_size`: the model's.

        Raises CheckpointError naming the file when it is missing, broken, larger than the model's
        vocabulary, or cannot write every text. Added tokens may lie beyond the vocabulary (Gemma
        3's for images, in models without): they are never fed.
        """
        self.vocab_size = vocab_size
        self._file = file
        with _panics_refused(file):
            self._open(settings or {})

    def _open(self, settings: Mapping[str, object]) -> None:
        self._fast = _load(self._file)
        self.special_names = _special_names(settings)
        for spelling in self.special_names.values():
            if self._fast.token_to_id(spelling) is not None:
                self._fast.add_special_tokens([spelling])  # pyright: ignore[reportUnknownMemberType]
        self._fast.encode_special_tokens = True  # spelled out in text, they stay text
        self._inner = _without_prefix(self._fast)
        self._check_size()
        added = self._fast.get_added_tokens_decoder()
        self.control = self._control_tokens(added)
        literal = {
            i: "" if t.special else t.content for i, t in added.items() if i < self.vocab_size
        }
        self._decoding = decoding_of(self._fast, literal, self.vocab_size, self._file)
        self._check_text_stays_text()

    @property
    def decoding(self) -> Decoding:
        """Each token id's bytes, and how an answer begins."""
        return self._decoding

    def token_bytes(self, token_id: int) -> bytes:
        """What token `token_id` (0 <= id < vocab_size) writes; nothing for a control token."""
        return self._decoding.pieces[token_id]

    def encode_text(self, text: str) -> list[int]:
        """`text` as ordinary tokens, whatever it spells.

        Raises InvalidRequest when the text has unpaired surrogates or spells a token that the model
        does not have.
        """
        return self._ordinary(text, is_start=True)

    def encode_inner(self, text: str) -> list[int]:
        """`text` as ordinary tokens, where it goes on from other text. Raises as `encode_text`."""
        return self._ordinary(text, is_start=False)

    def encode_prompt(self, text: str) -> list[int]:
        """`text` as ordinary tokens, between the control tokens that the checkpoint puts around it.

        Most put their bos token before a text and nothing behind it. Raises as `encode_text` does.
        """
        before, after = self._frame
        return [*before, *self.encode_text(text), *after]

    def spelling(self, token_id: int) -> str:
        """The vocabulary's own word for a token (0 <= id < vocab_size); "" for an unused id."""
        return self._fast.id_to_token(token_id) or ""

    def encode_rendered(self, rendered: str) -> list[int]:
        """Text from a chat template whose inputs went through `control.mask`.

        The control tokens the template wrote become control ids, all else ordinary tokens. Raises
        InvalidRequest as `encode_text` does, and for a control token that the model does not have.
        """
        ids: list[int] = []
        for piece in self.control.split(rendered):
            if isinstance(piece, ControlToken):
                ids.append(self._known(piece))
            else:
                ids += self._ordinary(piece, is_start=not ids)
        return ids

    def _control_tokens(self, added: Mapping[int, tokenizers.AddedToken]) -> ControlTokens:
        tokens = {
            token.content: ControlToken(
                id=token_id, spelling=token.content, lstrip=token.lstrip, rstrip=token.rstrip
            )
            for token_id, token in added.items()
            if token.special
        }
        try:
            return ControlTokens(tokens)
        except CheckpointError as exc:
            raise CheckpointError(f"{self._file}: {exc}") from exc

    def _ordinary(self, text: str, *, is_start: bool) -> list[int]:
        fast = self._fast if is_start or self._inner is None else self._inner
        try:
            if len(text) < LONG_TEXT_CHARS:
                ids = fast.encode(text, add_special_tokens=False).ids
            else:
                ids = fast.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except TypeError as exc:
            raise InvalidRequest("the text has unpaired surrogates, which are not text") from exc
        except BaseException as exc:
            if not _is_panic(exc):
                raise
            raise CheckpointError(f"{self._file} fails on a text: {exc}") from exc
        if not self.control.ids.isdisjoint(ids) or max(ids, default=0) >= self.vocab_size:
            raise InvalidRequest("the text cannot be written in the model's vocabulary")
        return ids

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """What the checkpoint puts before a text, and behind it."""
        plain = self._fast.encode("a", add_special_tokens=False).ids
        framed = self._fast.encode("a", add_special_tokens=True).ids
        for start in range(len(framed) - len(plain) + 1):
            if framed[start : start + len(plain)] == plain:
                frame = framed[:start], framed[start + len(plain) :]
                if max(frame[0] + frame[1], default=0) < self.vocab_size:
                    return frame
        return [], []

    def _known(self, token: ControlToken) -> int:
        if token.id >= self.vocab_size:
            raise InvalidRequest(f"the model has no token {token.spelling!r}, which this needs")
        return token.id

    def _check_size(self) -> None:
        added = self._fast.get_added_tokens_decoder()
        vocab = self._fast.get_vocab(with_added_tokens=True)
        largest = max((i for i in vocab.values() if i not in added), default=-1)
        if largest >= self.vocab_size:
            raise CheckpointError(
                f"{self._file} has token id {largest}, but the model's vocabulary ends at "
                f"{self.vocab_size - 1}"
            )

    def _check_text_stays_text(self) -> None:
        for sample in _SAMPLES:
            self.encode_text(sample)
        for spelling in self.control.spellings:
            try:
                self.encode_text(f"{spelling} {spelling} a{spelling}b")
            except InvalidRequest as exc:
                raise CheckpointError(
                    f"{self._file} cannot write {spelling!r} as ordinary text"
                ) from exc


@contextmanager
def _panics_refused(file: Path) -> Generator[None]:
    """A panic of the library is a CheckpointError, and what it prints about it is not seen.

    It writes a trace to descriptor 2 before anyone can catch the exception.
    """
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    except BaseException as exc:
        if not _is_panic(exc):
            raise
        raise CheckpointError(f"{file} is not a tokenizer this version can read: {exc}") from exc
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _is_panic(exc: BaseException) -> bool:
    """Panics arrive as a BaseException of a class that the library does not export."""
    return type(exc).__name__ == "PanicException"


def _load(file: Path) -> tokenizers.Tokenizer:
    check_size(file)
    try:
        fast = tokenizers.Tokenizer.from_file(str(file))
    except Exception as exc:  # the library raises nothing narrower
        raise CheckpointError(f"{file} is not a tokenizer this version can read: {exc}") from exc
    fast.no_truncation()
    fast.no_padding()
    return fast


def _special_names(settings: Mapping[str, object]) -> dict[str, str]:
    """bos_token, eos_token and the like of tokenizer_config.json: strings or {"content": ...}."""
    named: dict[str, str] = {}
    for name in _NAMED_TOKENS:
        value = settings.get(name)
        if isinstance(value, dict):
            value = cast("dict[str, object]", value).get("content")
        if isinstance(value, str) and value:
            named[name] = value
    return named


def _without_prefix(fast: tokenizers.Tokenizer) -> tokenizers.Tokenizer | None:
    """A copy for text that does not begin the prompt, where only the first piece gets a space."""
    if not isinstance(fast.pre_tokenizer, tokenizers.pre_tokenizers.Metaspace | None):
        return None
    spelled = fast.to_str()
    changed = re.sub(r'"prepend_scheme":\s*"first"', '"prepend_scheme":"never"', spelled)
    if changed == spelled:
        return None
    inner = tokenizers.Tokenizer.from_str(changed)
    inner.encode_special_tokens = True
    return inner
