"""Stop strings across token borders. Pure."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on until a stop string appears; holds back what might begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held: str = ""
        self.is_empty = not self._stops  # then everything passes
        self.has_matched = False

    def push(self, text: str) -> str:
        """The text that is safe to deliver; `has_matched` tells whether a stop string ended it.

        Of several complete stop strings the one that begins first wins; one that is complete
        wins over one that began earlier and might still come.
        """
        if self.is_empty or self.has_matched:
            return "" if self.has_matched else text
        text = self._held + text
        starts = [start for stop in self._stops if (start := text.find(stop)) >= 0]
        if starts:
            self.has_matched = True
            self._held = ""
            return text[: min(starts)]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when the sequence ends without a match."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
