"""Reads answers in harmony: thoughts, text and calls told apart by channel and recipient."""

from collections.abc import Callable, Mapping

from headrace.model.answer_format import Said
from headrace.model.harmony import ASSISTANT, Channel, Control, Header
from headrace.model.harmony_parser import HarmonyParser, Piece
from headrace.types import CallPiece, ReasoningFormat


class HarmonyReader:
    """See `AnswerReader`.

    The tokens of headers count as thought as long as no other content has come: they are the
    model's way to it.
    """

    def __init__(
        self,
        controls: Mapping[int, Control],
        new_id: Callable[[], str],
        *,
        may_call: bool,
        reasoning_format: ReasoningFormat,
    ) -> None:
        """`controls`: the format's tokens by id; unless it `may_call`, a call is text."""
        self.spelled = {token_id: control.encode() for token_id, control in controls.items()}
        self.reasoning_format = reasoning_format
        self._parser = HarmonyParser(controls, role=ASSISTANT)
        self._new_id = new_id
        self._may_call = may_call
        self._num_calls = 0
        self._is_thinking = True

    @property
    def has_called(self) -> bool:
        """See `AnswerReader`."""
        return self._num_calls > 0

    @property
    def is_thinking(self) -> bool:
        """See `AnswerReader`."""
        return self._is_thinking

    def push(self, text: str, token_id: int | None = None) -> Said:
        """See `AnswerReader`."""
        return self._joined(self._parser.push(text, token_id))

    def flush(self) -> Said:
        """See `AnswerReader`."""
        return self._joined(self._parser.flush())

    def _joined(self, pieces: list[Piece]) -> Said:
        said = [self._said(piece.header, piece.text) for piece in pieces]
        if len(said) == 1:
            return said[0]
        return Said(
            text="".join(each.text for each in said),
            reasoning="".join(each.reasoning for each in said),
            calls=tuple(call for each in said for call in each.calls),
        )

    def _said(self, header: Header, text: str) -> Said:
        if header.role != ASSISTANT:
            return Said()  # made up: nobody else speaks in an answer
        is_call = self._may_call and bool(header.tool)
        self._is_thinking = header.channel == Channel.ANALYSIS and not is_call
        if is_call:
            return Said(calls=(self._call(header.tool, text),))
        if not self._is_thinking:
            return Said(text)
        match self.reasoning_format:
            case ReasoningFormat.RAW:
                return Said(text)
            case ReasoningFormat.HIDDEN:
                return Said()
            case ReasoningFormat.PARSED | ReasoningFormat.TEXT_PARSED:
                return Said(reasoning=text)

    def _call(self, name: str, arguments: str) -> CallPiece:
        if arguments:
            return CallPiece(index=self._num_calls - 1, arguments=arguments)
        self._num_calls += 1
        return CallPiece(index=self._num_calls - 1, id=self._new_id(), name=name)
