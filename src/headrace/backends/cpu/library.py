"""Says what to do when the native library is not there."""

from headrace.errors import KernelMissing


def require_native() -> None:
    """Import the native module; raises KernelMissing, with the fix, when it was not built.

    Afterwards `from headrace.backends.cpu import _native` cannot fail.
    """
    try:
        from headrace.backends.cpu import _native  # noqa: F401  (importing it is the test)
    except ImportError as error:
        raise KernelMissing(
            f"The native library of the cpu backend is missing ({error}). Install Headrace with a "
            "C++20 compiler at hand (`pip install .`), or choose the reference backend."
        ) from error
