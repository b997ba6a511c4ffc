"""The native library; see native/include/headrace/*.hpp. All arrays are C-contiguous."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS: int
LANES: int

def available_isas() -> list[str]:
    """Kernel tables that run here, slowest first."""

def physical_cores() -> int: ...
def read_bandwidth(bytes: int, threads: int, seconds: float) -> float: ...
def barrier_seconds(threads: int) -> float: ...
def round_trip_seconds() -> float | None: ...
def digest(bytes: memoryview | NDArray[np.uint8]) -> int:
    """A 64-bit checksum of contiguous bytes, at the speed of memory; other threads run on."""

def sample(
    logits: NDArray[np.float32],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    seed: int,
    position: int,
) -> int:
    """Draw one token from logits [V], finite or -inf; `position` is the one it will take."""

class Machine:
    """A program being declared, then loaded, then run. Ids count up from 0 for each kind.

    Every method raises ValueError on arguments that do not fit together.
    """

    def __init__(
        self,
        isa: str,
        threads: int,
        vocab: int,
        hidden: int,
        max_positions: int,
        num_blocks: int,
    ) -> None:
        """`isa`: one of available_isas(), or "" for the fastest."""

    def add_buffer(self, width: int) -> int: ...
    def add_vector(self, values: NDArray[np.float32]) -> int: ...
    def add_rope(
        self,
        frequencies: NDArray[np.float32],
        first: int = 0,
        interleaved: bool = False,
        scale: float = 1.0,
    ) -> int: ...
    def add_layer(self, kv_heads: int, head_dim: int, value_dim: int | None = None) -> int: ...
    def add_matrix(
        self,
        source_rows: Sequence[int],
        inputs: int,
        order: NDArray[np.uint32],
        unit: int,
        grain: int,
        apart: bool = False,
        format: int = 0,
    ) -> int:
        """`order` [blocks, 2]: source and first row of each block of 16 outputs.

        `unit` blocks stay with one worker, `grain` blocks in one panel; `apart`: a panel has blocks
        of one source only. `format` of a weight: 0 bf16, 1 IEEE 754 binary16, 2 MXFP4.
        """

    def embed(self, out: int, matrix: int, scale: float = 1.0) -> None: ...
    def norm(
        self, inp: int, out: int, weight: int, eps: float, heads: int = 1, rest: int = 0
    ) -> None: ...
    def linear(
        self,
        matrix: int,
        inp: int,
        norm: tuple[int, float] | None,
        biases: Sequence[int | None],
        outs: Sequence[int],
        finish: int,
        tap: int | None,
    ) -> None: ...
    def head_linear(self, matrix: int, inp: int, out: int, /) -> None:
        """A source of `matrix` per head, each for its own part of `inp`."""

    def attention(
        self,
        layer: int,
        rope_q: int | None,
        rope_k: int | None,
        k: int | None,
        v: int | None,
        q: int | None,
        out: int | None,
        heads: int,
        scale: float,
        window: int | None = None,
        sinks: int | None = None,
    ) -> None: ...
    def rope(self, buffer: int, rope: int, heads: int, /) -> None: ...
    def activate(self, gate: int, up: int, out: int, finish: int = 2) -> None: ...
    def route(
        self,
        inp: int,
        out: int,
        top: int,
        normalised: bool,
        sigmoid: bool,
        correction: int | None,
        groups: tuple[int, int] | None,
        scale: float,
        /,
    ) -> None: ...
    def experts(
        self,
        up: Sequence[int],
        down: Sequence[int],
        inp: int,
        routed: int,
        inner: int,
        out: int,
        width: int,
        biases: Sequence[tuple[int, int, int]],
        clamp: tuple[float, float] | None,
        /,
    ) -> None:
        """`up`: gate and up blocks in turn, `down`: a matrix for each expert. `inner` has a slot of
        `width` values for each expert that counts. `biases`: vectors of gate, up and down for each,
        or none. `clamp`: alpha and limit of gpt-oss' gated product."""

    def add(self, inp: int, out: int, /) -> None: ...
    def tap(self, inp: int, layer: int, /) -> None: ...
    def head(self, matrix: int, inp: int, norm: tuple[int, float] | None) -> None: ...
    def allocate(self) -> None: ...
    def pack(self, matrix: int, source: int, values: NDArray[np.uint16]) -> None: ...
    def pack_mxfp4(
        self, matrix: int, source: int, codes: NDArray[np.uint8], scales: NDArray[np.uint8]
    ) -> None:
        """codes [rows, inputs / 2], scales [rows, inputs / 32]."""

    def packed(self, worker: int) -> NDArray[np.uint8]:
        """All that a worker has packed, as bytes, not copied."""

    def map_packed(self, worker: int, descriptor: int, offset: int) -> bool:
        """Let that memory be the file's bytes from `offset`, read only; False: it is not."""

    def pin_packed(self, worker: int) -> bool:
        """Ask the system to keep in memory what is mapped; False when this process may not."""

    def clear_packed(self, worker: int) -> None:
        """Zeroed memory that may be written again."""

    def unpack(self, matrix: int, source: int, values: NDArray[np.uint16]) -> None: ...
    def unpack_mxfp4(
        self, matrix: int, source: int, codes: NDArray[np.uint8], scales: NDArray[np.uint8]
    ) -> None: ...
    def step(
        self,
        token_ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        row_sequence: NDArray[np.int32],
        block_tables: NDArray[np.int32],
        sample_rows: NDArray[np.int32],
        temperature: NDArray[np.float32],
        top_k: NDArray[np.int32],
        top_p: NDArray[np.float32],
        min_p: NDArray[np.float32],
        seed: NDArray[np.uint64],
        bias_offsets: NDArray[np.int32],
        bias_ids: NDArray[np.int32],
        bias_values: NDArray[np.float32],
        mask_rows: NDArray[np.int32],
        mask_bits: NDArray[np.uint32],
        await_masks: Callable[[], None] | None,
        tokens: NDArray[np.int32],
        logits: NDArray[np.float32] | None,
        taps: NDArray[np.int32] | None,
        hidden: NDArray[np.float32] | None,
        vocab: int,
        hidden_size: int,
        steps: int,
    ) -> bool:
        """Run the program `steps` times; False when a logit was not finite.

        Writes tokens [steps, M], logits, hidden. What `await_masks` raises is raised at the end.
        """

    def watch_phases(self, on: bool) -> None:
        """From now on take down how long phases take, or no more."""

    @property
    def num_phases(self) -> int: ...
    @property
    def phase_seconds(self) -> list[float]:
        """Of each phase with its barrier, over the steps that were watched."""

    @property
    def isa(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def kv_bytes(self) -> int: ...
