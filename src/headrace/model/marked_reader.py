"""Reads answers whose thoughts and calls are told from text by the marks around them."""

from collections.abc import Mapping
from types import MappingProxyType

from headrace.model.answer_format import Said
from headrace.model.reasoning import ReasoningReader
from headrace.model.tool_format import CallReader, Heard
from headrace.types import ReasoningFormat


class MarkedReader:
    """Reads one answer. Either reader may be missing: then nothing is told apart by it."""

    def __init__(
        self,
        *,
        thoughts: ReasoningReader | None,
        calls: CallReader | None,
        reasoning_format: ReasoningFormat = ReasoningFormat.PARSED,
        spelled: Mapping[int, bytes] = MappingProxyType({}),
    ) -> None:
        """`spelled`: the control tokens it wants to see, and how they are written."""
        self.spelled = spelled
        self._thoughts = thoughts
        self._calls = calls
        self.reasoning_format = reasoning_format

    @property
    def has_called(self) -> bool:
        """Whether a tool was called."""
        return self._calls is not None and self._calls.num_calls > 0

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is of a thought, as far as is known."""
        return self._thoughts is not None and self._thoughts.is_thinking

    def push(self, text: str, token_id: int | None = None) -> Said:
        """Read more of the answer; its text says all, whichever token it came from."""
        if self._thoughts is None:
            return self._said(self._hear(text), "")
        thought = self._thoughts.push(text)
        return self._said(self._hear(thought.text), thought.reasoning)

    def flush(self) -> Said:
        """The rest, at the answer's end."""
        rest, reasoning = "", ""
        if self._thoughts is not None:
            thought = self._thoughts.flush()
            rest, reasoning = thought.text, thought.reasoning
        heard = self._hear(rest)
        if self._calls is not None:
            last = self._calls.flush()
            heard = Heard(text=heard.text + last.text, calls=heard.calls + last.calls)
        return self._said(heard, reasoning)

    def _hear(self, text: str) -> Heard:
        return self._calls.push(text) if self._calls is not None and text else Heard(text=text)

    def _said(self, heard: Heard, reasoning: str) -> Said:
        is_hidden = self.reasoning_format is ReasoningFormat.HIDDEN
        return Said(heard.text, "" if is_hidden else reasoning, heard.calls)
