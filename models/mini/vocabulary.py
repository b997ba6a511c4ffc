"""The tokenizer: a byte-level BPE of exactly 4096 tokens, learned from generated dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from .dialogue import Dialogue
from .template import SPECIALS

VOCAB = 4096
WORDS = (
    r"'(?i:[sdmt]|ll|ve|re)"  # clitics
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # a word, with the space or sign before it
    r"|\p{N}"  # one digit
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # signs
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def plain_texts(dialogues: Iterable[Dialogue]) -> Iterator[str]:
    """The words of the dialogues without any special token."""
    for dialogue in dialogues:
        for text, _ in dialogue.segments():
            for special in SPECIALS:
                text = text.replace(special, "\n")
            yield text


def learn(texts: Iterable[str]) -> Tokenizer:
    """Learn the merges; specials take the last ids, so ids below them are all text."""
    tokenizer = Tokenizer(BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = Sequence(
        [
            Split(Regex(WORDS), behavior="isolated"),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCAB - len(SPECIALS),
        min_frequency=2,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    if tokenizer.get_vocab_size() != VOCAB:
        raise ValueError(f"the corpus gave {tokenizer.get_vocab_size()} tokens, not {VOCAB}")
    return tokenizer
