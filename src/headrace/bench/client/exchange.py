"""What one HTTP exchange was: bytes, each with the moment it arrived."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request that was sent, and all that came back. Times are seconds of one monotonic clock."""

    sent_s: float  # just before the request was written
    connect_s: float | None = None  # to set up a new connection, TLS included; None: a kept one
    status: int = 0  # 0: no answer
    is_stream: bool = False  # server-sent events
    arrivals: tuple[tuple[float, bytes], ...] = ()  # pieces of the body, without its framing
    ended_s: float
    fault: str = ""  # why it did not end as HTTP has it


class Transport(Protocol):
    """Sends a body to an endpoint's chat completions."""

    async def post(
        self, body: bytes, on_piece: Callable[[float, bytes], None] | None = None
    ) -> Exchange:
        """Never raises for what the network or the endpoint does: `Exchange.fault` says it.

        `on_piece` sees each piece as it arrives; it must be quick.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...
