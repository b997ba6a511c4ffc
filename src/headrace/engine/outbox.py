"""What the engine has said and could not send yet. Tokens of one sequence become one message."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import structs

from headrace.engine.messages import FromEngine, Stats, Tokens


@dataclass(slots=True)
class Outbox:
    """Messages in order; at most one `Tokens` a sequence and one `Stats`, the newest."""

    _messages: list[FromEngine] = field(default_factory=list[FromEngine])
    _places: dict[str, int] = field(default_factory=dict[str, int])

    def __bool__(self) -> bool:
        return bool(self._messages)

    def put(self, messages: Iterable[FromEngine]) -> None:
        """Add messages behind those that wait."""
        for message in messages:
            key = _key(message)
            place = None if key is None else self._places.get(key)
            if place is not None:
                self._messages[place] = _joined(self._messages[place], message)
                continue
            if key is not None:
                self._places[key] = len(self._messages)
            self._messages.append(message)

    def take(self) -> list[FromEngine]:
        """All of them; the box is empty then."""
        messages = self._messages
        self._messages, self._places = [], {}
        return messages


def _key(message: FromEngine) -> str | None:
    """Messages of one key may be joined."""
    if isinstance(message, Tokens):
        return message.id
    return "" if isinstance(message, Stats) else None


def _joined(earlier: FromEngine, later: FromEngine) -> FromEngine:
    if isinstance(earlier, Tokens) and isinstance(later, Tokens):
        logprobs = later.logprobs
        if earlier.logprobs is not None and logprobs is not None:
            logprobs = earlier.logprobs + logprobs
        token_ids = earlier.token_ids + later.token_ids
        return structs.replace(later, token_ids=token_ids, logprobs=logprobs)
    return later
