"""How a product is cut over the machine: rows a program owns, parts per row, steps in flight."""

from dataclasses import dataclass

_FEWEST = 16  # inputs a tensor core takes at a time
# Found by trying, as below: from so many outputs on it is a head, or fills the machine anyway.
_HEAD_OUTPUTS = 65_536
_MANY_OUTPUTS = 6_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """The constants of a product kernel. All but `stages` and `ahead` powers of two.

    A row's bits depend on `parts`, `inputs` and `ahead`, so these may not depend on how many rows
    there are.
    """

    outputs: int  # of a program: BN
    parts: int  # a row's inputs are cut into, one per warp: PARTS
    inputs: int  # of a part, a step: BK
    stages: int  # steps in flight: STAGES
    ahead: int  # 1: the first step's weights are asked for before the kernel may begin: AHEAD

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

    Measured on an H200, in whole steps of Llama-3.1-8B's shape: docs/performance-gpu.md.
    """
    is_long = outputs < inputs and outputs < _MANY_OUTPUTS  # few outputs of much work each
    parts = 4 if is_long else 2
    step = max(_FEWEST, min(128, _power_of_two(-(-inputs // parts))))
    return Tiling(
        outputs=32 if outputs >= _HEAD_OUTPUTS else 16,
        parts=parts,
        inputs=step,
        stages=4 if _MANY_OUTPUTS <= outputs < 2 * _MANY_OUTPUTS else 3,
        ahead=0 if matrices > 1 or outputs == inputs else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTiling:
    """The same of a kernel of `experts`; all but `stages` powers of two, `outputs` 16 or more."""

    outputs: int  # of a program: BN
    parts: int  # of a row, one per warp: WIDE
    runs: int  # of a part, a step: DEEP
    stages: int  # steps in flight: STAGES


def expert_tiling(outputs: int, inputs: int, slots: int) -> ExpertTiling:
    """For matrices [outputs, inputs], where a program takes `slots` experts' at a time.

    Measured on an H200, in whole steps of gpt-oss-20b's shape: docs/performance-gpu.md.
    """
    del outputs, inputs
    if slots == 1:
        return ExpertTiling(outputs=16, parts=4, runs=2, stages=6)
    return ExpertTiling(outputs=16, parts=max(1, 8 // slots), runs=4, stages=3)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
