"""The contract of whoever completes requests: the local engine, or a provider over HTTP."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from headrace.types import Request, TokenEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What callers may know about a served model."""

    id: str
    created: int  # unix seconds
    owned_by: str
    context_tokens: int
    parameters: int
    backend: str  # "cpu", "reference", …


class Provider(Protocol):
    """Completes requests for a set of models."""

    @property
    def models(self) -> tuple[ModelCard, ...]:
        """The models it serves, in the order they were named."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a request would be taken now."""
        ...

    def stream(self, request: Request) -> AsyncGenerator[TokenEvent, None]:
        """Complete `request`: each choice ends with `finish`, the last also with usage and timing.

        The first event comes as soon as the request is admitted and its prompt checked, and may
        hold no text: an HTTP edge waits for it before it commits to a status. Closing the iterator
        cancels the request and frees all it holds.
        Raises UnknownModel, ContextTooLong, InvalidRequest or QueueFull before the first event,
        and EngineError at any time.
        """
        ...
