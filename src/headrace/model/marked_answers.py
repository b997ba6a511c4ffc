"""Answers that are a thought, then text or calls, each known by the marks around it.

What most families write: marks and calls differ, and come from the chat template.
"""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.model.answer_format import may_call
from headrace.model.answer_grammar import answer_grammar
from headrace.model.control_tokens import ControlTokens
from headrace.model.marked_reader import MarkedReader
from headrace.model.reasoning import ReasoningMarks, ReasoningReader
from headrace.model.tool_format import ToolFormat
from headrace.types import ReasoningFormat, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedAnswers:
    """See the module, and `AnswerFormat`."""

    control: ControlTokens
    tools: ToolFormat  # how calls are written
    thought: ReasoningMarks | None  # None: it does not think before it answers

    @property
    def thinks(self) -> bool:
        """See `AnswerFormat`."""
        return self.thought is not None

    def is_thinking(self, prompt_end: str) -> bool:
        """See `AnswerFormat`."""
        return self.thought is not None and self.thought.is_open(prompt_end)

    def grammar(self, request: Request, *, is_thinking: bool) -> str:
        """See `AnswerFormat`."""
        return answer_grammar(
            request, self.control, self.tools, self.thought, is_thinking=is_thinking
        )

    def reader(
        self, request: Request, new_id: Callable[[], str], *, is_thinking: bool
    ) -> MarkedReader | None:
        """See `AnswerFormat`."""
        calls, thought = may_call(request), self.thought
        if not calls and thought is None:
            return None
        marks = (thought.opening, thought.closing) if thought is not None else ()
        marks += self.tools.marks if calls else ()
        ids = {mark: self.control.id_of(mark) for mark in marks}
        is_raw = request.reasoning.format is ReasoningFormat.RAW
        return MarkedReader(
            thoughts=None
            if thought is None or is_raw
            else ReasoningReader(thought, is_open=is_thinking),
            calls=self.tools.reader(new_id) if calls else None,
            reasoning_format=request.reasoning.format,
            spelled={found: mark.encode() for mark, found in ids.items() if found is not None},
        )
