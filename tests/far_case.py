"""The golden case of 131,072 positions, written by tools/make_golden.py, with types.

transformers reads the whole prompt with the last layer attending to every position before each;
stored are the logits of a few rows. Its first layer sees a window, so that reading it again is
affordable, and its scores are sharp, so that a turn by a wrong angle shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.model import LanguageModel, open_model
from tests.golden_cases import GOLDEN
from tests.tiny_llama import rows_batch


@dataclass(frozen=True, slots=True, kw_only=True)
class FarCase:
    """A tiny model, a prompt of its whole context, and the logits of some of its rows."""

    model: LanguageModel
    prompt: NDArray[np.int32]  # [131072]
    rows: tuple[int, ...]  # the last among them
    logits: NDArray[np.float32]  # [rows, V]

    @property
    def num_blocks(self) -> int:
        """KV blocks the prompt takes."""
        return len(self.prompt) // BLOCK_TOKENS

    @property
    def tables(self) -> NDArray[np.int32]:
        """One sequence, its blocks in no order."""
        order = np.random.default_rng(0).permutation(self.num_blocks)
        return order[None].astype(np.int32)

    def pieces(self, size: int) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """The prompt, `size` rows at a time, sampling the judged ones: which these are, too."""
        tables = self.tables
        for start in range(0, len(self.prompt), size):
            judged = tuple(row for row in self.rows if start <= row < start + size)
            batch = rows_batch({0: (start, self.prompt[start : start + size].tolist())}, tables)
            chosen = np.array(judged, np.int32) - np.int32(start)
            sampling = Sampling.greedy(len(judged))
            yield replace(batch, sample_rows=chosen, sampling=sampling), judged


def load_far_case() -> FarCase:
    """The case."""
    folder = GOLDEN / "far"
    with np.load(folder / "far.npz") as arrays:
        return FarCase(
            model=open_model(folder),
            prompt=arrays["prompt"].astype(np.int32),
            rows=tuple(arrays["rows"].tolist()),
            logits=arrays["logits"],
        )
