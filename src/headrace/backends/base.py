"""The contract of a machine: it owns weights and KV memory and runs a program, whole, per step.

A backend never sees a request, a tier or a socket. It may fuse, repack and reorder loops; it may
not change what is computed, and a row's result may not depend on the other rows of the batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from headrace.model.precision import Tensor
from headrace.model.program import Program

BLOCK_TOKENS = 16  # tokens per KV block: a whole vector of scores per block, < 8 wasted on average
MAX_BIAS = 1e30  # a finite logit plus this much is still finite in float32

# By checkpoint name; usually memory-mapped, read once while loading. A matrix is bf16 or fp16, each
# tensor for itself, and is multiplied as it is; a vector may be fp32 as well.
Weights = Mapping[str, Tensor]


def _none_biased() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


def _no_values() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


def _no_masks() -> NDArray[np.uint32]:
    return np.zeros((0, 0), np.uint32)


@runtime_checkable
class MappedWeights(Protocol):
    """What weights that lie in files can do besides; `Weights` from a checkpoint folder do."""

    @property
    def folder(self) -> str:
        """Where they lie."""
        ...

    @property
    def is_rounded(self) -> bool:
        """Whether some matrix takes rounding each time it is read."""
        ...

    def identity(self) -> str:
        """What tells these files, and how they are read, from all others."""
        ...

    def will_read(self, name: str) -> None:
        """Let the system fetch tensor `name` while other work goes on."""
        ...

    def was_read(self, name: str) -> None:
        """Let go of the memory that tensor `name` takes here; asked for again, it is read again."""
        ...

    def close(self) -> None:
        """Let go of all files until the next tensor is asked for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How each of M sampled rows is drawn; see `types.SamplingParams` for the meaning.

    Before all else `bias_values[b]` is added, in float32, to the row's logit of token
    `bias_ids[b]`, for b from `bias_offsets[m]` to `bias_offsets[m + 1]`. Within a row the ids rise.
    A value lies in -MAX_BIAS..MAX_BIAS, or is -inf: that token cannot be drawn. Some token of
    every row can. Empty offsets: no row has a bias.

    A row whose `mask_rows[m]` is k may draw token v only where bit v % 32 of
    `mask_bits[k, v // 32]` is set; k = -1: any. Empty `mask_rows`: no row has a mask.

    The bits may still be made while the step runs: `await_masks` returns once they are there. Who
    runs the step calls it, on the thread that called, as late as it can before it reads them.
    """

    temperature: NDArray[np.float32]  # [M]; 0: greedy
    top_k: NDArray[np.int32]  # [M]; 0: all
    top_p: NDArray[np.float32]  # [M]
    min_p: NDArray[np.float32]  # [M]
    seed: NDArray[np.uint64]  # [M]
    bias_offsets: NDArray[np.int32] = field(default_factory=_none_biased)  # [M + 1] or [0]
    bias_ids: NDArray[np.int32] = field(default_factory=_none_biased)  # [B]
    bias_values: NDArray[np.float32] = field(default_factory=_no_values)  # [B]
    mask_rows: NDArray[np.int32] = field(default_factory=_none_biased)  # [M] or [0]
    mask_bits: NDArray[np.uint32] = field(default_factory=_no_masks)  # [K, ceil(V / 32)]
    await_masks: Callable[[], None] | None = None  # None: they are there

    @classmethod
    def greedy(cls, rows: int) -> "Sampling":
        """The likeliest token for each of `rows` rows."""
        return cls(
            temperature=np.zeros(rows, np.float32),
            top_k=np.zeros(rows, np.int32),
            top_p=np.ones(rows, np.float32),
            min_p=np.zeros(rows, np.float32),
            seed=np.zeros(rows, np.uint64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """T rows of S sequences; M of the rows are sampled. All arrays C-contiguous.

    Rows of one sequence stand together in rising position. Every slot a row attends to was written
    by an earlier step or by an earlier row of this batch. Token `p` of sequence `s` lives in slot
    `p % BLOCK_TOKENS` of block `block_tables[s, p // BLOCK_TOKENS]`.

    With `steps` above 1 the rows are one of each sequence, all are sampled in order (`sample_rows`
    is 0..T-1), and there are no biases, masks, taps and logits. Each further step feeds every row
    the token it drew, at the next position; the tables reach up to position + steps - 1 of each
    row.
    """

    token_ids: NDArray[np.int32]  # [T]
    positions: NDArray[np.int32]  # [T]
    row_sequence: NDArray[np.int32]  # [T], 0..S-1
    block_tables: NDArray[np.int32]  # [S, W]; entries beyond a sequence's length are ignored
    sample_rows: NDArray[np.int32]  # [M], rows whose next token is wanted
    sampling: Sampling
    taps: tuple[int, ...] = ()  # layers whose residual stream is wanted
    want_logits: bool = False
    steps: int = 1  # how often the program runs; see `repeat` for what that means


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one call gives. The arrays belong to the caller."""

    # [steps * M], step by step; the first M are for positions `positions[sample_rows[m]] + 1`
    token_ids: NDArray[np.int32]
    logits: NDArray[np.float32] | None = None  # [M, V], the model's own, when asked for
    hidden: NDArray[np.float32] | None = None  # [len(taps), T, hidden], when asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """What `doctor` and the logs say about a loaded backend."""

    name: str
    device: str  # one line: instruction set, threads
    weight_bytes: int  # resident, as packed
    kv_bytes: int
    phases: dict[str, int]  # how many phases of each kind a step runs
    fallback_ops: dict[str, int]  # operations no phase matched, by kind; run one by one
    loaded_from: str = "checkpoint"  # or the packed cache; and whether it was kept there


class Backend(Protocol):
    """A loaded program. Methods are called by one thread at a time."""

    @property
    def program(self) -> Program:
        """The program it was loaded with."""
        ...

    @property
    def num_blocks(self) -> int:
        """KV blocks it owns, of `BLOCK_TOKENS` tokens each."""
        ...

    def step(self, batch: Batch) -> StepResult:
        """Run the whole program over the rows of `batch`, sampling included, `batch.steps` times.

        Raises BackendError when the machine failed, the KV blocks of the batch being undefined
        then, or when the batch is not valid.
        """
        ...

    def report(self) -> BackendReport:
        """What it is and how it runs the program."""
        ...

    def close(self) -> None:
        """Free memory and threads. May be called twice; no other call may follow."""
        ...
