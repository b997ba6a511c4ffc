"""Harmony, the format of gpt-oss: a dialogue as messages with a role, a recipient and a channel.

    <|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{}<|call|>

After the published description of the format (OpenAI, "Harmony response format", 2025-08).
"""

from dataclasses import dataclass
from enum import StrEnum

from headrace.model.control_tokens import ControlTokens

ASSISTANT = "assistant"
TOOLS = "functions"  # the namespace of the caller's tools


class Channel(StrEnum):
    """What a message of the assistant is for."""

    ANALYSIS = "analysis"  # what it thinks
    COMMENTARY = "commentary"  # calls, and what it says before them
    FINAL = "final"  # the answer


class Control(StrEnum):
    """The control tokens of the format, as they are spelled."""

    START = "<|start|>"
    CHANNEL = "<|channel|>"
    CONSTRAIN = "<|constrain|>"
    MESSAGE = "<|message|>"
    END = "<|end|>"
    RETURN = "<|return|>"  # the end of a message and of the turn
    CALL = "<|call|>"  # likewise: the turn is a tool's


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before a message's content."""

    role: str = ASSISTANT  # or system, developer, user, or the full name of a tool
    recipient: str = ""  # whom it is addressed to; "": everybody
    channel: str = ""
    kind: str = ""  # of the content: json

    @property
    def tool(self) -> str:
        """The caller's tool that it is addressed to; "": none."""
        space, _, name = self.recipient.partition(".")
        return name if space == TOOLS else ""


def knows_harmony(control: ControlTokens) -> bool:
    """Whether a vocabulary has all control tokens of the format."""
    return all(control.id_of(each) is not None for each in Control)


def control_ids(control: ControlTokens) -> dict[Control, int]:
    """The token of each of them, in a vocabulary that knows harmony."""
    ids = {each: control.id_of(each) for each in Control}
    return {each: found for each, found in ids.items() if found is not None}
