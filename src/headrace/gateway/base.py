"""The contract of whoever completes requests: the local engine, or a provider over HTTP."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from headrace.types import Request, TokenEvent, TokenizeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What callers may know about a served model."""

    id: str
    created: int  # unix seconds
    owned_by: str
    context_tokens: int
    parameters: int
    backend: str  # "cpu", "reference", …
    alias_of: str = ""  # the id of the model it is another name for; "": it is the model itself
    quantization: str = ""  # "bf16", "fp16"; "": both are in it
    description: str = ""
    hugging_face_id: str = ""
    thinks: bool = False  # it may think before it answers
    organisations: tuple[str, ...] = ()  # whose alone it is; (): everybody's

    @property
    def root(self) -> str:
        """The model's own id, whatever it was asked for as."""
        return self.alias_of or self.id

    def is_for(self, organisation_id: str) -> bool:
        """Whether members of an organisation may know of it; "" is whoever has the server."""
        return not self.organisations or organisation_id in ("", *self.organisations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """A prompt as a model reads it."""

    token_ids: tuple[int, ...]
    spellings: tuple[str, ...] | None = None  # the vocabulary's word for each, if asked for
    context_tokens: int


class Provider(Protocol):
    """Completes requests for a set of models."""

    @property
    def models(self) -> tuple[ModelCard, ...]:
        """The models it serves, in the order they were named, each followed by its aliases."""
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

    async def prepared(self, request: Request) -> Request:
        """The request with its prompt's token ids, so that they can be counted before it runs.

        Raises UnknownModel, or InvalidRequest when the model cannot read it.
        """
        ...

    async def tokenize(self, asked: TokenizeRequest) -> Tokenized:
        """The token ids of a prompt. Raises UnknownModel or InvalidRequest."""
        ...

    async def detokenize(self, model: str, token_ids: tuple[int, ...]) -> str:
        """The text that token ids write; control tokens write nothing.

        Raises UnknownModel, or InvalidRequest for an id that is not in the vocabulary.
        """
        ...
