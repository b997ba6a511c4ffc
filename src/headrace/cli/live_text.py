"""An answer as it arrives, and under it how fast: for terminals; plain text for pipes."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from headrace.clock import Clock
from headrace.types import TokenEvent

REFRESH_PER_S = 12


class LiveText:
    """Shows the events of one answer. Speed: (tokens - 1) / (last - first token)."""

    def __init__(self, clock: Clock, *, quiet: bool = False) -> None:
        self._clock = clock
        self._quiet = quiet
        self._console = Console(highlight=False)
        self._started_s = clock.now_s()
        self._first_s: float | None = None
        self._last_s = 0.0
        self._pieces: list[str] = []
        self._line = ""  # the last line, not printed for good yet
        self.tokens = 0
        self._live = Live(
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_PER_S,
            get_renderable=self._render,
        )

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._is_live:
            self._live.stop()
            self._console.print(Text(self._line))
        elif not self._quiet:
            sys.stdout.write("\n")
        if not self._quiet and kind is None:
            Console(stderr=True, highlight=False).print(Text(self.status, style="dim"))

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._pieces)

    @property
    def ttft_s(self) -> float:
        """Asked to first token, in seconds; 0 before it."""
        return 0.0 if self._first_s is None else self._first_s - self._started_s

    @property
    def decode_tok_s(self) -> float:
        """Tokens per second after the first."""
        elapsed_s = self._last_s - (self._first_s or self._last_s)
        return (self.tokens - 1) / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def status(self) -> str:
        """The line under the answer."""
        if self._first_s is None:
            return "reading"
        return (
            f"{self.tokens} tokens · first after {self.ttft_s * 1e3:,.0f} ms"
            f" · {self.decode_tok_s:,.0f} tokens/s"
        )

    def add(self, event: TokenEvent) -> None:
        """Show one event."""
        if event.token_ids or event.text:
            self._last_s = self._clock.now_s()
            if self._first_s is None:
                self._first_s = self._last_s
        self.tokens = (
            event.usage.completion_tokens if event.usage else (self.tokens + len(event.token_ids))
        )
        self._pieces.append(event.text)
        if self._is_live:
            *done, self._line = (self._line + event.text).split("\n")
            for line in done:
                self._console.print(Text(line))
        elif not self._quiet:
            sys.stdout.write(event.text)
            sys.stdout.flush()

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._quiet

    def _render(self) -> Group:
        return Group(Text(self._line), Text(self.status, style="dim"))
