"""Where the kernels run: a CUDA device, or the processor under Triton's interpreter."""
# pyright: basic, reportMissingImports=false

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headrace.backends.host import Memory, read_memory
from headrace.errors import KernelMissing

_PDL_CAPABILITY = (9, 0)  # Hopper: programmatic dependent launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the backend must know of the machine."""

    name: str
    torch_name: str  # "cuda" or "cpu"
    has_graphs: bool  # a step can be recorded and replayed
    has_pdl: bool  # a kernel may start before its predecessor has ended
    multiprocessors: int
    total_bytes: int  # of memory, its own or this process's
    free_bytes: int


def open_device() -> Device:
    """The device of this process. Raises KernelMissing with what is missing.

    Without CUDA the kernels run under the interpreter, if Triton was told so before it was imported
    (`TRITON_INTERPRET=1`): slow, for tests of what they compute.
    """
    try:
        torch: Any = import_module("torch")
        triton: Any = import_module("triton")
    except ImportError as error:
        raise KernelMissing(
            f"The cuda backend needs PyTorch and Triton ({error}): pip install 'headrace[cuda]'."
        ) from error
    if triton.knobs.runtime.interpret:
        host = read_memory()
        return Device(
            name="Triton's interpreter",
            torch_name="cpu",
            has_graphs=False,
            has_pdl=False,
            multiprocessors=1,
            total_bytes=host.total_bytes,
            free_bytes=host.available_bytes,
        )
    if not torch.cuda.is_available():
        raise KernelMissing("The cuda backend needs an NVIDIA GPU, and this machine shows none.")
    free, total = torch.cuda.mem_get_info()
    return Device(
        name=torch.cuda.get_device_name(),
        torch_name="cuda",
        has_graphs=True,
        has_pdl=torch.cuda.get_device_capability() >= _PDL_CAPABILITY,
        multiprocessors=torch.cuda.get_device_properties().multi_processor_count,
        total_bytes=total,
        free_bytes=free,
    )


def read_device_memory() -> Memory:
    """What the device's memory holds and has free. Raises KernelMissing as `open_device`."""
    device = open_device()
    return Memory(total_bytes=device.total_bytes, available_bytes=device.free_bytes)
