"""gpt-oss as GGUF: MXFP4 re-laid, not quantised again; all else in the type that was asked for.

A block of 32 numbers is a scale's byte, then 16 bytes whose low halves are numbers 0 to 15 and
whose high halves are 16 to 31; in the checkpoint neighbours share a byte and scales lie elsewhere.
Gate and up, whose rows alternate there, are two tensors here. Pieces are written as they are made,
so that 14 GB need no memory; the library's own decoder reads the first expert of each back. In
float32 experts become float32 too.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gguf
import numpy as np

LAYER_NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "self_attn.sinks": "attn_sinks.weight",
    "mlp.router.weight": "ffn_gate_inp.weight",
    "mlp.router.bias": "ffn_gate_inp.bias",
    **{
        f"self_attn.{ours}_proj.{kind}": f"attn_{theirs}.{kind}"
        for ours, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output"))
        for kind in ("weight", "bias")
    },
}
OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
MXFP4 = gguf.GGMLQuantizationType.MXFP4


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A tensor of the file: what it is, and how it is made."""

    name: str
    shape: tuple[int, ...]
    dtype: type[np.generic]
    make: Callable[[], np.ndarray]
    raw: gguf.GGMLQuantizationType | None = None


def add_facts(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    """What llama.cpp wants to know of a gpt-oss besides a Llama's sizes."""
    if config.get("swiglu_limit", 7.0) != 7.0:
        raise SystemExit("llama.cpp clamps at 7, whatever the checkpoint says")
    rope = config.get("rope_scaling") or config["rope_parameters"]
    writer.add_sliding_window(config["sliding_window"])
    writer.add_expert_count(config["num_local_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["intermediate_size"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope["factor"])
    writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def write_tensors(
    writer: gguf.GGUFWriter,
    tensors: Mapping[str, np.ndarray],
    kind: gguf.GGMLQuantizationType,
) -> None:
    """All of them; `tensors` as the checkpoint has them, uint16 for bf16, uint8 for MXFP4."""
    pieces = list(_pieces(tensors, kind))
    for piece in pieces:
        size = math.prod(piece.shape) * np.dtype(piece.dtype).itemsize
        dtype = np.dtype(piece.dtype)
        writer.add_tensor_info(piece.name, piece.shape, dtype, size, raw_dtype=piece.raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for piece in pieces:
        writer.write_tensor_data(piece.make())


def _pieces(tensors: Mapping[str, np.ndarray], kind: gguf.GGMLQuantizationType) -> Iterator[Piece]:
    for name, bits in tensors.items():
        if name in OUTER_NAMES:
            yield _plain(OUTER_NAMES[name], bits, kind)
            continue
        _, _, layer, rest = name.split(".", 3)
        if rest in LAYER_NAMES:
            yield _plain(f"blk.{layer}.{LAYER_NAMES[rest]}", bits, kind)
        elif rest == "mlp.experts.gate_up_proj_bias":
            yield _plain(f"blk.{layer}.ffn_gate_exps.bias", bits[:, 0::2], None)
            yield _plain(f"blk.{layer}.ffn_up_exps.bias", bits[:, 1::2], None)
        elif rest == "mlp.experts.down_proj_bias":
            yield _plain(f"blk.{layer}.ffn_down_exps.bias", bits, None)
        elif rest.endswith("_blocks"):
            scales = tensors[name.removesuffix("_blocks") + "_scales"]
            parts = {"down": slice(None)}
            if "gate_up" in rest:
                parts = {"gate": slice(0, None, 2), "up": slice(1, None, 2)}
            for part, rows in parts.items():
                new = f"blk.{layer}.ffn_{part}_exps.weight"
                yield _experts(new, bits[:, rows], scales[:, rows], kind)
        elif not rest.endswith("_scales"):
            raise SystemExit(f"{name}: only experts in MXFP4 are converted")


def _plain(name: str, bits: np.ndarray, kind: gguf.GGMLQuantizationType | None) -> Piece:
    """A bf16 tensor; norms, biases, sinks and routers in float32, as llama.cpp has them."""
    if kind == gguf.GGMLQuantizationType.BF16 and bits.ndim > 1 and "ffn_gate_inp" not in name:
        shape = (*bits.shape[:-1], 2 * bits.shape[-1])
        as_bytes = partial(_bytes, bits)
        return Piece(name=name, shape=shape, dtype=np.uint8, make=as_bytes, raw=kind)
    half = kind == gguf.GGMLQuantizationType.F16 and bits.ndim > 1 and "ffn_gate_inp" not in name
    dtype = np.float16 if half else np.float32
    return Piece(name=name, shape=bits.shape, dtype=dtype, make=partial(_widened, bits, dtype))


def _bytes(bits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bits).view(np.uint8)


def _widened(bits: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    values = (np.ascontiguousarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(dtype, copy=False)


def _experts(
    name: str, codes: np.ndarray, scales: np.ndarray, kind: gguf.GGMLQuantizationType
) -> Piece:
    """[experts, rows, blocks, 16] and [experts, rows, blocks] as blocks of 17 bytes, or float32."""
    widens = kind == gguf.GGMLQuantizationType.F32
    size, dtype, raw = (32, np.float32, None) if widens else (17, np.uint8, MXFP4)
    shape = (*scales.shape[:-1], scales.shape[-1] * size)
    make = partial(_laid, name, codes, scales, widens=widens)
    return Piece(name=name, shape=shape, dtype=dtype, make=make, raw=raw)


def _laid(name: str, codes: np.ndarray, scales: np.ndarray, *, widens: bool) -> np.ndarray:
    laid = relaid(codes, scales)
    if not np.array_equal(gguf.quants.dequantize(laid[0], MXFP4), numbers(codes[0], scales[0])):
        raise SystemExit(f"{name}: llama.cpp would read other numbers")
    return gguf.quants.dequantize(laid, MXFP4) if widens else laid


def relaid(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The same numbers in llama.cpp's order: [..., blocks, 16], [..., blocks] -> [..., bytes]."""
    laid = np.empty((*scales.shape, 17), np.uint8)
    laid[..., 0] = scales
    first, second = codes[..., :8], codes[..., 8:]  # numbers 0..15 and 16..31, two a byte
    laid[..., 1::2] = first & 15 | (second & 15) << 4
    laid[..., 2::2] = first >> 4 | second & 0xF0
    return laid.reshape(*scales.shape[:-1], -1)


def numbers(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What MXFP4 stands for: [..., blocks, 16] and [..., blocks] -> [..., numbers]."""
    both = np.stack([codes & 15, codes >> 4], axis=-1)
    values = VALUES[both].reshape(*scales.shape, 32)
    scaled = np.ldexp(values, scales[..., None].astype(np.int32) - 127)
    return scaled.reshape(*scales.shape[:-1], -1)


def is_gpt_oss(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of this family."""
    return config["architectures"] == ["GptOssForCausalLM"]
