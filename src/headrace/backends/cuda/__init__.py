"""The cuda backend: fused Triton kernels, recorded in a CUDA graph.

Importing this needs PyTorch and Triton; `device.open_device` says so in a sentence.
"""
# pyright: basic, reportMissingImports=false

from headrace.backends.cuda.backend import CudaBackend

__all__ = ["CudaBackend"]
