"""What every kernel of a step begins with, so that the next may start while it still runs.

A kernel launched with programmatic dependent launch may run before its predecessor has ended; it
must not touch what that one writes before it has waited. Each waits first and only then lets its
own successor in: so when a kernel starts, all but its direct predecessor have ended, and what it
asks for before the wait are weights, which nobody writes.
"""
# pyright: basic, reportMissingImports=false

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def begin(PDL: tl.constexpr, FIRST: tl.constexpr = False):
    """Wait until what the kernels before wrote is there, and let the next one start.

    With `FIRST` the next one may start before the wait: nothing but weights may it read then.
    """
    if PDL:
        if FIRST:
            gdc_launch_dependents()
        gdc_wait()
        if not FIRST:
            gdc_launch_dependents()


@triton.jit
def multiply(a, b, sums):
    """sums + a @ b of bf16 numbers, float32; the interpreter cannot multiply them as they are."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), sums)
    return tl.dot(a, b, sums)


@triton.jit
def rounded(values):
    """float32 to the nearest bf16, ties to even; the interpreter would cut instead."""
    if INTERPRETED:
        bits = values.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        values = bits.to(tl.float32, bitcast=True)
    return values.to(tl.bfloat16)
