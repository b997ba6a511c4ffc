"""Models as they were served on wafers: what is published, what is assumed, and what follows.

Shapes and assumptions are data (`published/served.toml`). A layer has a square region of its own;
every expert is striped over all of it, so that k chosen ones are k times the local length. What
goes from layer to layer crosses a region, what goes from wafer to wafer takes a time that is
assumed, and so does the token's way back.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from headrace.wafer import published
from headrace.wafer.cycles import Pace, time_of
from headrace.wafer.machine import WSE3
from headrace.wafer.shapes import Axis
from headrace.wafer.work import Multicast, Passage, Reduction, Vectors, Work, words_of

When = Literal["launch", "since", "with drafts"]
_PAIR = 4  # 16-bit numbers of a value in float32 with its index


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A transformer, as far as its time depends on it."""

    dim: int
    layers: int
    heads: int
    kv_heads: int = 1
    head_dim: int
    ffn: int  # of a dense MLP, or of one expert
    vocab: int
    experts: int = 0
    chosen: int = 0
    shared: int = 0  # experts that every token runs
    dense_layers: int = 0  # the first so many have no experts
    dense_ffn: int = 0
    expert_every: int = 1  # layers
    window: int = 0  # tokens that every other layer looks back on; 0: all
    query_latent: int = 0  # latent attention, if not 0
    kv_latent: int = 0
    rotary_dim: int = 0

    def has_experts(self, layer: int) -> bool:
        """Whether that layer's MLP is a choice of experts."""
        if not self.experts or layer < self.dense_layers:
            return False
        return layer % self.expert_every == self.expert_every - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One published speed, and what is assumed to have stood behind it."""

    model: str
    shape: Shape
    when: When
    tok_s: float
    date: str
    source: str
    bits: float
    wafers: int
    side: int  # of a layer's region
    fused: bool
    goal: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Drafts verified by a pipeline of layers: assumptions, and what they gain."""

    acceptance_low: float
    acceptance_high: float
    draft_us: float
    most_drafts: int
    widest: float

    def gain(self, acceptance: float, stages: int, token_s: float) -> float:
        """Tokens in the time of one, with the best number of drafts (1 or more).

        k drafts follow each other through the stages, so verifying them costs k / stages of a pass:
        E / (1 + k / stages + k t_draft / t_target), E = (1 - a^(k+1)) / (1 - a) tokens expected
        (Leviathan et al. 2023).
        """
        draft = self.draft_us * 1e-6 / token_s
        return max(
            (1 - acceptance ** (k + 1)) / (1 - acceptance) / (1 + k / stages + k * draft)
            for k in range(1, self.most_drafts + 1)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The whole file."""

    context_tokens: int
    hand_over_us: float
    fill: float
    speculation: Speculation
    served: tuple[Served, ...]


@cache
def assumptions() -> Assumptions:
    """What `served.toml` says."""
    text = resources.files(published).joinpath("served.toml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = tomllib.loads(text)
    shapes = {name: Shape(**fields) for name, fields in found["shapes"].items()}
    return Assumptions(
        **found["assumed"],
        speculation=Speculation(**found["speculation"]),
        served=tuple(Served(shape=shapes[row["model"]], **row) for row in found["served"]),
    )


def token_s(served: Served, decode: Pace, assumed: Assumptions) -> float:
    """Seconds for one token of one stream, nothing lost, no drafts."""
    clock = WSE3.clock_hz.value
    pace = Pace(
        relay_cycles=decode.relay_cycles,
        issue_cycles=decode.issue_cycles,
        lanes=Pace.of(WSE3).lanes,
    )
    side = served.side

    def seconds(works: Iterator[Work]) -> float:
        return time_of(works, columns=side, rows=side, pace=pace).total / clock

    kinds: dict[tuple[bool, int], int] = {}
    for layer in range(served.shape.layers):
        window = served.shape.window if layer % 2 == 0 else 0
        kind = served.shape.has_experts(layer), window
        kinds[kind] = kinds.get(kind, 0) + 1
    total = seconds(_ends(served))
    for (has_experts, window), count in kinds.items():
        seen = min(assumed.context_tokens, window or assumed.context_tokens)
        total += count * seconds(layer_works(served, seen, has_experts=has_experts))
    between = served.wafers if served.wafers > 1 else 0  # the way back is one of them
    return total + between * assumed.hand_over_us * 1e-6


def layer_works(served: Served, seen: int, *, has_experts: bool) -> Iterator[Work]:
    """A layer with `seen` tokens to attend to, and the way into its region."""
    shape, side = served.shape, served.side
    words = -(-words_of(shape.dim) // side)
    yield Passage(name="hand-over", words=words, hops=side)
    sums = _Sums(served)
    if shape.kv_latent:
        yield from _latent_attention(sums, seen)
    else:
        yield from _attention(sums, seen)
    yield from _mlp(sums, has_experts=has_experts)


class _Sums:
    """Products on a region, each reduced along the axis across from the one before."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._axis: Axis = "y"

    def share(self, length: int) -> int:
        """Of one core."""
        return -(-length // self.served.side)

    def norm(self) -> Iterator[Work]:
        """A sum of its own, unless the squares travel with the product that follows."""
        if not self.served.fused:
            yield Reduction(name="norm", axis=self._axis, elements=1)

    def product(
        self, name: str, inputs: int, *outputs: int, normed: bool = False
    ) -> Iterator[Work]:
        """Matrices that read the same vector; all counts are those of a core."""
        for length in outputs:
            yield Vectors(name=name, count=inputs, length=length)
        extra = 1 if normed and self.served.fused else 0
        yield self.reduction(name, sum(outputs) + extra)

    def reduction(self, name: str, elements: int) -> Reduction:
        """Of the axis whose turn it is; the result lies along the other."""
        axis = self._axis
        self._axis = "x" if axis == "y" else "y"
        return Reduction(name=name, axis=axis, elements=elements)


def _attention(sums: _Sums, seen: int) -> Iterator[Work]:
    shape, share = sums.served.shape, sums.share
    dim, kv, tokens = share(shape.dim), share(shape.kv_heads * shape.head_dim), share(seen)
    q = share(shape.heads * shape.head_dim)
    group = shape.heads // shape.kv_heads
    yield from sums.norm()
    yield from sums.product("q, k, v", dim, q, kv, kv, normed=True)
    yield from _attended(sums, kv * group, tokens, group)
    yield from sums.product("output", q, dim)


def _latent_attention(sums: _Sums, seen: int) -> Iterator[Work]:
    """Absorbed: queries go to the latents' space, what they attended to comes back out of it."""
    shape, share = sums.served.shape, sums.share
    tokens, heads = share(seen), shape.heads
    cached = shape.kv_latent + shape.rotary_dim
    q = share(heads * (shape.head_dim + shape.rotary_dim))
    yield from sums.norm()
    latents = share(shape.query_latent)
    yield from sums.product("latents", share(shape.dim), latents, share(cached), normed=True)
    yield from sums.norm()
    yield from sums.product("q", latents, q, normed=True)
    # A matrix for each head: what one head gives meets that head's numbers only.
    yield Vectors(name="absorb", count=share(heads * shape.head_dim), length=share(shape.kv_latent))
    yield sums.reduction("absorb", share(heads * shape.kv_latent))
    yield from _attended(sums, share(cached) * heads, tokens, heads)
    yield Vectors(
        name="release", count=share(shape.kv_latent), length=share(heads * shape.head_dim)
    )
    yield sums.reduction("release", share(heads * shape.head_dim))
    yield from sums.product("output", share(heads * shape.head_dim), share(shape.dim))


def _attended(sums: _Sums, queries: int, tokens: int, group: int) -> Iterator[Work]:
    """Scores over x; maximum, sum and values over y, in one sum if fused."""
    yield Vectors(name="scores", count=queries, length=tokens)
    yield sums.reduction("scores", tokens * group)
    fused = sums.served.fused
    if not fused:
        yield Reduction(name="softmax maximum", axis="y", elements=group)
        yield Reduction(name="softmax sum", axis="y", elements=group)
    yield Vectors(name="values", count=tokens, length=queries)
    yield sums.reduction("values", queries + (2 * group if fused else 0))


def _mlp(sums: _Sums, *, has_experts: bool) -> Iterator[Work]:
    shape, share = sums.served.shape, sums.share
    dim = share(shape.dim)
    yield from sums.norm()
    if has_experts:
        # The chosen are known to all from the scores, which lie on every core after their sum.
        elements = share(shape.experts)
        yield Vectors(name="router", count=dim, length=elements)
        yield Reduction(name="router", axis="y", elements=elements + sums.served.fused)
        ffn = share(shape.ffn) * (shape.chosen + shape.shared)
    else:
        ffn = share(shape.dense_ffn or shape.ffn)
    yield from sums.product("gate, up", dim, ffn, ffn, normed=True)
    yield from sums.product("down", ffn, dim)


def _ends(served: Served) -> Iterator[Work]:
    """Embedding, norm and head; the head's region is taken to be one like a layer's."""
    share = _Sums(served).share
    dim = share(served.shape.dim)
    yield Multicast(name="embedding", axis="x", elements=dim)
    sums = _Sums(served)
    yield from sums.norm()
    yield from sums.product("head", dim, share(served.shape.vocab), normed=True)
    yield Reduction(name="likeliest", axis="x", elements=_PAIR)
