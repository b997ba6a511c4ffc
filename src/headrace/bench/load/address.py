"""An endpoint in words: each process of a client opens it for itself."""

from dataclasses import dataclass, field
from pathlib import Path

from headrace.bench.client import HttpTransport
from headrace.bench.client.tokens import token_ends
from headrace.bench.load.player import Endpoint
from headrace.bench.prices import Price
from headrace.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an endpoint is and how it is asked."""

    name: str  # in reports
    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    price: Price | None = None
    tokenizer: Path | None = None  # of its model
    counter: Path | None = None  # the same for all endpoints

    def open(self, clock: Clock) -> Endpoint:
        """The endpoint, with connections of its own. Raises ConfigError."""
        return Endpoint(
            name=self.name,
            model=self.model,
            transport=HttpTransport(self.url, clock, key=self.key),
            price=self.price,
            token_ends=token_ends(self.tokenizer) if self.tokenizer else None,
            counter=token_ends(self.counter) if self.counter else None,
        )
