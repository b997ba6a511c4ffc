"""Where a tokenizer sees the tokens of a text end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.errors import ConfigError

TokenEnds = Callable[[str], Sequence[int]]  # a text -> where each of its tokens ends, in characters


def token_ends(path: Path) -> TokenEnds:
    """By a `tokenizer.json`. Raises ConfigError for a file that is none."""
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises nothing narrower
        raise ConfigError(f"tokenizer {path}: {exc}") from exc
    return lambda text: [end for _, end in read.encode(text, add_special_tokens=False).offsets]
