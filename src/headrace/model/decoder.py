"""What the decoder families share: their sizes, and the operations of a layer, piece by piece.

A family function makes a `Decoder` of its config and appends operations in the order in which the
network computes them. Buffers: h residual stream, t normed, q k v, a attended, g u gate and up, m
their product, d what is added to h; r what experts score, w what they count; x y z the g u m of
an expert that all rows share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headrace.errors import CheckpointError
from headrace.model.config_json import ConfigJson
from headrace.model.program import (
    Activate,
    Add,
    AppendKv,
    Attend,
    ClampedSwiglu,
    Embed,
    Experts,
    Head,
    HeadLinear,
    KvSpec,
    Linear,
    Norm,
    Op,
    Program,
    Rope,
    Route,
    Tap,
    Weight,
)
from headrace.model.rotary import Rotation, longest_context


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid:
    """How a router chooses by sigmoid, as in `Route`; `correction` follows the router's name."""

    correction: str
    groups: tuple[int, int]
    scale: float


class Decoder:
    """A program being written down. Every method but `program` appends operations."""

    def __init__(
        self,
        config: ConfigJson,
        *,
        eps: float = 1e-6,
        head_dim: int | None = None,
        norm_offset: float = 0.0,
    ) -> None:
        """Read the sizes. Raises CheckpointError naming the key.

        `eps` and `head_dim` (else hidden size / heads) hold where the config is silent;
        `norm_offset` is added to the weight of every norm.
        """
        self._config = config
        self._norm_offset = norm_offset
        self.hidden = config.integer("hidden_size", 1, 1 << 20)
        ffn = config.integer("intermediate_size", 1, 1 << 24)
        self.layers = config.integer("num_hidden_layers", 1, 4_096)
        self.heads = config.integer("num_attention_heads", 1, 4_096)
        self.kv_heads = config.integer("num_key_value_heads", 1, 4_096, self.heads)
        default_dim = self.hidden // self.heads if head_dim is None else head_dim
        self.head_dim = config.integer("head_dim", 2, 4_096, default_dim)
        self._vocab = config.integer("vocab_size", 2, 1 << 24)
        self._eps = config.number("rms_norm_eps", 0.0, 1.0, eps)
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise CheckpointError(
                f"config.json: {self.heads} query heads do not share {self.kv_heads} kv heads "
                f"evenly, or head_dim {self.head_dim} is odd"
            )
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self._buffers = dict.fromkeys("htd", self.hidden) | {"q": q, "k": kv, "v": kv}
        self._buffers |= {"a": q, "g": ffn, "u": ffn, "m": ffn}
        self._table = Weight(name="model.embed_tokens.weight", shape=(self._vocab, self.hidden))
        self._kv = KvSpec(kv_heads=self.kv_heads, head_dim=self.head_dim)
        self._ops: list[Op] = []

    def cache(self, kv: KvSpec, **widths: int) -> None:
        """Another cache than that of plain attention, and the buffers to use instead of q k v a."""
        plain = {name: width for name, width in self._buffers.items() if name not in set("qkva")}
        self._buffers = plain | widths
        self._kv = kv

    def embed(self, scale: float = 1.0) -> None:
        """The residual stream starts as the tokens' embeddings."""
        self._ops.append(Embed(out="h", table=self._table, scale=scale))

    def norm(
        self,
        name: str,
        inp: str = "h",
        out: str = "t",
        *,
        heads: int = 1,
        rest: int = 0,
        eps: float | None = None,
    ) -> None:
        """The norm called `name`; of each head by itself with `heads`, but for `rest` values.

        `eps`: where it is not the config's.
        """
        shape = (self._buffers[inp] // heads - rest,)
        norm = Norm(
            inp=inp,
            out=out,
            weight=Weight(name=f"model.{name}.weight", shape=shape),
            eps=self._eps if eps is None else eps,
            offset=self._norm_offset,
            heads=heads,
            rest=rest,
        )
        self._ops.append(norm)

    def linear(self, name: str, inp: str, out: str, *, bias: bool = False) -> None:
        """The linear called `name`."""
        rows, columns = self._buffers[out], self._buffers[inp]
        weight = Weight(name=f"model.{name}.weight", shape=(rows, columns))
        vector = Weight(name=f"model.{name}.bias", shape=(rows,)) if bias else None
        self._ops.append(Linear(inp=inp, out=out, weight=weight, bias=vector))

    def split_linear(self, name: str, inp: str, outs: Sequence[str]) -> None:
        """The linear called `name`, whose rows are those of several outputs, in order."""
        total = sum(self._buffers[out] for out in outs)
        first = 0
        for out in outs:
            shape = self._buffers[out], self._buffers[inp]
            weight = Weight(
                name=f"model.{name}.weight", shape=shape, first_row=first, tensor_rows=total
            )
            self._ops.append(Linear(inp=inp, out=out, weight=weight))
            first += shape[0]

    def head_linear(
        self,
        name: str,
        inp: str,
        out: str,
        *,
        tensor: tuple[int, int],
        rows: slice,
        transposed: bool = False,
    ) -> None:
        """Each head of `inp` by its own matrix: `rows` of the head's share of the linear `name`.

        `tensor`: [rows, inputs] of that linear, whose rows the heads share evenly.
        """
        share = tensor[0] // self.heads
        weights = tuple(
            Weight(
                name=f"model.{name}.weight",
                shape=(rows.stop - rows.start, tensor[1]),
                first_row=head * share + rows.start,
                tensor_rows=tensor[0],
            )
            for head in range(self.heads)
        )
        self._ops.append(HeadLinear(inp=inp, out=out, weights=weights, transposed=transposed))

    def qkv(self, attention: str, inp: str = "t", *, bias: bool = False) -> None:
        """Queries, keys and values, each by a linear of its own."""
        for name in "qkv":
            self.linear(f"{attention}.{name}_proj", inp, name, bias=bias)

    def attend(
        self,
        layer: int,
        rotation: Rotation,
        *,
        window: int | None = None,
        scale: float | None = None,
        first: int = 0,
        interleaved: bool = False,
        sinks: str | None = None,
    ) -> None:
        """Rotate q and k, append k and v to the cache, attend into a.

        Values of a head turn from `first` on, as many as the rotation has; `interleaved` says which
        make a pair. Scores are scaled by 1 / sqrt(head_dim) unless `scale` is given. `sinks`: what
        the heads' scores without a value are called.
        """
        kv = self._kv
        for buffer, heads in (("q", self.heads), ("k", kv.kv_heads)):
            rope = Rope(
                buffer=buffer,
                heads=heads,
                head_dim=kv.head_dim,
                frequencies=rotation.frequencies,
                part=None if rotation.width == kv.head_dim else (first, rotation.width),
                interleaved=interleaved,
                scale=rotation.scale,
            )
            self._ops.append(rope)
        self._ops.append(AppendKv(layer=layer, k="k", v="v" if kv.value_dim is None else None))
        attend = Attend(
            layer=layer,
            q="q",
            out="a",
            heads=self.heads,
            kv_heads=kv.kv_heads,
            head_dim=kv.head_dim,
            scale=1 / math.sqrt(kv.head_dim) if scale is None else scale,
            window=window,
            value_dim=kv.value_dim,
            sinks=None if sinks is None else Weight(name=f"model.{sinks}", shape=(self.heads,)),
        )
        self._ops.append(attend)

    def gate_up(self, mlp: str, inp: str = "t", *, bias: bool = False) -> None:
        """Gate and up, each by a linear of its own."""
        self.linear(f"{mlp}.gate_proj", inp, "g", bias=bias)
        self.linear(f"{mlp}.up_proj", inp, "u", bias=bias)

    def experts(
        self,
        mlp: str,
        *,
        count: int,
        top: int,
        inner: int,
        names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
        normalised: bool = True,
        sigmoid: Sigmoid | None = None,
    ) -> None:
        """From t: the router, and `top` of `count` experts of `inner` width, into d.

        `names`: of an expert's gate, up and down matrices in the checkpoint.
        """
        name = f"{mlp}.gate"
        self.route(name, count=count, top=top, normalised=normalised, sigmoid=sigmoid)
        hidden = self._buffers["t"]
        gate, up, down = (
            tuple(
                Weight(name=f"model.{mlp}.experts.{e}.{name}.weight", shape=shape)
                for e in range(count)
            )
            for name, shape in zip(
                names, [(inner, hidden), (inner, hidden), (hidden, inner)], strict=True
            )
        )
        self.mix(top, gate, up, down)

    def shared_expert(self, name: str, *, inner: int) -> None:
        """From t: the gated MLP that every row has besides, into d."""
        self._buffers |= dict.fromkeys("xyz", inner)
        self.linear(f"{name}.gate_proj", "t", "x")
        self.linear(f"{name}.up_proj", "t", "y")
        self._ops.append(Activate(gate="x", up="y", out="z"))
        self.linear(f"{name}.down_proj", "z", "d")

    def route(
        self,
        name: str,
        *,
        count: int,
        top: int,
        normalised: bool = True,
        bias: bool = False,
        sigmoid: Sigmoid | None = None,
    ) -> None:
        """From t: what each of `count` experts counts, `top` of them, by the router `name`."""
        self._buffers |= {"r": count, "w": count}
        self.linear(name, "t", "r", bias=bias)
        route = Route(inp="r", out="w", top=top, normalised=normalised)
        if sigmoid is not None:
            correction = Weight(name=f"model.{name}.{sigmoid.correction}", shape=(count,))
            route = replace(
                route,
                function="sigmoid",
                correction=correction,
                groups=sigmoid.groups,
                scale=sigmoid.scale,
            )
        self._ops.append(route)

    def mix(
        self,
        top: int,
        gate: tuple[Weight, ...],
        up: tuple[Weight, ...],
        down: tuple[Weight, ...],
        *,
        biases: tuple[tuple[Weight, Weight, Weight], ...] = (),
        clamp: ClampedSwiglu | None = None,
    ) -> None:
        """The experts of these matrices that `route` chose, into d; fields as in `Experts`."""
        experts = Experts(
            inp="t",
            routed="w",
            out="d",
            top=top,
            gate=gate,
            up=up,
            down=down,
            biases=biases,
            clamp=clamp,
        )
        self._ops.append(experts)

    def activate(self, function: Literal["silu", "gelu_tanh"] = "silu") -> None:
        """The gated product m of g and u."""
        self._ops.append(Activate(gate="g", up="u", out="m", function=function))

    def add(self) -> None:
        """Add d to the residual stream."""
        self._ops.append(Add(inp="d", out="h"))

    def tap(self, layer: int) -> None:
        """The end of `layer`: the residual stream may be read out here."""
        self._ops.append(Tap(inp="h", layer=layer))

    def head(self, *, tied: bool) -> None:
        """Final norm and head; `tied`, where the config is silent: the head is the embedding."""
        self.norm("norm")
        tied = self._config.flag("tie_word_embeddings", default=tied)
        shape = self._vocab, self.hidden
        weight = self._table if tied else Weight(name="lm_head.weight", shape=shape)
        self._ops.append(Head(inp="t", weight=weight))

    def program(self) -> Program:
        """What was written down, under the name the config gives its architecture."""
        architecture = next(iter(self._config.words("architectures") or ()), "")
        return Program(
            architecture=architecture,
            vocab_size=self._vocab,
            hidden_size=self.hidden,
            max_positions=longest_context(self._config),
            buffers=self._buffers,
            kv=(self._kv,) * self.layers,
            ops=tuple(self._ops),
        )
