"""A model's vocabulary as grammars see it: the bytes of each token, and what is no text."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from headrace.model import Tokenizer

_NO_TEXT = b"\xff"  # llguidance's sign of a token that no text spells


class Vocabulary:
    """What llguidance asks of a tokenizer; text it forces is cut by the model's own rules."""

    def __init__(self, tokenizer: "Tokenizer", stop_ids: tuple[int, ...]) -> None:
        """`stop_ids`: any of them ends a turn. Without one, an id beyond the model's stands in."""
        self._tokenizer = tokenizer
        size = tokenizer.vocab_size
        control = {i: tokenizer.control.spelling(i) for i in tokenizer.control.ids if i < size}
        special = control | {i: f"<|stop_{i}|>" for i in stop_ids if i not in control}
        pieces = [
            _NO_TEXT + special[i].encode() if i in special else p
            for i, p in enumerate(tokenizer.decoding.pieces)
        ]
        if not stop_ids:
            special[size] = "<|stop|>"
            pieces.append(_NO_TEXT + b"<|stop|>")
        self.tokens = pieces
        self.special_token_ids = sorted(special)
        self.bos_token_id = None
        self.stop_ids = list(stop_ids) or [size]
        self.eos_token_id = self.stop_ids[0]

    def __call__(self, text: str) -> list[int]:
        """The tokens of `text`, which goes on from other text."""
        return self._tokenizer.encode_inner(text)


def open_vocabulary(folder: Path, vocab_size: int) -> "LLTokenizer":
    """The vocabulary of the model in `folder`; takes a moment for a large one."""
    from llguidance import LLTokenizer, TokenizerWrapper

    from headrace.model.checkpoint import open_checkpoint
    from headrace.model.generation_defaults import generation_defaults
    from headrace.model.tokenizer import Tokenizer

    checkpoint = open_checkpoint(folder)
    tokenizer = Tokenizer(
        checkpoint.tokenizer_file, checkpoint.tokenizer_config, vocab_size=vocab_size
    )
    defaults = generation_defaults(checkpoint.config, checkpoint.generation_config, vocab_size)
    known = Vocabulary(tokenizer, defaults.stop_ids)
    return LLTokenizer(TokenizerWrapper(known), len(known.tokens), known.stop_ids)
