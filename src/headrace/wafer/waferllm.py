"""What WaferLLM's public kernels do in a layer, as its tables timed them: closed forms.

These kernels pad every dimension to a multiple of the mesh's side, have one head as wide as the
model and keys and values of full width. One layer is timed and multiplied by the layers; there is
no embedding, head, sampling or hand-over in it. Operations in WaferLLM's order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.wafer.cycles import Cycles, Pace, all_reduce, nearest_groups, vectors

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
    """Groups of a line of `side` cores; where none is published, the divisor nearest the root."""
    return _GROUPS.get(side) or nearest_groups(side)


def decode_layer(model: DenseModel, side: int, context: int, pace: Pace) -> Cycles:
    """One layer of one token on `side` x `side` cores, `context` tokens behind it."""
    products = Cycles()
    for inputs, outputs in _products(model, side, context):
        products += vectors(inputs, outputs, pace)
    dim, ffn, tokens = (-(-n // side) for n in (model.dim, model.ffn, context))
    reduced = (
        1,  # norm
        3 * dim,  # q, k, v
        tokens,  # scores
        1,  # their maximum
        1,  # their sum
        dim,  # values
        dim,  # output projection
        1,  # norm
        2 * ffn,  # gate, up
        dim,  # down
    )
    collectives = Cycles()
    for elements in reduced:
        collectives += all_reduce(side, groups_of(side), elements, pace)
    return products + collectives


@dataclass(frozen=True, slots=True)
class PrefillWork:
    """What one core does for a layer of a prompt; messages are hidden behind it."""

    elements: float  # of vector instructions, in fours
    outer: float  # iterations that begin a row of instructions


def prefill_layer(model: DenseModel, side: int, tokens: int) -> PrefillWork:
    """Shifted products of `tokens` rows: `side` steps, each of every local input and output."""
    rows = -(-tokens // side)
    elements = outer = 0.0
    for inputs, outputs in _products(model, side, tokens):
        elements += side * inputs * outputs * rows / 4
        outer += side * inputs
    return PrefillWork(elements, outer)


def _products(model: DenseModel, side: int, context: int) -> Iterator[tuple[int, int]]:
    """Local inputs and outputs of each product of a layer."""
    dim, ffn, tokens = (-(-n // side) for n in (model.dim, model.ffn, context))
    yield from ((dim, dim),) * 3  # q, k, v
    yield dim, tokens  # scores
    yield tokens, dim  # values
    yield dim, dim  # output projection
    yield from ((dim, ffn),) * 2  # gate, up
    yield ffn, dim  # down
