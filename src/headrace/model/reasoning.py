"""How a model marks what it thinks before it answers, and who tells the two apart."""

from dataclasses import dataclass

from headrace.model.json_calls import overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningMarks:
    """What stands around a thought."""

    opening: str
    closing: str

    def is_open(self, prompt_end: str) -> bool:
        """Whether a prompt that ends so has the model begin inside a thought."""
        return prompt_end.rfind(self.opening) > prompt_end.rfind(self.closing)


_KNOWN = (
    ReasoningMarks(opening="<think>", closing="</think>"),
    ReasoningMarks(opening="[THINK]", closing="[/THINK]"),
)


def reasoning_marks_of(template: str) -> ReasoningMarks | None:
    """The marks that `template`, the source of a chat template, knows; None: it does not think."""
    return next((marks for marks in _KNOWN if marks.closing in template), None)


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of an answer, told apart."""

    reasoning: str = ""
    text: str = ""


class ReasoningReader:
    """Tells a thought at an answer's beginning from the answer, as both come."""

    def __init__(self, marks: ReasoningMarks, *, is_open: bool) -> None:
        """`is_open`: the prompt has opened the thought already."""
        self._marks = marks
        self._held: str = ""
        self._is_inside = self._was_inside = is_open
        self._is_over = False
        self._leads = True  # white space at the beginning of the thought, or after it

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is of the thought, as far as is known."""
        return self._is_inside

    def push(self, text: str) -> Thought:
        """Read more of the answer."""
        if self._is_over:
            return Thought(text=self._trimmed(text))
        self._held += text
        if not self._is_inside:
            lead = self._held.lstrip()
            if not lead.startswith(self._marks.opening):
                if self._marks.opening.startswith(lead):
                    return Thought()  # it may still become the mark
                self._is_over, self._leads = True, False
                held, self._held = self._held, ""
                return Thought(text=held)
            self._is_inside, self._held = True, lead[len(self._marks.opening) :]
        thought, mark, answer = self._held.partition(self._marks.closing)
        if mark:
            self._is_inside, self._is_over, self._held = False, True, ""
            said = self._trimmed(thought).rstrip("\n")
            self._leads = True
            return Thought(reasoning=said, text=self._trimmed(answer))
        begun = overlap(self._held, self._marks.closing)
        end = len(self._held[: len(self._held) - begun].rstrip("\n"))
        said, self._held = self._held[:end], self._held[end:]
        return Thought(reasoning=self._trimmed(said))

    def flush(self) -> Thought:
        """The rest, at the answer's end."""
        held, self._held = self._held, ""
        return Thought(reasoning=held) if self._is_inside else Thought(text=held)

    def _trimmed(self, text: str) -> str:
        """Without the newlines that only set the thought apart."""
        if self._leads:
            text = text.lstrip("\n")
            self._leads = not text
        return text
