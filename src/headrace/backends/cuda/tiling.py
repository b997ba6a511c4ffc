"""How a product is cut over the machine: rows a program owns, parts per row, steps in flight."""

from dataclasses import dataclass

_FEWEST = 16  # inputs a tensor core takes at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """The constants of a product kernel. All but `ahead` powers of two."""

    outputs: int  # of a program: BN
    parts: int  # a row's inputs are cut into, one per warp: PARTS
    inputs: int  # of a part, a step: BK
    stages: int  # steps in flight: STAGES
    ahead: int  # steps asked for before the kernel may begin: AHEAD

    def constants(self) -> dict[str, int]:
        """As the kernels name them."""
        return {
            "BN": self.outputs,
            "PARTS": self.parts,
            "BK": self.inputs,
            "STAGES": self.stages,
            "AHEAD": self.ahead,
        }


def tiling(outputs: int, inputs: int, matrices: int = 1) -> Tiling:
    """For a product of `matrices` matrices [outputs, inputs] with the same rows.

    A matrix of few outputs is cut finely, that every multiprocessor has its share.
    """
    parts = 4
    step = min(128 if matrices == 1 else 64, _power_of_two(-(-inputs // parts)))
    step = max(_FEWEST, step)
    return Tiling(
        outputs=16 if outputs < 32_768 else 32,
        parts=parts,
        inputs=step,
        stages=4 if matrices == 1 else 3,
        ahead=1 if step >= 64 else 0,
    )


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
