"""The decode program: a network as a straight list of operations over named buffers.

One function per architecture family builds it (`model.llama`); a backend loads it once and runs it,
whole, per step. Prefill, decode, chunks, batches and draft verification are the same program on a
different number of rows T; a row is one token of one sequence.

Every buffer is `[T, width] float32`. Weights are named as in the checkpoint and keep their stored
precision; products accumulate in float32. The mathematics of each operation is defined by
`backends.reference`, the judge of the other backends.
"""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Literal

MXFP4_BLOCK = 32  # numbers that share a scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A tensor of the checkpoint: its name there and the shape the program needs.

    Or a part of one, where a checkpoint keeps several matrices in one tensor: of the matrix
    `stack[0]` of `stack[1]` that lie one behind the other, `shape[0]` rows from `first_row` on,
    every `row_step`-th, of `tensor_rows`. If `transposed`, such a matrix is stored [inputs, rows].

    With `scales`, the name of another tensor, the numbers are MXFP4 (`model.mxfp4`): the tensor
    `name` has the codes [rows, inputs / 32, 16], `scales` those [rows, inputs / 32].
    """

    name: str
    shape: tuple[int, ...]
    first_row: int = 0
    tensor_rows: int | None = None  # None: all of it
    row_step: int = 1
    stack: tuple[int, int] | None = None  # None: the tensor is one matrix or vector
    transposed: bool = False
    scales: str | None = None  # None: bf16 or fp16, as stored
    holds: Literal["numbers", "codes", "scales"] = "numbers"  # of a whole tensor: what is stored

    @property
    def tensors(self) -> "tuple[Weight, ...]":
        """The whole tensors, one or two, as the checkpoint has them."""
        rows = self.shape[0] if self.tensor_rows is None else self.tensor_rows
        shape = rows, *self.shape[1:]
        shape = shape[::-1] if self.transposed else shape
        shape = shape if self.stack is None else (self.stack[1], *shape)
        if self.scales is None:
            return (Weight(name=self.name, shape=shape),)
        blocks = *shape[:-1], shape[-1] // MXFP4_BLOCK
        return (
            Weight(name=self.name, shape=(*blocks, MXFP4_BLOCK // 2), holds="codes"),
            Weight(name=self.scales, shape=blocks, holds="scales"),
        )

    @property
    def tensor(self) -> "Weight":
        """The whole tensor called `name`."""
        return self.tensors[0]

    @property
    def rows(self) -> slice:
        """Which rows of the tensor, or of its matrix `stack[0]`, these are."""
        last = self.first_row + (self.shape[0] - 1) * self.row_step
        return slice(self.first_row, last + 1, self.row_step)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the part: 16 bits a number, or 4 and its share of a scale."""
        count = math.prod(self.shape)
        return 2 * count if self.scales is None else count * (MXFP4_BLOCK // 2 + 1) // MXFP4_BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """out[t] = table[token[t]] * scale; table [V, width]."""

    out: str
    table: Weight
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Root-mean-square norm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + eps) * (weight + offset).

    With `heads`, each of so many equal parts of the row is normed by itself, and weight
    [width / heads] is the same for all (Qwen3's q and k, Gemma 3's); else weight [width]. With
    `rest`, so many values at the end of each part pass as they are, and weight has none for them.
    """

    inp: str
    out: str
    weight: Weight
    eps: float
    offset: float = 0.0  # 1 in Gemma, whose checkpoints hold the distance from 1
    heads: int = 1
    rest: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """out = inp @ weight.T (+ bias); weight [out width, in width]."""

    inp: str
    out: str
    weight: Weight
    bias: Weight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLinear:
    """Each head's part of the row times that head's own matrix: [W x, what follows x].

    Rows of `inp` and `out`, two buffers, are cut into as many equal parts as there are `weights`.
    W [N, K] takes the first K values of a part to N; what follows them is copied behind. The
    weights are [K, N] if `transposed`. So latent attention takes queries to the latents' space and
    what it attended to back out of it (DeepSeek-AI 2024, DeepSeek-V2, 2.1, absorbed).
    """

    inp: str
    out: str
    weights: tuple[Weight, ...]
    transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotate, in place, each head's halves (x1, x2) by angle position * frequencies[i].

    `frequencies` [head_dim / 2], radians per position: (x1 cos - x2 sin, x2 cos + x1 sin), the
    half-split form (Su et al. 2021, as laid out in Hugging Face checkpoints). Angle, cos and sin
    are float32. With `part`, only values first..first + width - 1 of each head turn, and
    `frequencies` [width / 2]. `interleaved`: x1 is every other value from the first on, x2 the ones
    between. Both cos and sin are multiplied by `scale` (YaRN's attention factor).
    """

    buffer: str
    heads: int
    head_dim: int
    frequencies: tuple[float, ...]
    part: tuple[int, int] | None = None  # first, width
    interleaved: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendKv:
    """Write k and v `[T, kv_heads * head_dim]`, rounded to bf16, to the row's slot of `layer`.

    No v where the values of the layer lie in its keys (`KvSpec.value_dim`).
    """

    layer: int
    k: str
    v: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attend:
    """Causal grouped-query attention of q over the cached keys and values of `layer`.

    q, out `[T, heads * head_dim]`; query head i reads kv head i // (heads // kv_heads); a row at
    position p sees positions 0..p of its own sequence, of which `window` keeps the last: from
    max(0, p - window + 1) on (Beltagy et al. 2020). Softmax in float32 of q.k * scale.

    With `value_dim`, that of the layer's cache, a value is the first so many numbers of its key,
    and out `[T, heads * value_dim]`. With `sinks` [heads], each head's softmax has one score more,
    which is not scaled and has no value: what it takes is lost (OpenAI 2025, gpt-oss model card;
    Xiao et al. 2023 of the effect).
    """

    layer: int
    q: str
    out: str
    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    window: int | None = None  # tokens, the row's own among them
    value_dim: int | None = None
    sinks: Weight | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """out = f(gate) * up, where f is one of

    silu: x / (1 + exp(-x));
    gelu_tanh: x / 2 * (1 + tanh(y)), with y = sqrt(2 / pi) * (x + 0.044715 x^3)
    (Hendrycks & Gimpel 2016, the approximation).
    """

    gate: str
    up: str
    out: str
    function: Literal["silu", "gelu_tanh"] = "silu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """out += inp."""

    inp: str
    out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What each expert counts for a row: out[t, e] of the `top` chosen ones, 0 of the others.

    The chosen have the largest inp[t, e], of equals the first (Shazeer et al. 2017). out is
    softmax(inp[t]) there, over all experts, or over the chosen ones only if `normalised`. At least
    one expert counts more than 0. inp, out `[T, experts]`, two buffers.

    `function` "sigmoid" (DeepSeek-AI 2024, DeepSeek-V3, 2.1.2): a score is 1 / (1 + exp(-inp)), out
    is the score, of the chosen ones divided by their sum if `normalised`. Then the chosen have the
    largest score + `correction`, a vector [experts], if there is one. `groups` (G, best): of G
    equal runs of experts only the `best` are chosen from, those whose two largest such numbers have
    the largest sums. out is multiplied by `scale`, either way.
    """

    inp: str
    out: str
    top: int
    normalised: bool = True
    function: Literal["softmax", "sigmoid"] = "softmax"
    correction: Weight | None = None
    groups: tuple[int, int] | None = None
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClampedSwiglu:
    """The gated product of gpt-oss: min(g, limit) sigmoid(alpha min(g, limit)) (clip(u) + 1).

    clip(u) lies in -limit..limit (the reference code of the gpt-oss release).
    """

    alpha: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """out[t] = sum of routed[t, e] * (down_e . (silu(gate_e . inp[t]) * (up_e . inp[t]))).

    Over the experts with routed[t, e] != 0, `top` at most, in rising order. gate and up: a matrix
    [inner, in width] for each expert; down: one [out width, inner]. Buffers differ. `biases`: for
    each expert, what is added to its products by gate [inner], up [inner] and down [out width].
    With `clamp`, that is the gated product instead of silu(g) * u.
    """

    inp: str
    routed: str
    out: str
    top: int
    gate: tuple[Weight, ...]
    up: tuple[Weight, ...]
    down: tuple[Weight, ...]
    biases: tuple[tuple[Weight, Weight, Weight], ...] = ()
    clamp: ClampedSwiglu | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """Names a point where `inp` may be read out: the residual stream after `layer` (0-based)."""

    inp: str
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """logits = inp @ weight.T, for the rows that are sampled only; weight [V, width]."""

    inp: str
    weight: Weight


Op = (
    Embed
    | Norm
    | Linear
    | HeadLinear
    | Rope
    | AppendKv
    | Attend
    | Activate
    | Route
    | Experts
    | Add
    | Tap
    | Head
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSpec:
    """The cache of one layer: per token, `kv_heads * head_dim` keys and as many values.

    In bf16 on every backend, whatever the weights are stored as. With `value_dim`, a value is the
    first so many numbers of its key and is not stored again.
    """

    kv_heads: int
    head_dim: int
    value_dim: int | None = None

    @property
    def bytes_per_token(self) -> int:
        """Bytes of keys and values one token takes."""
        stored = 2 if self.value_dim is None else 1
        return 2 * stored * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A network, ready to be loaded by any backend."""

    architecture: str  # as config.json names it
    vocab_size: int
    hidden_size: int
    max_positions: int  # longest context, tokens
    buffers: dict[str, int]  # name -> width; every row has one of each
    kv: tuple[KvSpec, ...]  # one per layer
    ops: tuple[Op, ...]

    @property
    def kv_bytes_per_token(self) -> int:
        """Cache bytes one token of context takes over all layers."""
        return sum(spec.bytes_per_token for spec in self.kv)

    @property
    def num_parameters(self) -> int:
        """Numbers in all weights, each tensor once."""
        stored = {"numbers": 1, "codes": 2, "scales": 0}  # in an entry of the tensor
        return sum(math.prod(w.shape) * stored[w.holds] for w in self.weights().values())

    def weights(self) -> dict[str, Weight]:
        """Every tensor the program reads, whole, by checkpoint name, each once."""
        parts = (weight for op in self.ops for weight in op_weights(op))
        return {tensor.name: tensor for weight in parts for tensor in weight.tensors}

    def bytes_per_token(self, context_tokens: int = 0) -> int:
        """Bytes one decode step must read: each matrix once as stored, and the cache in sight.

        The embedding table counts as one row; a tied head counts in full, as the head; of experts
        count as many as are chosen.
        """
        total = 0
        for op in self.ops:
            if isinstance(op, Attend):
                seen = context_tokens if op.window is None else min(context_tokens, op.window)
                total += self.kv[op.layer].bytes_per_token * seen
            if isinstance(op, Embed):
                total += 2 * op.table.shape[-1]
                continue
            read = sum(weight.stored_bytes for weight in op_weights(op))
            total += read * op.top // len(op.gate) if isinstance(op, Experts) else read
        return total


def op_weights(op: Op) -> Iterator[Weight]:
    """The weights `op` reads."""
    if isinstance(op, HeadLinear):
        yield from op.weights
        return
    if isinstance(op, Experts):
        for matrices in zip(op.gate, op.up, op.down, strict=True):
            yield from matrices
        for biases in op.biases:
            yield from biases
        return
    for field in fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Weight):
            yield value


def reads(op: Op) -> tuple[str, ...]:
    """The buffers `op` reads, in no particular order."""
    match op:
        case Embed():
            return ()
        case Norm() | Linear() | HeadLinear() | Route() | Tap() | Head():
            return (op.inp,)
        case Experts():
            return (op.inp, op.routed)
        case Rope():
            return (op.buffer,)
        case AppendKv():
            return (op.k,) if op.v is None else (op.k, op.v)
        case Attend():
            return (op.q,)
        case Activate():
            return (op.gate, op.up)
        case Add():
            return (op.inp, op.out)


def writes(op: Op) -> str | None:
    """The buffer `op` writes, if any."""
    match op:
        case Embed() | Norm() | Linear() | HeadLinear() | Attend() | Activate() | Add():
            return op.out
        case Route() | Experts():
            return op.out
        case Rope():
            return op.buffer
        case AppendKv() | Tap() | Head():
            return None


def variations(op: Op) -> frozenset[str]:
    """The optional fields in which `op` differs from the plain operation of its kind.

    Whoever runs operations by pattern must know every one of them, or leave the operation alone.
    """
    return frozenset(
        field.name
        for field in fields(op)
        if field.default is not MISSING and getattr(op, field.name) != field.default
    )
