"""The bytes each token id writes, derived once from a tokenizer's vocabulary and decoder.

Two families: byte-level BPE, whose tokens spell bytes in a printable alphabet (Radford et al. 2019,
as released with GPT-2: 188 bytes stand for themselves, the other 68 follow from U+0100), and words
with "▁" for a space and "<0x0A>" for a lone byte (Kudo & Richardson 2018, SentencePiece).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import tokenizers

from headrace.errors import CheckpointError

SPACE = "▁"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How token ids become text."""

    pieces: tuple[bytes, ...]  # by token id; b"" for control tokens and unused ids
    drops_first_space: bool  # whether the first space of a text is the vocabulary's, not the text's


def decoding_of(
    fast: tokenizers.Tokenizer, literal: Mapping[int, str], vocab_size: int, file: Path
) -> Decoding:
    """The decoding of `fast` for ids 0..vocab_size - 1; `literal`: added tokens as they read.

    Raises CheckpointError naming `file` for a decoder of another family, or when some byte has no
    token of its own, so that some text could not be written.
    """
    steps = _decoder_steps(fast)
    kinds = [str(step["type"]) for step in steps]
    if kinds == ["ByteLevel"]:
        spell, drops = _byte_level, False
    elif kinds == ["Metaspace"] or (kinds[:2] == ["Replace", "ByteFallback"]):
        spell, drops = _word_piece, _drops_first_space(steps[-1])
    else:
        raise CheckpointError(
            f"{file}: decoder {' + '.join(kinds) or 'none'} is not known; this version knows "
            "ByteLevel, Metaspace and ByteFallback"
        )
    pieces = [b""] * vocab_size
    for token, token_id in fast.get_vocab(with_added_tokens=False).items():
        if token_id < vocab_size:
            pieces[token_id] = spell(token)
    known = set(pieces)
    if not all(bytes([value]) in known for value in range(256)):
        raise CheckpointError(
            f"{file} has no token for some single bytes, so it cannot write every text"
        )
    for token_id, text in literal.items():
        pieces[token_id] = text.encode()
    return Decoding(pieces=tuple(pieces), drops_first_space=drops)


def _decoder_steps(fast: tokenizers.Tokenizer) -> list[dict[str, object]]:
    if fast.decoder is None:
        return []
    state = cast("dict[str, object]", json.loads(fast.decoder.__getstate__()))
    nested = state.get("decoders")
    return [state] if nested is None else cast("list[dict[str, object]]", nested)


def _drops_first_space(last: Mapping[str, object]) -> bool:
    if last["type"] == "Metaspace":
        return last.get("prepend_scheme") != "never"
    return last["type"] == "Strip" and last.get("content") == " " and bool(last.get("start"))


def _byte_alphabet() -> dict[int, int]:
    """Code point in a token -> the byte it stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {byte: byte for byte in printable} | {0x100 + i: b for i, b in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _byte_level(token: str) -> bytes:
    try:
        return bytes(_ALPHABET[ord(character)] for character in token)
    except KeyError:
        return token.encode()


def _word_piece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass
    return token.replace(SPACE, " ").encode()
