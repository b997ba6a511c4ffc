"""Who counts: routers alone, on every backend that has them, against the words of `Route`."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.backends.cpu import CpuBackend
from headrace.backends.reference import ReferenceBackend
from headrace.model.precision import round_to_bf16, widen
from headrace.model.program import Embed, Head, Program, Route, Tap, Weight
from tests.tiny_llama import rows_batch, scrambled_tables

EXPERTS = 24
VOCAB = 64
TABLES = scrambled_tables(1, VOCAB, num_blocks=5)
CORRECTION = Weight(name="correction", shape=(EXPERTS,))
ROUTES = {
    "softmax": {"normalised": False},
    "softmax of the chosen": {},
    "scaled": {"scale": 2.5, "normalised": False},
    "sigmoid": {"function": "sigmoid", "normalised": False},
    "sigmoid of the chosen": {"function": "sigmoid", "scale": 2.5},
    "corrected": {"function": "sigmoid", "correction": CORRECTION},
    "groups": {"function": "sigmoid", "groups": (6, 2), "normalised": False},
    "all of it": {
        "function": "sigmoid",
        "correction": CORRECTION,
        "groups": (4, 3),
        "scale": 2.5,
    },
    "softmax in groups": {"groups": (8, 3)},
}
TOP = 5


def counts(op: Route, row: list[float], correction: list[float]) -> list[float]:
    """By the definition, one expert at a time."""
    powers = [math.exp(x - max(row)) for x in row]
    scores, choice = [p / sum(powers) for p in powers], list(row)
    if op.function == "sigmoid":
        scores = choice = [1 / (1 + math.exp(-x)) for x in row]
    if op.correction is not None:
        choice = [c + more for c, more in zip(choice, correction, strict=True)]
    count, best = op.groups or (1, 1)
    size = len(row) // count
    groups = [choice[g * size : (g + 1) * size] for g in range(count)]
    ranked = sorted(range(count), key=lambda g: -sum(sorted(groups[g])[-2:]))
    allowed = [e for e in range(len(row)) if e // size in ranked[:best]]
    chosen = sorted(allowed, key=lambda e: -choice[e])[: op.top]
    total = sum(scores[e] for e in chosen) if op.normalised else 1.0
    return [scores[e] / total * op.scale if e in chosen else 0.0 for e in range(len(row))]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", ROUTES)
def test_routers_choose_and_count_by_the_definition(name: str, ties: bool) -> None:
    route = Route(inp="h", out="w", top=TOP, **ROUTES[name])
    program = Program(
        architecture="router",
        vocab_size=VOCAB,
        hidden_size=EXPERTS,
        max_positions=VOCAB,
        buffers={"h": EXPERTS, "w": EXPERTS},
        kv=(),
        ops=(
            Embed(out="h", table=Weight(name="table", shape=(VOCAB, EXPERTS))),
            route,
            Tap(inp="w", layer=0),
            Head(inp="w", weight=Weight(name="head", shape=(VOCAB, EXPERTS))),
        ),
    )
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (VOCAB, EXPERTS)).astype(np.float32)
    scores = np.round(scores) if ties else scores
    correction = rng.normal(0, 0 if ties else 0.3, EXPERTS).astype(np.float32)
    weights: dict[str, NDArray[np.uint16] | NDArray[np.float32]] = {
        "table": round_to_bf16(scores),
        "head": round_to_bf16(rng.normal(size=(VOCAB, EXPERTS)).astype(np.float32)),
        "correction": correction,
    }
    rows = widen(round_to_bf16(scores)).astype(float).tolist()
    expected = np.array([counts(route, row, correction.tolist()) for row in rows])
    batch = rows_batch({0: (0, list(range(VOCAB)))}, TABLES, taps=(0,))
    backends = [ReferenceBackend(program, weights, num_blocks=5)]
    others = [CpuBackend(program, weights, num_blocks=5, threads=t) for t in (1, 3)]
    for backend in itertools.chain(backends, others):
        found = backend.step(batch).hidden
        assert found is not None
        np.testing.assert_array_equal(found[0] != 0, expected != 0)
        np.testing.assert_allclose(found[0], expected, rtol=2e-6)
