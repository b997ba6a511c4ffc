"""The golden cases of tests/golden/, with types.

A case is a folder whose case.json was written by hand and the rest by tools/make_golden.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.model import LanguageModel, open_model

GOLDEN = Path(__file__).parent / "golden"
CASES = tuple(sorted(file.parent.name for file in GOLDEN.glob("*/golden.npz")))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One tiny model and what transformers computes from it, in float32 with eager attention."""

    name: str
    path: Path  # a complete model folder
    context: int | None  # tokens served, where that decides something
    prompt: NDArray[np.int32]  # [P]
    logits: NDArray[np.float32]  # [P, V], of every prompt position
    hidden: NDArray[np.float32]  # [L, P, H], the residual stream after each layer
    greedy: NDArray[np.int32]  # [64], the tokens that follow the prompt
    margins: NDArray[np.float32]  # [64], best logit minus second best, at each of them


def describe(name: str) -> dict[str, Any]:
    """The case.json of case `name`; see tools/make_golden.py."""
    return json.loads((GOLDEN / name / "case.json").read_text())


def config_of(name: str, **changes: object) -> dict[str, Any]:
    """The config.json of case `name`, with `changes`."""
    return {**json.loads((GOLDEN / name / "config.json").read_text()), **changes}


def open_case(case: GoldenCase) -> LanguageModel:
    """Its model, as it would be served."""
    return open_model(case.path, context=case.context)


def load_case(name: str) -> GoldenCase:
    """The case called `name`, one of `CASES`."""
    path = GOLDEN / name
    with np.load(path / "golden.npz") as arrays:
        return GoldenCase(
            name=name,
            path=path,
            context=describe(name).get("context"),
            prompt=arrays["prompt"],
            logits=arrays["logits"],
            hidden=arrays["hidden"],
            greedy=arrays["greedy"],
            margins=arrays["margins"],
        )


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, as a share of the largest expected magnitude."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
