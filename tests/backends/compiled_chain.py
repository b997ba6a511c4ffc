"""Compile the kernel that stays for Hopper, without a card: prints its bytes of shared memory.

    python -m tests.backends.compiled_chain COLUMNS

In a process of its own: where Triton interprets, it does not compile.
"""
# pyright: basic, reportMissingImports=false

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.experimental.gluon._runtime import GluonASTSource

from headrace.backends.cuda.persistent import PIECE_LAYOUT, WARPS, chain


def main(columns: int) -> None:
    """At Llama-3.1-8B's shape, for up to `columns` rows; of a single one the inputs lie near."""
    numbers = {"H": 4096, "MIXED": 4096, "INNER": 14336, "QKV": 6144, "PADDED": 256, "RING": 4}
    flags = dict.fromkeys(("HAS_MIDDLE", "HAS_QKV", "PDL"), True)
    flags |= dict.fromkeys(("HAS_BIAS", "GELU", "FIRST"), False)
    constants = numbers | flags | {"FIRST_RUNS": 1, "GROUP": 8, "COLUMNS": max(8, columns)}
    constants |= {"SINGLE": columns == 1}
    names = chain.arg_names
    described = f"tensordesc<bf16[8, 16, 128],{PIECE_LAYOUT.value!r}>"
    types = {"n_rows": "i32", "counters": "*i64", "eps_middle": "fp32", "eps_next": "fp32"}
    types |= dict.fromkeys(("mixed", "split", "inner"), "*bf16")
    types |= {name: described for name in names if name.startswith("w_")}
    types |= dict.fromkeys(constants, "constexpr")
    source = GluonASTSource(
        chain,
        {name: types.get(name, "*fp32") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
    )
    options = {"num_warps": WARPS.value}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"]
    print(made.metadata.shared)


if __name__ == "__main__":
    main(int(sys.argv[1]))
