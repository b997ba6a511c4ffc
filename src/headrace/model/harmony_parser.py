"""Harmony messages out of a stream of tokens, whatever a model made of them.

    header  = role? to? (<|channel|> channel to?)? (<|constrain|> kind)?     to = " to=" recipient
    message = <|start|>? header <|message|> content (<|end|> | <|return|> | <|call|>)

Control tokens alone make the structure, so text that spells one is text. What breaks the rules is
read so that nothing that was said is lost: text where no header can be is the answer's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from headrace.model.harmony import ASSISTANT, Channel, Control, Header

LONGEST_HEADER = 256  # characters; what is longer is none
_ROLE = re.compile(r"[\w.\-]*(\s(to=\S*\s?|to?)?)?$")  # and a recipient, as far as it has come
_AFTER_ROLE = re.compile(r"(\s(to=\S*\s?|to?)?)?$")
_RECIPIENT = re.compile(r"(?:^|\s)to=(\S+)")


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a message's content; the first one of each message is empty."""

    header: Header
    text: str = ""


class HarmonyParser:
    """Parses one stream of tokens. Pieces of a message share their header, as an object."""

    def __init__(self, controls: Mapping[int, Control], *, role: str = "") -> None:
        """`controls`: the format's tokens by id; `role`: a header that has begun with it."""
        self._controls = controls
        self._begin(role)

    def push(self, text: str, token_id: int | None) -> list[Piece]:
        """What the next token adds; `text` ends with its spelling if it is one of `controls`."""
        control = None if token_id is None else self._controls.get(token_id)
        if control is None:
            return self._read(text)
        return [*self._read(text.removesuffix(control)), *self._turn(control)]

    def flush(self) -> list[Piece]:
        """What is left at the end: text that looked like the beginning of a header."""
        return self._abandon()

    def _begin(self, role: str = "") -> None:
        """A header comes, after its `role` if that is known."""
        self._header: Header | None = None  # of the message whose content is being read
        self._role = role
        self._sections: dict[Control, str] = {Control.START: ""}  # what each token opened
        self._section = Control.START

    def _read(self, text: str) -> list[Piece]:
        if not text:
            return []
        if self._header is not None:
            return [Piece(self._header, text)]
        self._sections[self._section] += text
        is_short = sum(map(len, self._sections.values())) <= LONGEST_HEADER
        return [] if is_short and self._may_be_header() else self._give_up()

    def _may_be_header(self) -> bool:
        if self._section is not Control.START:
            return True
        head = self._sections[Control.START]
        return (_AFTER_ROLE.match(head) if self._role else _ROLE.match(head)) is not None

    def _turn(self, control: Control) -> list[Piece]:
        """A control token."""
        match control:
            case Control.MESSAGE:
                return [] if self._header is not None else self._open(self._parsed())
            case Control.CHANNEL | Control.CONSTRAIN:
                if self._header is not None and control is Control.CONSTRAIN:
                    return []
                if self._header is not None:  # a message that was not ended
                    self._begin(ASSISTANT)
                self._section = control
                self._sections.setdefault(control, "")
                return []
            case Control.START:
                lost = self._abandon()
                self._begin()
                return lost
            case Control.END | Control.RETURN | Control.CALL:
                lost = self._abandon()
                self._begin(ASSISTANT)
                return lost

    def _parsed(self) -> Header:
        head, channel = self._sections[Control.START], self._sections.get(Control.CHANNEL, "")
        head_words, channel_words = head.split(), channel.split()
        role = self._role or (head_words[0] if head_words else ASSISTANT)
        found = _RECIPIENT.search(head) or _RECIPIENT.search(channel)
        named = channel_words[0] if channel_words and not channel_words[0].startswith("to=") else ""
        kind = self._sections.get(Control.CONSTRAIN, "").strip()
        others = [word for word in channel_words[1:] if not word.startswith("to=")]
        return Header(
            role=role,
            recipient=found[1] if found else "",
            channel=named,
            kind=kind or " ".join(others),
        )

    def _open(self, header: Header) -> list[Piece]:
        self._header = header
        return [Piece(header)]

    def _give_up(self) -> list[Piece]:
        """What was read as a header is none: it is said, on the channel it named if any."""
        role, said = self._sections[Control.START], "".join(self._sections.values())
        header = Header()
        if Control.CHANNEL in self._sections:
            channel = self._sections[Control.CHANNEL]
            named = next((each for each in Channel if channel.startswith(each)), "")
            header = replace(header, channel=str(named))
            said = channel[len(named) :] + self._sections.get(Control.CONSTRAIN, "")
        elif not self._role:
            said = role.removeprefix(ASSISTANT)
        return [*self._open(header), Piece(header, said)]

    def _abandon(self) -> list[Piece]:
        """A header that will not be finished: text, if it was nothing else."""
        is_text = self._section is Control.START and self._role
        if self._header is not None or not is_text or not self._sections[Control.START].strip():
            return []
        return self._give_up()
