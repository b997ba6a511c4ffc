"""The network: a small Llama in plain PyTorch, with the tensor names of a Hugging Face checkpoint.

Shapes: B rows, T positions, H query heads, G key/value heads, D head width, C hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; the defaults are headrace-mini."""

    hidden: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    intermediate: int = 768
    vocab: int = 4096
    positions: int = 2048
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0


class Norm(nn.Module):
    """RMSNorm over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] scaled to a root mean square of one, times the weight."""
        return functional.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(
            x.dtype
        )


def rotary_tables(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [positions, D], both halves alike (the rotate-half convention)."""
    exponent = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    angle = torch.arange(shape.positions, dtype=torch.float32)[:, None] / shape.rope_theta**exponent
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x [B, H, T, D] by its positions' angles [T, D]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention; each key/value head serves heads / kv_heads query heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """Mix x [B, T, C] over earlier positions; cos and sin are [T, D]."""
        rows, length, _ = x.shape
        shape = self.shape
        query = self.q_proj(x).view(rows, length, shape.heads, shape.head_dim).transpose(1, 2)
        key = self.k_proj(x).view(rows, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
        value = self.v_proj(x).view(rows, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        group = shape.heads // shape.kv_heads
        key = key.repeat_interleave(group, dim=1)
        value = value.repeat_interleave(group, dim=1)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C], through the gate, and back to C."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention, then the MLP, each on a normalised residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden, shape.norm_eps)
        self.mlp = Mlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """x [B, T, C] plus what attention and the MLP add."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    """Embedding, layers and last norm: the part that checkpoints prefix with `model.`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.norm_eps)


class Network(nn.Module):
    """Tokens in, logits out; the output matrix is the embedding."""

    def __init__(self, shape: Shape | None = None, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape or Shape()
        torch.manual_seed(seed)
        self.model = Stack(self.shape)
        cos, sin = rotary_tables(self.shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = (2 * self.shape.layers) ** -0.5 if last else 1.0
                nn.init.normal_(weight, std=0.02 * scale)

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tensor:
        """Logits [B, T, vocab] for tokens [B, T], or [N, vocab] for the N `wanted` positions.

        `mask` [B, 1, T, T] is true where a position may look; without it, anywhere before.
        """
        length = tokens.shape[1]
        x = self.model.embed_tokens(tokens)
        cos, sin = self.cos[:length].to(x.dtype), self.sin[:length].to(x.dtype)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        if wanted is not None:
            x = x[wanted]
        return functional.linear(self.model.norm(x), self.model.embed_tokens.weight)
