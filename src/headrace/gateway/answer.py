"""Tokens to events: what one choice of an answer has said so far."""

from collections.abc import Iterator, Sequence

from msgspec import structs

from headrace.engine.messages import Tokens
from headrace.gateway.stop_strings import StopStrings
from headrace.gateway.token_logprobs import HeldLogprobs
from headrace.model import Detokenizer, Tokenizer
from headrace.model.answer_format import AnswerReader, Said
from headrace.types import (
    FinishReason,
    ReasoningFormat,
    Request,
    Timing,
    TokenEvent,
    TokenLogprob,
    Usage,
)


class Answer:
    """Text, stop strings, log-probabilities and counts of one choice."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        request: Request,
        *,
        prompt_tokens: int,
        reader: AnswerReader | None = None,
        start: int = 0,
    ) -> None:
        """`reader` tells thoughts and calls from text; None: all is text.

        `start`: characters of the choice before it.
        """
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.cached_tokens = 0
        self._prompt_tokens = prompt_tokens
        self._tokenizer = tokenizer
        self._reader = reader
        self._detokenizer = Detokenizer(
            tokenizer,
            spelled=reader.spelled if reader else {},
            goes_on=request.prompt is not None,
        )
        self._stops = StopStrings(request.stop)
        self._logprobs = HeldLogprobs(tokenizer) if request.logprobs is not None else None
        self._is_wanted = request.max_tokens != 0  # else the first token, left out, ends it
        self._written = start  # characters the tokens made; counted for the log-probabilities only
        self._delivered = start  # characters that went out; likewise

    def usage(self) -> Usage:
        """What was counted so far."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )

    def events(self, message: Tokens) -> Sequence[TokenEvent]:
        """The events that `message` makes, up to the one that ends the choice.

        One, in a part for each token; or one for each, when there are log-probabilities to go.
        """
        if not self._is_wanted:
            self.cached_tokens = message.cached_tokens
            return (self._ended(TokenEvent(text=""), FinishReason.LENGTH, message),)
        if self._logprobs is None:
            return (self._event(message),)
        events: list[TokenEvent] = []
        for part in _tokens_of(message):
            events.append(self._event(part))
            if events[-1].finish is not None:
                break
        return events

    def _event(self, message: Tokens) -> TokenEvent:
        """The event of `message`; a stop string ends the choice with it."""
        event = self._plain(message) if self._reader is None else self._told(message, self._reader)
        self.completion_tokens += len(event.token_ids)
        self.cached_tokens = message.cached_tokens
        reason = self._reason(message)
        return event if reason is None else self._ended(event, reason, message)

    def _plain(self, message: Tokens) -> TokenEvent:
        """All that `message` says is text."""
        stops = self._stops
        read = self._read(message) if self._logprobs is None else (self._read_held(message),)
        parts = read if len(read) > 1 else ()
        text = "".join(read)
        if message.finish is not None and not stops.has_matched:
            rest = stops.push(self._detokenizer.flush())
            rest += "" if stops.has_matched else stops.flush()
            parts = (*parts[:-1], parts[-1] + rest) if parts else ()
            text += rest
        return TokenEvent(
            text=text,
            parts=tuple(parts),
            token_ids=message.token_ids[: len(read)],
            logprobs=() if self._logprobs is None else self._let_go(text, message),
        )

    def _told(self, message: Tokens, reader: AnswerReader) -> TokenEvent:
        """What `message` says, thoughts and calls told from its text.

        Stop strings end what the model says; they mean nothing in thoughts and calls.
        """
        said: list[Said] = []
        num_tokens = num_thought = 0
        pieces = self._detokenizer.push_each(message.token_ids)
        for token_id, piece in zip(message.token_ids, pieces, strict=True):
            num_tokens += 1
            was_thinking = reader.is_thinking
            said.append(self._until_stop(reader.push(piece, token_id)))
            self.reasoning_tokens += was_thinking
            num_thought += was_thinking or reader.is_thinking
            if self._stops.has_matched:
                break
        if message.finish is not None and not self._stops.has_matched:
            said.append(self._until_stop(reader.push(self._detokenizer.flush())))
            said.append(self._until_stop(reader.flush()))
            said.append(Said(text="" if self._stops.has_matched else self._stops.flush()))
        logprobs = () if self._logprobs is None else self._logprobs_of(message)
        shown = reader.reasoning_format if num_thought else ReasoningFormat.TEXT_PARSED
        return TokenEvent(
            text="".join(piece.text for piece in said),
            reasoning="".join(piece.reasoning for piece in said),
            calls=tuple(call for piece in said for call in piece.calls),
            token_ids=message.token_ids[:num_tokens],
            logprobs=logprobs if shown is ReasoningFormat.TEXT_PARSED else (),
            reasoning_logprobs=logprobs if shown is ReasoningFormat.PARSED else (),
        )

    def _reason(self, message: Tokens) -> FinishReason | None:
        """Why the choice ends with `message`; None: it does not."""
        reason = None if message.finish is None else FinishReason(message.finish)
        if self._stops.has_matched:
            reason = FinishReason.STOP
        if reason is FinishReason.STOP and self._reader is not None and self._reader.has_called:
            return FinishReason.TOOL_CALLS
        return reason

    def _until_stop(self, said: Said) -> Said:
        return Said(self._stops.push(said.text), said.reasoning, said.calls) if said.text else said

    def _logprobs_of(self, message: Tokens) -> tuple[TokenLogprob, ...]:
        """Those of one token, at once: where its text went, nobody asks."""
        held = self._logprobs
        assert held is not None, "who calls has them"
        assert message.logprobs is not None, "log-probabilities were asked for"
        (token_id,), (said,) = message.token_ids, message.logprobs
        if not self._is_silent_end(token_id, message):
            held.push(token_id, said, self._written)
        return held.flush()

    def _ended(self, event: TokenEvent, reason: FinishReason, message: Tokens) -> TokenEvent:
        return structs.replace(
            event,
            finish=reason,
            usage=self.usage(),
            timing=Timing(
                queue_s=message.queue_s,
                prompt_s=message.prompt_s,
                completion_s=message.completion_s,
            ),
        )

    def _read(self, message: Tokens) -> Sequence[str]:
        """The text that may go out after each token, up to the one that completes a stop string."""
        pieces = self._detokenizer.push_each(message.token_ids)
        if self._stops.is_empty:
            return pieces
        out: list[str] = []
        for piece in pieces:
            out.append(self._stops.push(piece))
            if self._stops.has_matched:
                break
        return out

    def _read_held(self, message: Tokens) -> str:
        """The text that may go out after one token, its log-probabilities being kept."""
        held = self._logprobs
        assert held is not None, "who calls has them"
        assert message.logprobs is not None, "log-probabilities were asked for"
        (token_id,), (said,) = message.token_ids, message.logprobs
        if not self._is_silent_end(token_id, message):
            held.push(token_id, said, self._written)
        piece = self._detokenizer.push((token_id,))
        self._written += len(piece)
        return self._stops.push(piece)

    def _is_silent_end(self, token_id: int, message: Tokens) -> bool:
        """Whether it is the token that ended the turn: no part of the text, so it has no entry."""
        return message.finish == FinishReason.STOP and not self._tokenizer.token_bytes(token_id)

    def _let_go(self, text: str, message: Tokens) -> tuple[TokenLogprob, ...]:
        """The log-probabilities that go out with `text`, the rest at the end."""
        assert self._logprobs is not None, "who calls has them"
        self._delivered += len(text)
        out = self._logprobs.release(self._delivered)
        is_whole = message.finish is not None and not self._stops.has_matched
        return out + self._logprobs.flush() if is_whole else out


def _tokens_of(message: Tokens) -> Iterator[Tokens]:
    """`message` token by token."""
    last = len(message.token_ids) - 1
    for i, token_id in enumerate(message.token_ids):
        yield structs.replace(
            message,
            token_ids=(token_id,),
            finish=message.finish if i == last else None,
            logprobs=message.logprobs and (message.logprobs[i],),
        )
