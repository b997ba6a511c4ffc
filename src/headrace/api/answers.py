"""What goes out: models, usage, and whole answers. `sse` has the streamed ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from starlette.responses import Response

from headrace import __version__
from headrace.api.charge import Charge
from headrace.api.choice import Choice
from headrace.errors import HeadraceError
from headrace.gateway.base import ModelCard
from headrace.types import FinishReason, Timing, TokenEvent, Usage


class JsonResponse(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """The body."""
        return msgspec.json.encode(content)


PRIVATE = {"cache-control": "no-store"}  # headers of what nobody on the way may keep


def usage_object(used: Usage) -> dict[str, Any]:
    """Tokens used. The details are integers even when unused: some clients' types need them."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.total_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def fingerprint(card: ModelCard) -> str:
    """`fp_` and 20 hex digits that change with the build and the model."""
    facts = (__version__, card.root, card.created, card.parameters, card.backend)
    return "fp_" + sha256(repr(facts).encode()).hexdigest()[:20]


@dataclass(slots=True)
class Tally:
    """What a stream of events has amounted to so far; `choices` will end."""

    choices: int = 1
    completion_tokens: int = 0
    timing: Timing | None = None
    failure: HeadraceError | None = None  # why there will be no finish
    charge: Charge | None = None  # told of tokens, and of the end, before the client is
    _ended: int = 0
    _finish: FinishReason | None = None
    _usage: Usage | None = None

    def add(self, event: TokenEvent) -> None:
        """Count one event."""
        tokens = len(event.token_ids)
        self.completion_tokens += tokens
        if self.charge is not None and tokens:
            self.charge.count(tokens)
        if event.usage is not None:
            self._usage = event.usage
        if event.finish is not None:
            self._ended += 1
            self._finish = event.finish
            self.timing = event.timing
            if self.charge is not None and self.is_complete:
                self.charge.settle(self.usage)

    @property
    def is_complete(self) -> bool:
        """Whether every choice has ended."""
        return self._ended == self.choices

    @property
    def finish(self) -> FinishReason | None:
        """Why the last choice ended; None before."""
        return self._finish if self.is_complete else None

    @property
    def usage(self) -> Usage:
        """What the provider reported, or, of an answer that broke off, what was seen of it."""
        if self._usage is not None and self.is_complete:
            return self._usage
        known = self._usage or Usage(prompt_tokens=0, completion_tokens=0)
        return Usage(
            prompt_tokens=known.prompt_tokens,
            completion_tokens=max(known.completion_tokens, self.completion_tokens),
            cached_tokens=known.cached_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHead:
    """What an answer and all chunks of it begin with."""

    id: str
    card: ModelCard
    created_unix: float
    service_tier: str | None = None  # the caller's own word

    def opening(self, kind: str) -> dict[str, Any]:
        """The first fields; `kind` is the object's name."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        if self.service_tier == "auto":
            tier["service_tier_used"] = "default"
        return {
            "id": self.id,
            "object": kind,
            "created": int(self.created_unix),
            "model": self.card.id,
            "system_fingerprint": fingerprint(self.card),
            **tier,
        }

    def closing(self, tally: Tally) -> dict[str, Any]:
        """Usage, and where the time went, in seconds."""
        timing = tally.timing or Timing(queue_s=0.0, prompt_s=0.0, completion_s=0.0)
        return {
            "usage": usage_object(tally.usage),
            "time_info": {
                "queue_time": timing.queue_s,
                "prompt_time": timing.prompt_s,
                "completion_time": timing.completion_s,
                "total_time": timing.total_s,
                "created": self.created_unix,
            },
        }


def chat_completion(head: AnswerHead, choices: Sequence[Choice], tally: Tally) -> dict[str, Any]:
    """The answer of a chat request without `stream`; `choices` by index."""
    objects = [choice.object() for choice in choices]
    return {**head.opening("chat.completion"), "choices": objects, **head.closing(tally)}
