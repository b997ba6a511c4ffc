"""Prompts of gpt-oss: a dialogue as harmony messages, control tokens from this file alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from headrace.errors import InvalidRequest
from headrace.model.harmony import ASSISTANT, TOOLS, Channel, Control, Header, control_ids
from headrace.model.tokenizer import Tokenizer
from headrace.model.typescript import namespace
from headrace.types import Message, Role

EFFORTS = ("low", "medium", "high")

# What the model was trained to read before a dialogue (OpenAI's description of the format).
_IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
_CUTOFF = "Knowledge cutoff: 2024-06"
_CHANNELS = f"# Valid channels: {', '.join(Channel)}. Channel must be included for every message."
_CALLS = f"Calls to these tools must go to the commentary channel: '{TOOLS}'."

Part = Control | str  # of a prompt: a control token, or ordinary text whatever it spells


class HarmonyTemplate:
    """See `PromptTemplate`. Immutable, safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, *, now: Callable[[], datetime]) -> None:
        """`tokenizer`: one that knows harmony; `now` gives the date that prompts name."""
        self._tokenizer = tokenizer
        self._ids = control_ids(tokenizer.control)
        self._now = now

    def render_ids(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        options: Mapping[str, object] | None = None,
    ) -> list[int]:
        """See `PromptTemplate`. `options`: `reasoning_effort` low, medium or high.

        Raises InvalidRequest for any other effort, and for names of tools in the history that no
        tool can have.
        """
        effort = (options or {}).get("reasoning_effort", "medium")
        if effort not in EFFORTS:
            raise InvalidRequest(
                f"reasoning_effort: this model always thinks, with one of {', '.join(EFFORTS)}",
                param="reasoning_effort",
            )
        ids: list[int] = []
        for part in self._parts(messages, tools or (), str(effort)):
            is_control = isinstance(part, Control)
            ids += [self._ids[part]] if is_control else self._tokenizer.encode_inner(part)
        if add_generation_prompt:
            ids += [self._ids[Control.START], *self._tokenizer.encode_inner(ASSISTANT)]
        return ids

    def _parts(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]], effort: str
    ) -> Iterator[Part]:
        yield from _message(Header(role="system"), self._system(effort, has_tools=bool(tools)))
        lead = 0
        while lead < len(messages) and messages[lead].role is Role.SYSTEM:
            lead += 1
        instructions = "\n\n".join(message.content for message in messages[:lead])
        if instructions or tools:
            yield from _message(Header(role="developer"), _developer(instructions, tools))
        finals = (i for i, each in enumerate(messages) if _is_final(each))
        last_final = max(finals, default=-1)
        names = {call.id: call.name for message in messages for call in message.tool_calls}
        for i, message in enumerate(messages[lead:], lead):
            yield from _turn(message, names, shows_thought=i > last_final)

    def _system(self, effort: str, *, has_tools: bool) -> str:
        date = f"Current date: {self._now():%Y-%m-%d}"
        channels = f"{_CHANNELS}\n{_CALLS}" if has_tools else _CHANNELS
        return f"{_IDENTITY}\n{_CUTOFF}\n{date}\n\nReasoning: {effort}\n\n{channels}"


def _is_final(message: Message) -> bool:
    """Whether it ends a turn: what was thought before it is not shown again."""
    return message.role is Role.ASSISTANT and not message.tool_calls


def _developer(instructions: str, tools: Sequence[Mapping[str, object]] = ()) -> str:
    parts = [f"# Instructions\n\n{instructions}"] if instructions else []
    if tools:
        parts.append(f"# Tools\n\n## {TOOLS}\n\n{namespace(TOOLS, tools)}")
    return "\n\n".join(parts)


def _turn(message: Message, names: Mapping[str, str], *, shows_thought: bool) -> Iterator[Part]:
    """The harmony messages of one message of the API."""
    match message.role:
        case Role.SYSTEM:
            yield from _message(Header(role="developer"), _developer(message.content))
        case Role.USER:
            yield from _message(Header(role="user"), message.content)
        case Role.TOOL:
            role = f"{TOOLS}.{_checked(names.get(message.tool_call_id, 'unknown'))}"
            header = Header(role=role, recipient=ASSISTANT, channel=Channel.COMMENTARY)
            yield from _message(header, message.content)
        case Role.ASSISTANT:
            if message.reasoning and shows_thought:
                yield from _message(Header(channel=Channel.ANALYSIS), message.reasoning)
            said_on = Channel.FINAL if _is_final(message) else Channel.COMMENTARY
            if message.content or said_on is Channel.FINAL:
                yield from _message(Header(channel=said_on), message.content)
            for call in message.tool_calls:
                to = f"{TOOLS}.{_checked(call.name)}"
                header = Header(recipient=to, channel=Channel.COMMENTARY, kind="json")
                yield from _message(header, call.arguments, end=Control.CALL)


def _message(header: Header, content: str, end: Control = Control.END) -> Iterator[Part]:
    yield Control.START
    yield f"{header.role} to={header.recipient}" if header.recipient else header.role
    if header.channel:
        yield Control.CHANNEL
        yield f"{header.channel} " if header.kind else header.channel
    if header.kind:
        yield Control.CONSTRAIN
        yield header.kind
    yield Control.MESSAGE
    yield content
    yield end


def _checked(name: str) -> str:
    """A tool's name, which stands in a header. Raises InvalidRequest if it would end there."""
    if not name.strip() or any(char.isspace() for char in name):
        raise InvalidRequest(
            "messages: the name of a called tool has white space", param="messages"
        )
    return name
