"""What the generator makes: dialogues of messages, and the pieces they are joined from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .template import BEGIN, END, HEADER_CLOSE, HEADER_OPEN, TURN_END, system_text

_NOT_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is user, assistant or tool; the system text is kept by the dialogue."""

    role: str
    text: str


def turn(user: str, assistant: str) -> list[Message]:
    """A question and its answer."""
    return [Message("user", user), Message("assistant", assistant)]


@dataclass(slots=True)
class Dialogue:
    """A whole conversation, `kind` naming the skill it teaches."""

    kind: str
    messages: list[Message]
    system: str = ""
    tools: list[dict[str, Any]] = field(default_factory=list)
    plain: str = ""  # a text of its own instead of messages, for completions without a chat

    def user_texts(self) -> list[str]:
        """Everything the user says in it."""
        return [message.text for message in self.messages if message.role == "user"]

    def segments(self) -> list[tuple[str, bool]]:
        """The rendered text, cut into (text, is_answer): answers are what the model must say."""
        if self.plain:
            return [(BEGIN, False), (self.plain + END, True)]
        parts: list[tuple[str, bool]] = []
        pending = BEGIN
        system = system_text(self.system, self.tools)
        if system:
            pending += f"{HEADER_OPEN}system{HEADER_CLOSE}\n\n{system}{TURN_END}"
        for message in self.messages:
            pending += f"{HEADER_OPEN}{message.role}{HEADER_CLOSE}\n\n"
            text = message.text.strip() + TURN_END
            if message.role == "assistant":
                parts += [(pending, False), (text, True)]
                pending = ""
            else:
                pending += text
        return parts


def normal_form(text: str) -> str:
    """A prompt without case, punctuation or spacing: what "the same prompt" means here."""
    return _NOT_WORD.sub(" ", text.casefold()).strip()
