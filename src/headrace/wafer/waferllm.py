"""What WaferLLM's public kernels do in a layer, as its tables timed them: closed forms.

These kernels pad every dimension to a multiple of the mesh's side, have one head as wide as the
model and keys and values of full width. One layer is timed and multiplied by the layers; there is
no embedding, head, sampling or hand-over in it. Operations in WaferLLM's order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.work import Reduction, Vectors, Work

# Groups of a line, by its length: of the repository's configurations.
_GROUPS = {
    240: 15,
    256: 16,
    300: 15,
    360: 18,
    420: 20,
    480: 20,
    512: 32,
    540: 20,
    600: 24,
    660: 22,
    720: 24,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseModel:
    """A dense transformer, as far as these kernels tell models apart."""

    name: str
    dim: int
    ffn: int
    layers: int


MODELS = {
    model.name: model
    for model in (
        DenseModel(name="LLaMA3-8B", dim=4_096, ffn=14_336, layers=32),
        DenseModel(name="LLaMA2-13B", dim=5_120, ffn=13_824, layers=40),
        DenseModel(name="CodeLLaMA-34B", dim=8_192, ffn=22_016, layers=48),
        DenseModel(name="QWen2-72B", dim=8_192, ffn=29_568, layers=80),
    )
}


def groups_of(side: int) -> int:
    """Groups of a line of `side` cores; where none is published, the root of it."""
    return _GROUPS.get(side) or default_groups(side)


def decode_works(model: DenseModel, side: int, context: int) -> Iterator[Work]:
    """One layer of one token on `side` x `side` cores, `context` tokens behind it."""
    dim, ffn, tokens = (-(-n // side) for n in (model.dim, model.ffn, context))
    yield Reduction(name="norm", axis="y", elements=1)
    for name in ("q", "k", "v"):
        yield Vectors(name=name, count=dim, length=dim)
    yield Reduction(name="q, k, v", axis="y", elements=3 * dim)
    yield Vectors(name="scores", count=dim, length=tokens)
    yield Reduction(name="scores", axis="x", elements=tokens)
    yield Reduction(name="softmax maximum", axis="y", elements=1)
    yield Reduction(name="softmax sum", axis="y", elements=1)
    yield Vectors(name="values", count=tokens, length=dim)
    yield Reduction(name="values", axis="y", elements=dim)
    yield Vectors(name="output", count=dim, length=dim)
    yield Reduction(name="output", axis="x", elements=dim)
    yield Reduction(name="norm", axis="y", elements=1)
    for name in ("gate", "up"):
        yield Vectors(name=name, count=dim, length=ffn)
    yield Reduction(name="gate, up", axis="y", elements=2 * ffn)
    yield Vectors(name="down", count=ffn, length=dim)
    yield Reduction(name="down", axis="x", elements=dim)


def decode_layer(model: DenseModel, side: int, context: int, pace: Pace) -> Cycles:
    """What these works take."""
    works = decode_works(model, side, context)
    return time_of(works, columns=side, rows=side, pace=pace, groups=groups_of)


@dataclass(frozen=True, slots=True)
class PrefillWork:
    """What one core does for a layer of a prompt; messages are hidden behind it."""

    elements: float  # of vector instructions, in fours
    outer: float  # iterations that begin a row of instructions


def prefill_layer(model: DenseModel, side: int, tokens: int) -> PrefillWork:
    """Shifted products of `tokens` rows, those of a decode step: `side` steps of each."""
    rows = -(-tokens // side)
    elements = outer = 0.0
    for work in decode_works(model, side, tokens):
        if isinstance(work, Vectors):
            elements += side * work.count * work.length * rows / 4
            outer += side * work.count
    return PrefillWork(elements, outer)
