"""The null backend: right shapes, no arithmetic, paced. Tests of everything above it run on it.

It answers each token id with the next one (modulo the vocabulary), so doubled, lost and crossed
tokens are visible in the output.
"""

import time
from collections.abc import Callable

import numpy as np

from headrace.backends.base import BackendReport, Batch, StepResult
from headrace.backends.repeat import repeat
from headrace.backends.sampling import allowed_of, check_masks
from headrace.model.program import Program


class NullBackend:
    """Counts instead of computing."""

    def __init__(
        self,
        program: Program,
        *,
        num_blocks: int,
        steps_per_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`steps_per_s`: None runs flat out, else each step takes its share of a second."""
        self._program = program
        self._num_blocks = num_blocks
        self._step_s = 1 / steps_per_s if steps_per_s else 0.0
        self._sleep = sleep

    @property
    def program(self) -> Program:
        """The program whose shapes it imitates."""
        return self._program

    @property
    def num_blocks(self) -> int:
        """KV blocks it pretends to own."""
        return self._num_blocks

    def step(self, batch: Batch) -> StepResult:
        """The successor of each sampled row's token, whatever its parameters and biases.

        A mask that does not allow it moves on to the next one that is allowed. Logits, if wanted,
        are one-hot.
        """
        return repeat(batch, self._step_once)

    def report(self) -> BackendReport:
        """It holds and runs nothing."""
        return BackendReport(
            name="null",
            device="no arithmetic",
            weight_bytes=0,
            kv_bytes=0,
            phases={},
            fallback_ops={},
        )

    def close(self) -> None:
        """Nothing to free."""

    def _step_once(self, batch: Batch) -> StepResult:
        if self._step_s:
            self._sleep(self._step_s)
        vocab = self._program.vocab_size
        drawn = ((batch.token_ids[batch.sample_rows] + 1) % vocab).astype(np.int32)
        sampling = batch.sampling
        check_masks(sampling, len(drawn), vocab, is_last_chance=True)
        for m in np.flatnonzero(sampling.mask_rows >= 0):
            allowed = np.flatnonzero(allowed_of(sampling.mask_bits[sampling.mask_rows[m]], vocab))
            drawn[m] = allowed[np.searchsorted(allowed, drawn[m]) % len(allowed)]
        logits = np.eye(vocab, dtype=np.float32)[drawn] if batch.want_logits else None
        shape = (len(batch.taps), len(batch.token_ids), self._program.hidden_size)
        hidden = np.zeros(shape, np.float32) if batch.taps else None
        return StepResult(token_ids=drawn, logits=logits, hidden=hidden)
