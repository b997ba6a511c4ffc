"""Tokens to events: what one choice of an answer has said so far."""

from dataclasses import dataclass

from headrace.engine.messages import Tokens
from headrace.gateway.stop_strings import StopStrings
from headrace.model import Detokenizer
from headrace.types import FinishReason, Timing, TokenEvent, Usage


@dataclass(slots=True)
class Answer:
    """Text, stop strings and counts of one choice."""

    prompt_tokens: int
    detokenizer: Detokenizer
    stops: StopStrings
    completion_tokens: int = 0
    cached_tokens: int = 0

    def usage(self) -> Usage:
        """What was counted so far."""
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )

    def take(self, message: Tokens) -> TokenEvent:
        """The event that `message` makes; a stop string in its text ends the choice with it."""
        self.completion_tokens += len(message.token_ids)
        self.cached_tokens = message.cached_tokens
        text = self.stops.push(self.detokenizer.push(message.token_ids))
        reason = None if message.finish is None else FinishReason(message.finish)
        if reason is not None and not self.stops.has_matched:
            text += self.stops.push(self.detokenizer.flush())
            text += "" if self.stops.has_matched else self.stops.flush()
        if self.stops.has_matched:
            reason = FinishReason.STOP
        if reason is None:
            return TokenEvent(text=text, token_ids=message.token_ids)
        return TokenEvent(
            text=text,
            token_ids=message.token_ids,
            finish=reason,
            usage=self.usage(),
            timing=Timing(
                queue_s=message.queue_s,
                prompt_s=message.prompt_s,
                completion_s=message.completion_s,
            ),
        )
