"""How gpt-oss answers: thoughts, then an answer or a call, each a harmony message of its own."""

from collections.abc import Callable

from headrace.model.answer_format import may_call
from headrace.model.answer_grammar import content_rule, mark_of, serialised
from headrace.model.control_tokens import ControlTokens
from headrace.model.grammar_text import choice, json_rule, literal
from headrace.model.harmony import ASSISTANT, TOOLS, Channel, Control, control_ids
from headrace.model.harmony_reader import HarmonyReader
from headrace.model.tool_format import allowed, arguments_schema
from headrace.types import Request, Toolbox, ToolUse


class HarmonyAnswers:
    """See `AnswerFormat`."""

    thinks = True

    def __init__(self, control: ControlTokens) -> None:
        """`control`: of a vocabulary that knows harmony."""
        self._controls = {token_id: each for each, token_id in control_ids(control).items()}
        self._mark = mark_of(control)

    def is_thinking(self, prompt_end: str) -> bool:
        """See `AnswerFormat`: a prompt ends with a role, and the channel is the model's choice."""
        return False

    def grammar(self, request: Request, *, is_thinking: bool) -> str:
        """See `AnswerFormat`. Thoughts are free; a format holds for the final channel alone."""
        box, form = request.toolbox, request.format
        calls = box if may_call(request) else None
        if calls is None and form is None:
            return ""
        is_text = calls is None or calls.use is not ToolUse.REQUIRED
        may_comment = calls is not None and is_text and form is None
        rules = [r"FREE: /(.|\n)+/"]
        parts: list[str] = []
        if is_text:
            rules += ["content: FREE?"] if form is None else [content_rule(form)]
            rules.append(f"final: {self._head(Channel.FINAL)} content")
            parts.append("final")
        if calls is not None:
            rules += self._call_rules(calls)
            parts.append("calls")
        asides = [Channel.ANALYSIS, *([Channel.COMMENTARY] if may_comment else [])]
        heads = choice([self._head(channel) for channel in asides])
        rules.append(f"aside: {heads} FREE? {self._mark(Control.END)} {self._next()}")
        start = f"start: aside* {choice(parts)}"
        return serialised((start, *rules), form if is_text else None)

    def reader(
        self, request: Request, new_id: Callable[[], str], *, is_thinking: bool
    ) -> HarmonyReader:
        """See `AnswerFormat`."""
        return HarmonyReader(
            self._controls,
            new_id,
            may_call=may_call(request),
            reasoning_format=request.reasoning.format,
        )

    def _head(self, channel: Channel) -> str:
        """The header of a message to everybody, after its role."""
        return f"{self._mark(Control.CHANNEL)} {literal(channel)} {self._mark(Control.MESSAGE)}"

    def _next(self) -> str:
        """Another message of the assistant begins."""
        return f"{self._mark(Control.START)} {literal(ASSISTANT)}"

    def _call_rules(self, box: Toolbox) -> list[str]:
        """`calls` derives one call: the turn ends with it, so there are never several."""
        mark, rules, tools = self._mark, list[str](), allowed(box)
        commentary = literal(Channel.COMMENTARY)
        kind = f'(" "? {mark(Control.CONSTRAIN)}? "json")? " "?'
        rules.append(f"kind: {kind} {mark(Control.MESSAGE)}")
        for number, tool in enumerate(tools):
            to = literal(f" to={TOOLS}.{tool.name}")
            channel = mark(Control.CHANNEL)
            head = choice([f"{to} {channel} {commentary}", f"{channel} {commentary} {to}"])
            rules.append(f"call_{number}: {head} kind arguments_{number}")
            schema = arguments_schema(tool)
            rules.append(json_rule(f"arguments_{number}", schema, strict=tool.strict))
        rules.append("calls: " + choice([f"call_{number}" for number in range(len(tools))]))
        return rules
