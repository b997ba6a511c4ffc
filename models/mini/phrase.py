"""A tiny phrase language: `{hi|hello}` picks one, `[name]` is filled in; users also mistype."""

from __future__ import annotations

import re
from random import Random

_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\[([a-z_0-9]+)\]")
_LONG_WORD = re.compile(r"(?<![\[a-z_])[a-z]{5,}(?![\]a-z_])")


def choose(rng: Random, text: str) -> str:
    """Resolve every `{a|b|}` from the inside out."""
    while match := _CHOICE.search(text):
        options = match.group(1).split("|")
        text = text[: match.start()] + rng.choice(options) + text[match.end() :]
    return text


def fill(text: str, slots: dict[str, object]) -> str:
    """Put the slots' values in."""
    return _SLOT.sub(lambda match: str(slots[match.group(1)]), text)


def say(rng: Random, text: str, **slots: object) -> str:
    """A clean sentence: what the assistant says."""
    return fill(choose(rng, text), slots).strip()


def mistype(rng: Random, text: str) -> str:
    """Swap, drop or double one letter inside one longer word."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    way = rng.randrange(3)
    if way == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if way == 1:
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at] + text[at:]


def ask(rng: Random, text: str, **slots: object) -> str:
    """What a user types: the same phrase with human casing, punctuation and slips.

    The slots' values are left as they are, since answers copy them.
    """
    text = choose(rng, text)
    style = rng.random()
    if style < 0.3:
        pass
    elif style < 0.75:
        text = text[:1].upper() + text[1:]
    else:
        text = text.lower()
    if rng.random() < 0.07:
        text = mistype(rng, text)
    if rng.random() < 0.1:
        text = rng.choice(("hey, ", "please ", "so, ", "ok, ", "hi, ", "well, ", "hello! ")) + text
    text = fill(text, slots)
    end = rng.random()
    if end < 0.35:
        text = text.rstrip("?.!")
    elif end < 0.40:
        text = text.rstrip("?.!") + rng.choice(("??", "!", " ?", "...", " please", ", please"))
    return text.strip()
