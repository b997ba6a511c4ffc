"""A model's prompts: messages, text or token ids, one made into another. Long ones off the loop."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, TypeVarTuple

from headrace.errors import InvalidRequest
from headrace.gateway.base import Tokenized
from headrace.model import Detokenizer, LanguageModel
from headrace.types import Message, Request, Role, TokenizeRequest, Tool

LONG_TEXT_CHARS = 20_000  # on a thread above this; about 5 ms of work
LONG_PROMPT_TOKENS = 5_000  # likewise, the other way

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Prompts:
    """What one model makes of a caller's prompt."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    async def ids(self, request: Request) -> Sequence[int]:
        """The token ids of the prompt. Raises InvalidRequest when the model cannot read it."""
        if request.prompt is None:
            return await _run(_num_chars(request), self._render, request)
        if isinstance(request.prompt, str):
            encode = self._model.tokenizer.encode_prompt
            return await _run(len(request.prompt), encode, request.prompt)
        self._check(request.prompt, "prompt")
        return request.prompt

    async def echo(self, request: Request, ids: Sequence[int]) -> str:
        """What the answer begins with: the prompt's text, if the caller wants it.

        With log-probabilities it is what the tokens write, so that each has its place in it.
        """
        if not request.echo:
            return ""
        if isinstance(request.prompt, str) and request.logprobs is None:
            return request.prompt
        return await self.text(ids)

    async def text(self, ids: Sequence[int]) -> str:
        """What token ids write. Raises InvalidRequest for one that is not in the vocabulary."""
        self._check(ids, "tokens")
        is_long = len(ids) >= LONG_PROMPT_TOKENS
        return await _run(LONG_TEXT_CHARS if is_long else 0, self._text, ids)

    async def tokenize(self, asked: TokenizeRequest, context_tokens: int) -> Tokenized:
        """The tokens of `asked`; whether they fit the context is nobody's question here."""
        chars = _chars(asked.messages) if asked.prompt is None else len(asked.prompt)
        return await _run(chars, self._tokenized, asked, context_tokens)

    def _render(self, request: Request) -> list[int]:
        messages = request.messages
        if not request.reasoning.keeps_history:
            messages = _without_old_thoughts(messages)
        tools = [_tool_object(tool) for tool in request.toolbox.tools] if request.toolbox else None
        options = _template_options(request) if self._model.answers.thinks else None
        return self._model.chat_template.render_ids(messages, tools=tools, options=options)

    def _tokenized(self, asked: TokenizeRequest, context_tokens: int) -> Tokenized:
        tokenizer = self._model.tokenizer
        if asked.prompt is None:
            ids = self._model.chat_template.render_ids(
                asked.messages, add_generation_prompt=asked.add_generation_prompt
            )
        elif asked.add_special_tokens:
            ids = tokenizer.encode_prompt(asked.prompt)
        else:
            ids = tokenizer.encode_text(asked.prompt)
        return Tokenized(
            token_ids=tuple(ids),
            spellings=tuple(map(tokenizer.spelling, ids)) if asked.spellings else None,
            context_tokens=context_tokens,
        )

    def _text(self, ids: Sequence[int]) -> str:
        detokenizer = Detokenizer(self._model.tokenizer)
        return detokenizer.push(ids) + detokenizer.flush()

    def _check(self, ids: Sequence[int], param: str) -> None:
        vocab = self._model.program.vocab_size
        if not 0 <= min(ids, default=0) <= max(ids, default=0) < vocab:
            wrong = next(i for i in ids if not 0 <= i < vocab)
            raise InvalidRequest(
                f"{param}: {wrong} is no token of this model, whose last is {vocab - 1}",
                param=param,
            )


def _without_old_thoughts(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Without what was thought before the last question; what is thought since then, between calls
    of tools, is still needed."""
    asked = [i for i, message in enumerate(messages) if message.role is Role.USER]
    last = asked[-1] if asked else len(messages)
    cleared = [replace(message, reasoning="") for message in messages[:last]]
    return (*cleared, *messages[last:])


def _chars(messages: Sequence[Message]) -> int:
    return sum(
        len(message.content)
        + len(message.reasoning)
        + sum(len(call.arguments) for call in message.tool_calls)
        for message in messages
    )


def _num_chars(request: Request) -> int:
    """About how much there is to tokenize."""
    tools = request.toolbox.tools if request.toolbox else ()
    return _chars(request.messages) + sum(
        len(tool.description) + len(str(tool.parameters)) for tool in tools
    )


def _tool_object(tool: Tool) -> dict[str, object]:
    """A tool as templates read it."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _template_options(request: Request) -> dict[str, object]:
    """What the templates of models that think ask for."""
    effort = request.reasoning.effort
    if effort is None:
        return {}
    return {"enable_thinking": effort != "none", "reasoning_effort": effort}


async def _run(chars: int, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """`work(*arguments)`, on a thread when it works on a long text: others' tokens go on."""
    if chars < LONG_TEXT_CHARS:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)
