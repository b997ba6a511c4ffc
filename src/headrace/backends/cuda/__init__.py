"""The cuda backend: fused Triton kernels, recorded in a CUDA graph.

Importing this needs neither PyTorch nor a GPU; loading a program does, and says what is missing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.backends.base import Weights
from headrace.backends.cuda.device import open_device, read_device_memory
from headrace.model.program import Program

if TYPE_CHECKING:
    from headrace.backends.cuda.backend import CudaBackend

__all__ = ["load_cuda", "open_device", "read_device_memory"]


def load_cuda(
    program: Program,
    weights: Weights,
    *,
    num_blocks: int,
    progress: Callable[[int, int], None] | None = None,
) -> "CudaBackend":
    """Load `program` on the GPU; see `CudaBackend`. Raises KernelMissing saying what is missing."""
    open_device()
    from headrace.backends.cuda.backend import CudaBackend

    return CudaBackend(program, weights, num_blocks=num_blocks, progress=progress)
