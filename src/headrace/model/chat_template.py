"""A model's chat template: messages to prompt token ids, control tokens from the template alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

import jinja2

from headrace.errors import CheckpointError, InvalidRequest
from headrace.model.checkpoint import Checkpoint
from headrace.model.json_file import read_text
from headrace.model.template_sandbox import TemplateRefusal, TemplateSandbox
from headrace.model.tokenizer import Tokenizer
from headrace.types import Message, Role

# What a template can run into on messages it was not written for; all of it is Python's or Jinja's.
_RENDER_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_TRIAL = (Message(role=Role.USER, content="Hello"),)


class PromptTemplate(Protocol):
    """Makes prompts of messages, control tokens from nowhere but the template itself."""

    def render_ids(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        options: Mapping[str, object] | None = None,
    ) -> list[int]:
        """The prompt for `messages`, as token ids; see `ChatTemplate.render_ids`."""
        ...


class ChatTemplate:
    """The template of one model, as its checkpoint spells it in Jinja.

    Immutable, safe to share between threads.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        tokenizer: Tokenizer,
        *,
        now: Callable[[], datetime],
        origin: str,
    ) -> None:
        """`sources` by name: "default" and perhaps "tool_use"; empty when the model has none.

        `origin` names the file in errors. Raises CheckpointError when a template is broken: it does
        not compile, or fails on one plain message.
        """
        self._tokenizer = tokenizer
        self.source = sources.get("tool_use", "") + sources.get("default", "")
        self._sandbox = TemplateSandbox(now)
        try:
            self._templates = {n: self._sandbox.compile_chat(s) for n, s in sources.items()}
            if "default" in sources:
                self._render(_TRIAL, tools=None, add_generation_prompt=True)
        except TemplateRefusal:
            pass  # it runs; one message alone is not to its liking
        except _RENDER_ERRORS as exc:
            raise CheckpointError(f"{origin}: the chat template is broken: {exc}") from exc

    def render_ids(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        options: Mapping[str, object] | None = None,
    ) -> list[int]:
        """The prompt for `messages`, as token ids; `tools` as JSON objects of the OpenAI form.

        `options`: switches that some templates know, `enable_thinking` among them.

        Control tokens spelled inside messages or tools become ordinary text. Raises InvalidRequest
        with the template's own words when it refuses the messages, or when the model has none.
        """
        try:
            rendered = self._render(
                messages,
                tools=tools,
                add_generation_prompt=add_generation_prompt,
                options=options or {},
            )
        except TemplateRefusal as exc:
            raise InvalidRequest(str(exc), param="messages") from exc
        except _RENDER_ERRORS as exc:
            raise InvalidRequest(
                f"the model's chat template cannot render these messages: {exc}", param="messages"
            ) from exc
        return self._tokenizer.encode_rendered(rendered)

    def _render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None,
        add_generation_prompt: bool,
        options: Mapping[str, object] | None = None,
    ) -> str:
        template = self._templates.get("tool_use") if tools else None
        template = template or self._templates.get("default")
        if template is None:
            raise InvalidRequest("the model has no chat template", param="model")
        control = self._tokenizer.control
        values: dict[str, object] = {
            **self._tokenizer.special_names,
            **(options or {}),
            "messages": control.mask_all(_as_templates_know(messages)),
            "tools": control.mask_all(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._sandbox.render_chat(template, values)


def _as_templates_know(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the published templates read them: a call's arguments are an object."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_message_object(message, names) for message in messages]


def _message_object(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {"role": message.role.value, "content": message.content}
    if message.reasoning:
        known["reasoning_content"] = message.reasoning
    if message.tool_calls:
        known["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _object_of(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.role is Role.TOOL:
        known["tool_call_id"] = message.tool_call_id
        known["name"] = names.get(message.tool_call_id, "")
    return known


def _object_of(arguments: str) -> object:
    """What `arguments` says in JSON; itself when it says nothing: history need not be valid."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return cast("dict[str, object]", value) if isinstance(value, dict) else arguments


def load_chat_template(
    checkpoint: Checkpoint, tokenizer: Tokenizer, *, now: Callable[[], datetime]
) -> ChatTemplate:
    """The template in chat_template.jinja, else in tokenizer_config.json.

    Raises CheckpointError naming the file when it is broken.
    """
    file = checkpoint.template_file
    if file.exists():
        sources, origin = {"default": read_text(file)}, str(file)
    else:
        origin = str(checkpoint.path / "tokenizer_config.json")
        sources = _named(checkpoint.tokenizer_config.get("chat_template"), origin)
    return ChatTemplate(sources, tokenizer, now=now, origin=origin)


def _named(value: object, origin: str) -> dict[str, str]:
    """One template, or a list of {"name": ..., "template": ...}, by name."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    sources: dict[str, str] = {}
    for entry in cast("list[object]", value) if isinstance(value, list) else [value]:
        named = cast("dict[str, object]", entry) if isinstance(entry, dict) else {}
        name, source = named.get("name"), named.get("template")
        if not isinstance(name, str) or not isinstance(source, str):
            raise CheckpointError(f"{origin}: 'chat_template' must be a string or a list of them")
        sources[name] = source
    return sources
