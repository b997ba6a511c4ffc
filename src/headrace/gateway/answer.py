"""Tokens to events: what one choice of an answer has said so far."""

from collections.abc import Iterator, Sequence

from msgspec import structs

from headrace.engine.messages import Tokens
from headrace.engine.stride import MAX_STEPS
from headrace.gateway.stop_strings import StopStrings
from headrace.gateway.token_logprobs import HeldLogprobs
from headrace.model import Detokenizer, Tokenizer
from headrace.types import FinishReason, Timing, TokenEvent, TokenLogprob, Usage


class Answer:
    """Text, stop strings, log-probabilities and counts of one choice."""

    def __init__(
        self, tokenizer: Tokenizer, *, prompt_tokens: int, stop: Sequence[str], has_logprobs: bool
    ) -> None:
        self.completion_tokens = 0
        self.cached_tokens = 0
        self._prompt_tokens = prompt_tokens
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stops = StopStrings(stop)
        self._logprobs = HeldLogprobs(tokenizer) if has_logprobs else None
        self._written = 0  # characters the tokens made; counted for the log-probabilities only
        self._delivered = 0  # characters that went out; likewise

    def usage(self) -> Usage:
        """What was counted so far."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )

    def events(self, message: Tokens) -> Iterator[TokenEvent]:
        """The events that `message` makes, up to the one that ends the choice.

        One for each token, unless there are more than the engine draws in one call: those were
        joined because the front is slow, and make one event.
        """
        for part in _parts(message):
            event = self.take(part)
            yield event
            if event.finish is not None:
                return

    def take(self, message: Tokens) -> TokenEvent:
        """The event that `message` makes; a stop string in its text ends the choice with it."""
        self.completion_tokens += len(message.token_ids)
        self.cached_tokens = message.cached_tokens
        stops = self._stops
        text = self._read(message)
        reason = None if message.finish is None else FinishReason(message.finish)
        if reason is not None and not stops.has_matched:
            text += stops.push(self._detokenizer.flush())
            text += "" if stops.has_matched else stops.flush()
        if stops.has_matched:
            reason = FinishReason.STOP
        logprobs = () if self._logprobs is None else self._let_go(text, is_last=reason is not None)
        if reason is None:
            return TokenEvent(text=text, token_ids=message.token_ids, logprobs=logprobs)
        return TokenEvent(
            text=text,
            token_ids=message.token_ids,
            logprobs=logprobs,
            finish=reason,
            usage=self.usage(),
            timing=Timing(
                queue_s=message.queue_s,
                prompt_s=message.prompt_s,
                completion_s=message.completion_s,
            ),
        )

    def _read(self, message: Tokens) -> str:
        """The text of the tokens that may go out, their log-probabilities being kept."""
        held = self._logprobs
        if held is None:
            return self._stops.push(self._detokenizer.push(message.token_ids))
        assert message.logprobs is not None, "log-probabilities were asked for"
        text = ""
        for token_id, said in zip(message.token_ids, message.logprobs, strict=True):
            if not self._is_silent_end(token_id, message):
                held.push(token_id, said, self._written)
            piece = self._detokenizer.push((token_id,))
            self._written += len(piece)
            text += self._stops.push(piece)
        return text

    def _is_silent_end(self, token_id: int, message: Tokens) -> bool:
        """Whether it is the token that ended the turn: no part of the text, so it has no entry."""
        is_end = message.finish == FinishReason.STOP and not self._tokenizer.token_bytes(token_id)
        return is_end and token_id == message.token_ids[-1]

    def _let_go(self, text: str, *, is_last: bool) -> tuple[TokenLogprob, ...]:
        assert self._logprobs is not None
        self._delivered += len(text)
        out = self._logprobs.release(self._delivered)
        return out + self._logprobs.flush() if is_last and not self._stops.has_matched else out


def _parts(message: Tokens) -> Iterator[Tokens]:
    last = len(message.token_ids) - 1
    if not 0 < last < MAX_STEPS:
        yield message
        return
    for i, token_id in enumerate(message.token_ids):
        yield structs.replace(
            message,
            token_ids=(token_id,),
            finish=message.finish if i == last else None,
            logprobs=message.logprobs and (message.logprobs[i],),
        )
