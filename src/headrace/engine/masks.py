"""What the grammars of one step's sequences allow: made before the step, or beside it."""

from collections.abc import Sequence as Seq
from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np

from headrace.backends.base import Sampling
from headrace.engine.sequence import Sequence
from headrace.errors import EngineError

_ALL = np.uint32(0xFFFF_FFFF)


class Masks:
    """The masks of one step, one for each sequence that has a grammar."""

    def __init__(self, sequences: Seq[Sequence], vocab_size: int) -> None:
        """Of `sequences`, which all have a grammar; nothing is filled yet."""
        self._rows = {sequence: row for row, sequence in enumerate(sequences)}
        self._bits = np.zeros((len(sequences), -(-vocab_size // 32)), np.uint32)
        self._last = _ALL >> np.uint32(-vocab_size % 32)  # the tokens there are, of the last word
        self._filled: Future[None] | None = None  # None: by whoever asked for it, at once
        self.lost: dict[Sequence, Exception] = {}  # whose grammar could not say, and why

    def fill(self) -> None:
        """Have each grammar say what may come next. One that cannot is `lost`, its row any token's:
        what is drawn for it is nobody's."""
        for sequence, row in self._rows.items():
            try:
                assert sequence.grammar is not None, "a sequence without a grammar has no mask"
                sequence.grammar.fill(self._bits[row])
                self._bits[row, -1] &= self._last
                if not self._bits[row].any():
                    raise EngineError("a grammar allows no token of this model")
            except Exception as exc:  # noqa: BLE001 (one sequence's trouble is not the others')
                self._bits[row] = _ALL
                self.lost[sequence] = exc

    def fill_beside(self, thread: Executor) -> None:
        """Begin to fill on `thread`; `wait` says when it is done."""
        self._filled = thread.submit(self.fill)

    def wait(self) -> None:
        """Return once all is filled. Until then nobody else may touch the grammars."""
        if self._filled is not None:
            self._filled.result()

    def applied(self, plain: Sampling, sampled: Seq[Sequence]) -> Sampling:
        """`plain`, with the masks of those of `sampled` that have one."""
        rows = [self._rows.get(sequence, -1) for sequence in sampled]
        return replace(
            plain,
            mask_rows=np.array(rows, np.int32),
            mask_bits=self._bits,
            await_masks=None if self._filled is None else self.wait,
        )
