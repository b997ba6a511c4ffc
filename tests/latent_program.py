"""Random programs with latent attention, small enough to check by eye."""

from dataclasses import dataclass

from headrace.model.config_json import ConfigJson
from headrace.model.decoder import Decoder
from headrace.model.program import KvSpec, Program
from headrace.model.rotary import Rotation
from tests.tiny_llama import CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSizes:
    """Numbers per head, and of the latents."""

    heads: int = 3
    nope: int = 6  # of a query that do not turn
    rope: int = 4  # that do
    rank: int = 10  # of a latent
    value: int = 7
    interleaved: bool = True
    layers: int = 2
    window: int | None = None
    max_positions: int = 256

    @property
    def spec(self) -> KvSpec:
        """One shared key per token: latent, rotary part."""
        return KvSpec(kv_heads=1, head_dim=self.rank + self.rope, value_dim=self.rank)


ODD = LatentSizes()
WIDE = LatentSizes(heads=7, nope=32, rope=16, rank=96, value=48, interleaved=False, layers=2)
UNEVEN = LatentSizes(heads=5, nope=9, rope=6, rank=34, value=33)
ONE = LatentSizes(heads=1, nope=5, rope=2, rank=32, value=16)


def latent_program(sizes: LatentSizes) -> Program:
    """Decoder layers that cache a latent and a rotary key, absorbed."""
    config = {
        **CONFIG,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "max_position_embeddings": sizes.max_positions,
    }
    net = Decoder(ConfigJson(config))
    heads, spec = sizes.heads, sizes.spec
    net.cache(
        spec,
        p=heads * (sizes.nope + sizes.rope),
        q=heads * spec.head_dim,
        k=spec.head_dim,
        a=heads * sizes.rank,
        o=heads * sizes.value,
    )
    up = heads * (sizes.nope + sizes.value), sizes.rank
    pairs = range(sizes.rope // 2)
    turn = Rotation(frequencies=tuple(0.5**i for i in pairs), scale=1.125)
    net.embed()
    for i in range(net.layers):
        attention, mlp = f"layers.{i}.self_attn", f"layers.{i}.mlp"
        net.norm(f"layers.{i}.input_layernorm")
        net.linear(f"{attention}.q_proj", "t", "p")
        net.linear(f"{attention}.kv_a_proj", "t", "k")
        net.norm(f"{attention}.kv_a_norm", "k", "k", rest=sizes.rope, eps=1e-6)
        keys, values = slice(0, sizes.nope), slice(sizes.nope, sizes.nope + sizes.value)
        name = f"{attention}.kv_b_proj"
        net.head_linear(name, "p", "q", tensor=up, rows=keys, transposed=True)
        net.attend(
            i,
            turn,
            window=sizes.window,
            scale=0.25,
            first=sizes.rank,
            interleaved=sizes.interleaved,
        )
        net.head_linear(name, "a", "o", tensor=up, rows=values)
        net.linear(f"{attention}.o_proj", "o", "d")
        net.add()
        net.norm(f"layers.{i}.post_attention_layernorm")
        net.gate_up(mlp)
        net.activate()
        net.linear(f"{mlp}.down_proj", "m", "d")
        net.add()
        net.tap(i)
    net.head(tied=False)
    return net.program()
