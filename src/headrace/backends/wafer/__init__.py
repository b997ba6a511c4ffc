"""The wafer backend: a program's arithmetic as the cores of a simulated mesh would do it."""

from headrace.backends.wafer.backend import WaferBackend
from headrace.backends.wafer.capacity import most_blocks, placed

__all__ = ["WaferBackend", "most_blocks", "placed"]
