"""How a product is cut over the machine: rows a program owns, parts per row, steps in flight."""

from dataclasses import dataclass

_FEWEST = 16  # inputs a tensor core takes at a time
_MANY_OUTPUTS = 6_144  # chosen: so many make programs of two warps enough for the whole machine


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

    Few outputs a program, so that every multiprocessor has its share; little memory a program, so
    that the next kernel's programs find room beside it and can ask for their weights.
    """
    parts = 2 if outputs >= _MANY_OUTPUTS else 4
    step = max(_FEWEST, min(128, _power_of_two(-(-inputs // parts))))
    return Tiling(
        outputs=16,
        parts=parts,
        inputs=step,
        stages=3 if matrices > 1 or parts == 4 else 4,
        ahead=4 if step == 128 else 0,
    )


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
