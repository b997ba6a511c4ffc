"""How late the client itself is. A result that measures its own client is none."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.bench.metrics import Attempt
from headrace.clock import Clock

MAX_LAG_S = 0.005
MAX_CPU_SHARE = 0.7
_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLag:
    """Of one run. Delays in seconds, 99th percentiles."""

    loop_p99_s: float  # by how much the event loop was late for a timer
    dispatch_p99_s: float | None  # open loop: sends after their time
    cpu_share: float  # of one processor

    @property
    def is_valid(self) -> bool:
        """Whether the client was quick enough for what it measured."""
        late_s = max(self.loop_p99_s, self.dispatch_p99_s or 0.0)
        return late_s <= MAX_LAG_S and self.cpu_share <= MAX_CPU_SHARE

    def worse(self, other: "ClientLag | None") -> "ClientLag":
        """Whatever is worse of the two; None is nothing."""
        if other is None:
            return self
        delays = [d for d in (self.dispatch_p99_s, other.dispatch_p99_s) if d is not None]
        return ClientLag(
            loop_p99_s=max(self.loop_p99_s, other.loop_p99_s),
            dispatch_p99_s=max(delays, default=None),
            cpu_share=max(self.cpu_share, other.cpu_share),
        )


class LagWatch:
    """Watches the event loop while the block runs."""

    def __init__(self, clock: Clock, cpu_s: Callable[[], float]) -> None:
        """`cpu_s` gives the processor time of this process."""
        self._clock = clock
        self._cpu_s = cpu_s
        self._late: list[float] = []
        self._began_s = self._began_cpu_s = 0.0

    async def __aenter__(self) -> "LagWatch":
        self._began_s, self._began_cpu_s = self._clock.now_s(), self._cpu_s()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self._took_s = self._clock.now_s() - self._began_s
        self._cpu_took_s = self._cpu_s() - self._began_cpu_s

    async def _tick(self) -> None:
        while True:
            due_s = self._clock.now_s() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self._late.append(max(0.0, self._clock.now_s() - due_s))

    def lag(self, attempts: Sequence[Attempt]) -> ClientLag:
        """After the block: what `attempts` suffered from."""
        delays = [a.woke_s - a.start_s for a in attempts if a.woke_s is not None]
        return ClientLag(
            loop_p99_s=float(np.quantile(self._late, 0.99)) if self._late else 0.0,
            dispatch_p99_s=float(np.quantile(delays, 0.99)) if delays else None,
            cpu_share=self._cpu_took_s / self._took_s if self._took_s > 0 else 0.0,
        )
