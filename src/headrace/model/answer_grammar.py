"""The grammar an answer is held to: what it may say, which tools it may call, after its thought.

Made of pieces in llguidance's Lark dialect and serialised as that library reads them; the engine
compiles it. "" means that the answer is free.
"""

import json
from collections.abc import Sequence

from headrace.model.control_tokens import ControlTokens
from headrace.model.grammar_text import json_rule, literal
from headrace.model.reasoning import ReasoningMarks
from headrace.model.tool_format import Mark, ToolFormat
from headrace.types import Format, JsonFormat, LarkFormat, RegexFormat, Request, ToolUse


def answer_grammar(
    request: Request,
    control: ControlTokens,
    tools: ToolFormat,
    thought: ReasoningMarks | None,
    *,
    is_thinking: bool,
) -> str:
    """What `request` asks of its answer.

    `thought`: the marks of a model that may think first; `is_thinking`: the prompt has opened it.
    """
    box, form = request.toolbox, request.format
    if box is not None and box.use is ToolUse.NONE:
        box = None
    if box is None and form is None:
        return ""
    rules: list[str] = []
    parts: list[str] = []
    if form is not None and (box is None or box.use is not ToolUse.REQUIRED):
        rules.append(content_rule(form))
        parts.append("content")
    if box is not None:
        rules += tools.rules(box, mark_of(control))
        is_free = form is None and box.use is ToolUse.AUTO
        parts.append("answer" if is_free else "calls")
    start = " | ".join(parts)
    if thought is not None:
        rules += _thought_rules(thought, control, is_thinking=is_thinking)
        start = f"thought ({start})"
    return serialised((f"start: {start}", *rules), form if "content" in parts else None)


def serialised(rules: Sequence[str], form: Format | None) -> str:
    """Rules as the library reads them, with the grammar that `content` is, if it is one."""
    grammars: list[dict[str, str]] = [{"lark_grammar": "\n".join(rules) + "\n"}]
    if isinstance(form, LarkFormat):
        grammars.append({"name": "content", "lark_grammar": form.grammar})
    return json.dumps({"grammars": grammars})


def mark_of(control: ControlTokens) -> Mark:
    """How grammars write spellings: as the control token of that spelling, else as text."""

    def mark(spelling: str) -> str:
        token_id = control.id_of(spelling)
        return literal(spelling) if token_id is None else f"<[{token_id}]>"

    return mark


def content_rule(form: Format) -> str:
    """`content` derives what `form` asks for."""
    match form:
        case JsonFormat():
            return json_rule("content", form.schema, strict=form.strict)
        case RegexFormat():
            return f"content: /{_between_slashes(form.pattern)}/"
        case LarkFormat():
            return "content: @content"


def _between_slashes(pattern: str) -> str:
    """A regular expression as the dialect's `/.../` wants it: no bare slash, no line break."""
    out: list[str] = []
    is_escaped = False
    for char in pattern:
        plain = {"/": r"\/", "\n": r"\n", "\r": r"\r"}.get(char, char)
        out.append(char if is_escaped and char == "/" else plain)
        is_escaped = char == "\\" and not is_escaped
    return "".join(out)


def _thought_rules(
    marks: ReasoningMarks, control: ControlTokens, *, is_thinking: bool
) -> list[str]:
    """`thought` derives a thought and the white space after it, or nothing if none has begun."""
    mark = mark_of(control)
    opening, closing = mark(marks.opening), mark(marks.closing)
    body = f"FREE? {closing}" if closing.startswith("<") else "until_closing"
    rules = [r"FREE: /(.|\n)+/", r"BREAK: /\n{0,2}/"]
    if body == "until_closing":
        pattern = marks.closing.replace("/", r"\/").replace("[", r"\[").replace("]", r"\]")
        rules = [rf"until_closing[lazy]: /(.|\n)*{pattern}/", r"BREAK: /\n{0,2}/"]
    whole = f"{body} BREAK" if is_thinking else f"({opening} {body} BREAK)?"
    return [f"thought: {whole}", *rules]
