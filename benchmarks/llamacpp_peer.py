"""The llama.cpp side of bench_decode_vs_llamacpp.py; runs in an environment of its own.

    peer-python llamacpp_peer.py convert MODEL OUT.gguf --dtype bf16
    peer-python llamacpp_peer.py decode OUT.gguf --prompt ids.json --output-tokens 128
    peer-python llamacpp_peer.py verify OUT.gguf --prompt ids.json --expect ids.json

Each prints one JSON object. llama.cpp is driven by token ids through its C API; nothing of ours is
imported. Timing counts `llama_decode` and the wait for its logits alone: choosing the token and
Python's own work are left out, in the peer's favour.
"""

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
DTYPES = {
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
}


# --- conversion ------------------------------------------------------------------------------


def read_bf16(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a Hugging Face folder, as bf16 bits."""
    tensors: dict[str, np.ndarray] = {}
    for file in sorted(folder.glob("*.safetensors")):
        data = np.memmap(file, dtype=np.uint8, mode="r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        for name, entry in json.loads(data[8:start].tobytes()).items():
            if name == "__metadata__":
                continue
            if entry["dtype"] != "BF16":
                raise SystemExit(f"{name} in {file} is {entry['dtype']}, not BF16")
            begin, end = entry["data_offsets"]
            bits = data[start + begin : start + end].view(np.uint16)
            tensors[name] = bits.reshape(entry["shape"])
    return tensors


def interleave(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k from half-split rotary pairs (i, i + d/2) to neighbours (2i, 2i + 1)."""
    half = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return half.swapaxes(1, 2).reshape(rows.shape)


def peer_name(name: str) -> str:
    """A checkpoint's tensor name as GGUF has it."""
    stem, _, kind = name.rpartition(".")
    if stem in OUTER_NAMES:
        return f"{OUTER_NAMES[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[rest]}.{kind}"


def rope_factors(config: dict[str, Any], head_dim: int) -> np.ndarray | None:
    """What llama.cpp divides each rotary frequency by: Llama 3.1's scaling, or None."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "llama3":
        return None
    wavelengths = 2 * math.pi * rope_theta(config) ** (np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] / wavelengths
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / (kept + (1 - kept) / rope["factor"])).astype(np.float32)


def rope_theta(config: dict[str, Any]) -> float:
    """The rotary base, from the old or the new place."""
    rope = config.get("rope_parameters") or {}
    return float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)


def convert(folder: Path, out: Path, dtype: str) -> dict[str, Any]:
    """Write `folder` as GGUF: matrices in `dtype`, norms and biases float32, no vocabulary."""
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"] != ["LlamaForCausalLM"]:
        raise SystemExit(f"{folder}: only LlamaForCausalLM is converted")
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    kind, file_type = DTYPES[dtype]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(folder.name)
    writer.add_file_type(file_type)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config.get("max_position_embeddings") or 2_048)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope_theta(config))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps") or 1e-6)
    writer.add_tokenizer_model("no_vocab")
    factors = rope_factors(config, head_dim)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for name, bits in read_bf16(folder).items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        if "q_proj" in name or "k_proj" in name:
            bits = interleave(bits, heads if "q_proj" in name else kv_heads)
        bits = np.ascontiguousarray(bits)
        values = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if bits.ndim == 1 or dtype == "f32":
            writer.add_tensor(peer_name(name), values)
        elif dtype == "bf16":
            writer.add_tensor(peer_name(name), bits.view(np.uint8), raw_dtype=kind)
        else:
            writer.add_tensor(peer_name(name), values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"gguf": str(out), "bytes": out.stat().st_size}


@llama_cpp.llama_log_callback
def _no_log(_level: int, _text: bytes, _data: object) -> None:
    """llama.cpp's own log is not part of the result."""


# --- running ---------------------------------------------------------------------------------


class Peer:
    """One loaded model and one context."""

    def __init__(self, file: Path, *, tokens: int, threads: int, flash: bool, exact: bool) -> None:
        """`tokens`: the context; `exact`: keys and values in float32 instead of the default f16."""
        llama_cpp.llama_log_set(_no_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), params)
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {file}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = tokens
        context.n_batch = context.n_ubatch = max(512, tokens)
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if flash
            else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        if exact:
            context.type_k = context.type_v = llama_cpp.GGML_TYPE_F32
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)

    def forget(self) -> None:
        """Empty the cache."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def step(self, token_ids: list[int]) -> float:
        """Run `token_ids` after what was run before; the seconds inside llama.cpp."""
        array = (llama_cpp.llama_token * len(token_ids))(*token_ids)
        batch = llama_cpp.llama_batch_get_one(array, len(token_ids))
        start = time.perf_counter()
        failed = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_synchronize(self._context)
        took = time.perf_counter() - start
        if failed:
            raise SystemExit(f"llama_decode returned {failed}")
        return took

    def best(self) -> int:
        """The likeliest next token, the lowest id among equals."""
        return int(self.logits(-1).argmax())

    def logits(self, row: int) -> np.ndarray:
        """Logits [V] of one row of the last step."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self._vocab_size,))


def decode(peer: Peer, prompt: list[int], output_tokens: int, runs: int) -> dict[str, Any]:
    """Greedy decoding, one warm-up run, then `runs`; end tokens ignored, first token excluded."""
    speeds, walls, prefills, tokens = [], [], [], []
    for run in range(runs + 1):
        peer.forget()
        prefill_s = peer.step(prompt)
        tokens = [peer.best()]
        inside_s, start = 0.0, time.perf_counter()
        while len(tokens) < output_tokens:
            inside_s += peer.step(tokens[-1:])
            tokens.append(peer.best())
        wall_s = time.perf_counter() - start
        if run:
            speeds.append((output_tokens - 1) / inside_s)
            walls.append((output_tokens - 1) / wall_s)
            prefills.append(len(prompt) / prefill_s)
    return {
        "decode_tok_s": statistics.median(speeds),
        "decode_tok_s_with_driver": statistics.median(walls),
        "prefill_tok_s": statistics.median(prefills),
        "token_ids": tokens,
    }


def verify(peer: Peer, prompt: list[int], expected: list[int]) -> dict[str, Any]:
    """How far llama.cpp's logits are from choosing `expected` after `prompt`, token by token.

    Fed the expected tokens, so that one near-tie does not end the comparison. A gap is the best
    logit minus the expected token's, as a share of the logits' standard deviation.
    """
    gaps: list[float] = []
    fed = prompt
    for token in expected:
        peer.step(fed)
        logits = peer.logits(-1)
        gaps.append(float((logits.max() - logits[token]) / logits.std()))
        fed = [token]
    return {
        "tokens": len(expected),
        "equal": sum(gap == 0.0 for gap in gaps),
        "largest_gap": max(gaps),
    }


def main() -> None:
    """Do one thing, print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("convert", "decode", "verify", "info"))
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--prompt", type=Path)
    parser.add_argument("--expect", type=Path)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash", action="store_true")
    given = parser.parse_args()
    if given.what == "info":
        system = llama_cpp.llama_print_system_info().decode()
        result = {"llama_cpp_python": llama_cpp.__version__, "system": system}
    elif given.what == "convert":
        result = convert(*given.paths, given.dtype)
    else:
        prompt = json.loads(given.prompt.read_text())
        exact = given.what == "verify"
        expected = json.loads(given.expect.read_text()) if exact else []
        peer = Peer(
            given.paths[0],
            tokens=len(prompt) + max(given.output_tokens, len(expected)),
            threads=given.threads,
            flash=given.flash,
            exact=exact,
        )
        if exact:
            result = verify(peer, prompt, expected)
        else:
            result = decode(peer, prompt, given.output_tokens, given.runs)
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
