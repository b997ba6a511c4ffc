"""Compile the kernels of MXFP4 experts for Hopper, without a card, at gpt-oss-120b's shape.

    python -m tests.backends.compiled_experts

Prints for each its bytes of shared memory, how often a step stores there what it computed (it
should not, since the codes lie as the tensor cores want them), and how many copies of codes lie
there with a warp's lanes side by side (all should: else lanes meet in the same banks). In a process
of its own: where Triton interprets, it does not compile.
"""
# pyright: basic, reportMissingImports=false

import re
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from headrace.backends.cuda import experts
from headrace.backends.cuda.tiling import expert_tiling

SHAPE = {"K": 2_880, "EXPERTS": 128, "PADDED": 128, "TOP": 4, "QUANTISED": True, "HAS_BIAS": True}
TYPES = {
    **dict.fromkeys(("x", "next_x"), "*bf16"),
    **dict.fromkeys(("chosen", "positions", "scales"), "*i32"),
    **dict.fromkeys(("alpha", "limit"), "fp32"),
    "w": "*i16",
    "n_rows": "i32",
}


def compiled(kernel: Any, constants: dict[str, object], warps: int) -> tuple[int, int, str]:
    """Bytes of shared memory, stores to it between the first and the last product, and of the
    copies of codes those with lanes side by side."""
    names = kernel.arg_names
    types = TYPES | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "*fp32") for name in names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if signature[name].startswith("*")
    }
    source = ASTSource(
        kernel,
        signature,
        {(names.index(name),): value for name, value in constants.items()},
        aligned,
    )
    options = {"num_warps": warps, "launch_pdl": True}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    first, *_, last = re.finditer(r"mma\.sync", made.asm["ptx"])
    stores = made.asm["ptx"][first.start() : last.end()].count("st.shared")
    copies = re.findall(r"async_copy_global_to_local.*-> <\S*xi16, (#\w+)", made.asm["ttgir"])
    innermost = dict(re.findall(r"(#shared\w*) = .*order = \[(\d)", made.asm["ttgir"]))
    beside = sum(innermost[name] == "3" for name in copies)
    return made.metadata.shared, stores, f"{beside}/{len(copies)}"


def main() -> None:
    """As `mixture` cuts them."""
    flags = {"FIRST": True, "PDL": True}
    up, down = expert_tiling(5_760, 2_880, 1), expert_tiling(2_880, 2_880, 4)
    constants = {"N": 5_760, "CLAMPED": True, "BN": up.outputs, "PARTS": up.parts}
    constants |= {"DEEP": up.runs, "STAGES": up.stages, **SHAPE, **flags}
    print("up", *compiled(experts.up, constants, up.parts))
    constants = {"N": 2_880, "NORMALISED": True, "NEXT": True, "GROUP": 4, "BN": down.outputs}
    constants |= {"PARTS": 4 * down.parts, "WIDE": down.parts, "DEEP": down.runs}
    constants |= {"STAGES": down.stages, **SHAPE, **flags}
    print("down", *compiled(experts.down, constants, 4 * down.parts))


if __name__ == "__main__":
    main()
