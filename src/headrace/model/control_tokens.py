"""Control tokens: only the chat template may write them, text that merely spells one may not.

Text from outside is masked before the template sees it, so that no spelling in it survives; what
the template renders is split at the spellings that are left, which are the template's own; each
piece between them is unmasked and tokenized as ordinary text.

    "say <|eot_id|>"  --mask-->  "say <‸|eot_id|>"  --render, split, unmask-->  text, no control id

Limit: a template that deletes words from inside a message could join a spelling of what is left.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from headrace.errors import CheckpointError

# Unicode noncharacters, for a program's internal use (Unicode 16, 23.7); escaped when met in text.
_MARK, _ESCAPE = "\ufdd0", "\ufdd1"
_ESCAPES = str.maketrans({_MARK: _ESCAPE + "0", _ESCAPE: _ESCAPE + "1"})
_UNMASK = re.compile(f"{_MARK}|{_ESCAPE}[01]")
_UNMASKED = {_MARK: "", _ESCAPE + "0": _MARK, _ESCAPE + "1": _ESCAPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlToken:
    """One control token; `lstrip` and `rstrip`: it swallows the white space on that side."""

    id: int
    spelling: str
    lstrip: bool = False
    rstrip: bool = False


class ControlTokens:
    """The control tokens of one vocabulary. Immutable, safe to share between threads."""

    def __init__(self, tokens: Mapping[str, ControlToken]) -> None:
        """`tokens` by spelling. Raises CheckpointError for a spelling too short to be masked."""
        for spelling in tokens:
            if len(spelling) < 2 or _MARK in spelling or _ESCAPE in spelling:
                raise CheckpointError(f"control token {spelling!r} cannot be told from plain text")
        self._tokens = dict(tokens)
        self._spelled = {token.id: token.spelling for token in tokens.values()}
        self.ids = frozenset(self._spelled)
        self._prefixes = {s[:i] for s in tokens for i in range(1, len(s))}
        self._suffixes = {s[i:] for s in tokens for i in range(1, len(s))}
        self._longest = max(map(len, tokens), default=0)
        longest_first = sorted(tokens, key=lambda spelling: (-len(spelling), spelling))
        self._spellings = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._starts = re.compile(_starts_pattern(longest_first))

    @property
    def spellings(self) -> tuple[str, ...]:
        """How the control tokens are written, in no particular order."""
        return tuple(self._tokens)

    def spelling(self, token_id: int) -> str:
        """How control token `token_id` is written; empty for any other id."""
        return self._spelled.get(token_id, "")

    def id_of(self, spelling: str) -> int | None:
        """The control token written so; None: text."""
        token = self._tokens.get(spelling)
        return None if token is None else token.id

    def mask(self, text: str) -> str:
        """`text` with a mark inside each spelling, so that none is left.

        A mark also stands at an end that half-spells a control token, so that nothing the template
        puts beside it completes one. White space around the text stays at its ends.
        """
        masked = text.translate(_ESCAPES) if _MARK in text or _ESCAPE in text else text
        masked = self._starts.sub(rf"\g<0>{_MARK}", masked)
        core = masked.strip()
        if not core:
            return masked
        before = _MARK if self._has_end(core, self._suffixes, first=True) else ""
        after = _MARK if self._has_end(core, self._prefixes, first=False) else ""
        if not before and not after:
            return masked
        start = masked.index(core)
        return f"{masked[:start]}{before}{core}{after}{masked[start + len(core) :]}"

    def mask_all(self, value: object) -> object:
        """A copy of a JSON-like value with every string in it masked, keys too."""
        match value:
            case str():
                return self.mask(value)
            case Mapping():
                pairs = cast("Mapping[object, object]", value).items()
                return {self.mask_all(key): self.mask_all(item) for key, item in pairs}
            case list() | tuple():
                return [self.mask_all(item) for item in cast("Sequence[object]", value)]
            case _:
                return value

    def split(self, rendered: str) -> Iterator[str | ControlToken]:
        """The control tokens of `rendered` and the unmasked text between them, in order."""
        start, swallow = 0, False
        for match in self._spellings.finditer(rendered):
            token = self._tokens[match[0]]
            yield from _piece(rendered[start : match.start()], lstrip=swallow, rstrip=token.lstrip)
            yield token
            start, swallow = match.end(), token.rstrip
        yield from _piece(rendered[start:], lstrip=swallow, rstrip=False)

    def _has_end(self, core: str, ends: set[str], *, first: bool) -> bool:
        lengths = range(1, min(self._longest, len(core) + 1))
        return any((core[:i] if first else core[-i:]) in ends for i in lengths)


def _piece(text: str, *, lstrip: bool, rstrip: bool) -> Iterator[str]:
    text = text.lstrip() if lstrip else text
    text = text.rstrip() if rstrip else text
    if text:
        yield _UNMASK.sub(lambda match: _UNMASKED[match[0]], text)


def _starts_pattern(spellings: list[str]) -> str:
    """Matches the first character of every spelling, overlapping ones too."""
    rests: dict[str, list[str]] = {}
    for spelling in spellings:
        rests.setdefault(spelling[0], []).append(re.escape(spelling[1:]))
    heads = [f"{re.escape(head)}(?={'|'.join(rest)})" for head, rest in rests.items()]
    return "|".join(heads) or "(?!)"
