"""What others reach on the same card and shapes: seconds of a batch-1 decode step.

    python benchmarks/peers/gpu_peers.py NAME '{"hidden_size": …}' LAYERS LAYERS

Prints one JSON object. A model of few layers and one of more give, by slope and intercept, what the
whole would take: loading and compiling all layers takes minutes that a lent card has not.
`eager` and `static` are transformers, `compiled` is the usual recipe written out below: a static
cache, `torch.compile` with coordinate descent, which turns products of one row into reductions,
and replayed graphs. Weights are drawn on the card, bf16; greedy; context 128.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

CONTEXT = 128
MOST = 512  # tokens of a static cache
STEPS = 60


def seconds_of_steps(step: Callable[[torch.Tensor, int], torch.Tensor]) -> float:
    """Median seconds of a step, of blocks of ten, after a warm-up."""
    token = torch.full((1, 1), 7, dtype=torch.int64, device="cuda")
    for i in range(12):
        token = step(token, CONTEXT + i)
    found: list[float] = []
    for block in range(STEPS // 10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for i in range(10):
            token = step(token, CONTEXT + 12 + block * 10 + i)
        torch.cuda.synchronize()
        found.append((time.perf_counter() - began) / 10)
    return statistics.median(found)


class Layer(nn.Module):
    """A Llama layer for one token, its cache beside it."""

    def __init__(self, c: dict[str, int]) -> None:
        super().__init__()
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.dim, hidden, inner = c["head_dim"], c["hidden_size"], c["intermediate_size"]
        self.qkv = nn.Linear(hidden, (self.heads + 2 * self.kv_heads) * self.dim, bias=False)
        self.o = nn.Linear(self.heads * self.dim, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(hidden, 1e-5), nn.RMSNorm(hidden, 1e-5)
        shape = (1, self.kv_heads, MOST, self.dim)
        self.register_buffer("k", torch.zeros(shape))
        self.register_buffer("v", torch.zeros(shape))

    def forward(self, h: torch.Tensor, at: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor):
        """h [1, 1, hidden] at position `at` [1]."""
        q, k, v = self.qkv(self.norm1(h)).split(
            [self.heads * self.dim, self.kv_heads * self.dim, self.kv_heads * self.dim], -1
        )
        q, k = (turned(x.view(1, 1, -1, self.dim).transpose(1, 2), cos, sin) for x in (q, k))
        self.k.index_copy_(2, at, k)
        self.v.index_copy_(2, at, v.view(1, 1, -1, self.dim).transpose(1, 2))
        seen = (torch.arange(MOST, device=h.device) <= at)[None, None, None]
        a = functional.scaled_dot_product_attention(
            q, self.k, self.v, attn_mask=seen, enable_gqa=True
        )
        h = h + self.o(a.transpose(1, 2).reshape(1, 1, -1))
        gate, up = self.gate_up(self.norm2(h)).chunk(2, -1)
        return h + self.down(functional.silu(gate) * up)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Half-split rotation."""
    x1, x2 = x.chunk(2, -1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1)


class Decoder(nn.Module):
    """A Llama that decodes one token a call."""

    def __init__(self, c: dict[str, int], layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(layers))
        self.norm = nn.RMSNorm(c["hidden_size"], 1e-5)
        self.head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        if c.get("tie_word_embeddings"):
            self.head.weight = self.embed.weight
        half = c["head_dim"] // 2
        self.register_buffer("turns", 500_000.0 ** (-torch.arange(half).float() / half))

    def forward(self, token: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """token [1, 1] at position `at` [1] -> the next, [1, 1]."""
        angle = at.float() * self.turns.float()
        cos, sin = angle.cos().to(torch.bfloat16), angle.sin().to(torch.bfloat16)
        h = self.embed(token)
        for layer in self.layers:
            h = layer(h, at, cos, sin)
        return self.head(self.norm(h)).argmax(-1)


def compiled(c: dict[str, int], layers: int) -> float:
    """The usual recipe."""
    import torch._inductor.config as inductor

    inductor.coordinate_descent_tuning = True
    inductor.fx_graph_cache = True
    torch._dynamo.reset()
    with torch.device("meta"):
        model = Decoder(c, layers).to(torch.bfloat16)
    model = drawn(model.to_empty(device="cuda"))
    half = c["head_dim"] // 2
    model.turns.copy_(500_000.0 ** (-torch.arange(half, device="cuda").float() / half))
    step = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    places = torch.arange(MOST, device="cuda")[:, None]
    with torch.inference_mode():
        return seconds_of_steps(lambda token, at: step(token, places[at]).clone())


def transformers_step(c: dict[str, int], layers: int, *, is_static: bool) -> float:
    """transformers, eager with a growing cache, or compiled with a static one."""
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

    torch._dynamo.reset()
    config = LlamaConfig(**{**c, "num_hidden_layers": layers, "dtype": torch.bfloat16})
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = drawn(LlamaForCausalLM._from_config(config).eval())
    torch.set_default_dtype(torch.float32)
    places = torch.arange(MOST, device="cuda")[:, None]
    cache = StaticCache(config=config, max_cache_len=MOST) if is_static else DynamicCache()
    forward = model.forward
    if is_static:
        forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    with torch.inference_mode():
        prompt = torch.full((1, CONTEXT), 7, dtype=torch.int64, device="cuda")
        model(prompt, past_key_values=cache, cache_position=places[:CONTEXT, 0], use_cache=True)

        def step(token: torch.Tensor, at: int) -> torch.Tensor:
            out = forward(token, past_key_values=cache, cache_position=places[at], use_cache=True)
            return out.logits[:, -1].argmax(-1, keepdim=True).clone()

        return seconds_of_steps(step)


def drawn(model: nn.Module) -> nn.Module:
    """The model with weights as `bench_gpu` draws them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02) if parameter.dim() > 1 else parameter.fill_(1.0)
        for buffer in model.buffers():
            if buffer.dim() > 1:
                buffer.zero_()
    return model


def main() -> None:
    """Time one peer at two depths."""
    name, config, *depths = sys.argv[1:]
    c = json.loads(config)
    c.pop("architectures", None)
    run: dict[str, Callable[[int], float]] = {
        "compiled": lambda layers: compiled(c, layers),
        "eager": lambda layers: transformers_step(c, layers, is_static=False),
        "static": lambda layers: transformers_step(c, layers, is_static=True),
    }
    few, more = map(int, depths)
    layers = c["num_hidden_layers"]
    times = [run[name](few), run[name](more)]
    slope = (times[1] - times[0]) / (more - few)
    whole = times[0] + slope * (layers - few)
    assert math.isfinite(whole)
    found = {"peer": name, "depths": [few, more], "seconds": times, "whole_step_us": whole * 1e6}
    print(json.dumps({**found, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
