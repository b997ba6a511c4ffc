"""What is to be placed: the shapes of a program's stages, as plain records.

A vector lies along one axis of its region and is repeated along the other. A matrix takes a vector
along one axis to one along the other, so it is split both ways, and the next matrix takes it back.
"""

from dataclasses import dataclass
from typing import Literal

Axis = Literal["x", "y"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """`inputs` split along `reduce`, over which partial sums are added; `outputs` along the other.

    Inputs and outputs are dealt in units that stay on one core. Of `count` such matrices, experts,
    each is dealt over all cores, and a token uses `used`.
    """

    name: str
    inputs: int
    outputs: int
    reduce: Axis
    input_unit: int = 1  # neighbouring inputs that one core keeps together
    output_unit: int = 1
    count: int = 1
    used: int = 1
    block: int = 0  # neighbouring inputs that share a scale of 8 bits, at 4 bits each; 0: 16 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """Weights of a norm or a bias, split along `axis`, repeated along the other.

    Or `count` of them, each on one line along `axis`, dealt over these in turn.
    """

    name: str
    length: int
    axis: Axis
    unit: int = 1
    value_bytes: int = 2
    count: int = 0  # 0: one, repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Keys and values of a layer: `width` numbers a token along x, tokens dealt along y."""

    width: int  # of keys
    stored: int = 2  # 2: keys and values; 1: values lie in the keys
    unit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is placed together: a layer, the embedding, the head."""

    name: str
    matrices: tuple[Matrix, ...]
    vectors: tuple[Vector, ...] = ()
    cache: Cache | None = None
    query_heads: int = 0  # scores a token and row, while attending
    experts: int = 0  # scores on every core, while some are chosen


def dense_layer(
    name: str,
    *,
    dim: int,
    q: int,
    kv: int,
    ffn: int,
    query_heads: int,
    unit: int = 1,
) -> Stage:
    """A dense grouped-query layer: q, k, v, output, gate, up, down, and two norms.

    `unit` key dims stay together, and with them the query dims that meet them.
    """
    kept = unit * (q // kv)
    return Stage(
        name=name,
        matrices=(
            Matrix(name="q", inputs=dim, outputs=q, reduce="y", output_unit=kept),
            Matrix(name="k", inputs=dim, outputs=kv, reduce="y", output_unit=unit),
            Matrix(name="v", inputs=dim, outputs=kv, reduce="y", output_unit=unit),
            Matrix(name="o", inputs=q, outputs=dim, reduce="x", input_unit=kept),
            Matrix(name="gate", inputs=dim, outputs=ffn, reduce="y"),
            Matrix(name="up", inputs=dim, outputs=ffn, reduce="y"),
            Matrix(name="down", inputs=ffn, outputs=dim, reduce="x"),
        ),
        vectors=tuple(
            Vector(name=norm, length=dim, axis="y") for norm in ("attention norm", "ffn norm")
        ),
        cache=Cache(width=kv, unit=unit),
        query_heads=query_heads,
    )
