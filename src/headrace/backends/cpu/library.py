"""Says what to do when the native library is not there."""

from importlib import import_module

from headrace.errors import KernelMissing


def require_native() -> None:
    """Import the native module; raises KernelMissing, with the fix, when it was not built.

    Afterwards `from headrace.backends.cpu import _native` cannot fail.
    """
    try:
        import_module("headrace.backends.cpu._native")
    except ImportError as error:
        raise KernelMissing(
            f"The native library of the cpu backend is missing ({error}). Install Headrace with a "
            "C++20 compiler at hand (`pip install .`), or choose the reference backend."
        ) from error
