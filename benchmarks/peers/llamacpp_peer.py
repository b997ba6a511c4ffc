"""llama.cpp as a peer of `bench_peers.py`; runs in an environment of its own (see `peer.py`).

    peer-python llamacpp_peer.py prepare MODEL FOLDER --variant bf16
    peer-python llamacpp_peer.py decode FOLDER/bf16.gguf --variant "bf16 flash" --prompt ids.json

Driven by token ids through its C API. Timing counts `llama_decode` and the wait for its logits
alone: choosing the token and Python's own work are left out, in the peer's favour. The file that
`prepare` writes holds the tokenizer too, so that `llama-server` can serve it.
"""

import ctypes
import importlib.metadata
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["LLAMA_CPP_LIB_PATH"] = str(Path(sys.prefix) / "build/bin")  # as environment.py builds

import gguf
import llama_cpp
import numpy as np
from gpt_oss_gguf import add_facts, is_gpt_oss, write_tensors
from peer import Engine, Generation, Peer, Wanted, main

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


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a Hugging Face folder, as bf16 bits or, of MXFP4, as bytes."""
    tensors: dict[str, np.ndarray] = {}
    for file in sorted(folder.glob("*.safetensors")):
        data = np.memmap(file, dtype=np.uint8, mode="r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        for name, entry in json.loads(data[8:start].tobytes()).items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in ("BF16", "U8"):
                raise SystemExit(f"{name} in {file} is {entry['dtype']}, not BF16 or MXFP4")
            begin, end = entry["data_offsets"]
            bits = data[start + begin : start + end]
            bits = bits.view(np.uint16) if entry["dtype"] == "BF16" else bits
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


def head_sizes(config: dict[str, Any]) -> tuple[int, int, int]:
    """Query heads, key and value heads, numbers of one."""
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    return heads, kv_heads, config.get("head_dim") or config["hidden_size"] // heads


def add_sizes(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any], dtype: str) -> None:
    """What a file says of its network, whatever the family."""
    heads, kv_heads, head_dim = head_sizes(config)
    writer.add_name(folder.name)
    writer.add_file_type(DTYPES[dtype][1])
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


def prepare(folder: Path, out_folder: Path, variant: str) -> Path:
    """Write `folder` as GGUF: matrices in the variant's type, norms and biases float32.

    MXFP4 stays what it is, but in float32.
    """
    dtype = variant.partition(" ")[0]
    out = out_folder / f"{dtype}.gguf"
    if out.exists():
        return out
    unfinished = out.with_suffix(".unfinished")
    config = json.loads((folder / "config.json").read_text())
    of_gpt_oss = is_gpt_oss(config)
    if not of_gpt_oss and config["architectures"] != ["LlamaForCausalLM"]:
        raise SystemExit(f"{folder}: only LlamaForCausalLM and GptOssForCausalLM are converted")
    kind, _ = DTYPES[dtype]
    writer = gguf.GGUFWriter(unfinished, "gpt-oss" if of_gpt_oss else "llama")
    add_sizes(writer, folder, config, dtype)
    add_vocabulary(writer, folder, config)
    if of_gpt_oss:
        add_facts(writer, config)
        write_tensors(writer, read_tensors(folder), kind)
        writer.close()
        return unfinished.rename(out)
    heads, kv_heads, head_dim = head_sizes(config)
    factors = rope_factors(config, head_dim)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for name, bits in read_tensors(folder).items():
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
    return unfinished.rename(out)


def add_vocabulary(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """The byte-level BPE tokenizer of `folder`, with its control tokens and chat template."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    bpe = tokenizer["model"]
    if bpe["type"] != "BPE" or "ByteLevel" not in json.dumps(tokenizer["pre_tokenizer"]):
        raise SystemExit(f"{file} is no byte-level BPE")
    size = config["vocab_size"]
    tokens = [f"[unused{i}]" for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, i in bpe["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    control = {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    for token, i in control.items():
        tokens[i], types[i] = token, gguf.TokenType.CONTROL
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in bpe["merges"])
    writer.add_tokenizer_model("gpt2")
    # which rule cuts text into words: three digits together are Llama 3's, single ones Qwen 2's
    three = "{1,3}" in json.dumps(tokenizer["pre_tokenizer"])
    writer.add_tokenizer_pre("llama-bpe" if three else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(list(pairs))
    writer.add_bos_token_id(control[said["bos_token"]])
    writer.add_eos_token_id(control[said["eos_token"]])
    writer.add_add_bos_token(bool(said.get("add_bos_token")))
    if template := said.get("chat_template"):
        writer.add_chat_template(template)


# --- running ---------------------------------------------------------------------------------


@llama_cpp.llama_log_callback
def _no_log(_level: int, _text: bytes, _data: object) -> None:
    """llama.cpp's own log is not part of the result."""


class LlamaCpp:
    """One loaded model and one context."""

    def __init__(self, wanted: Wanted) -> None:
        """The variant names the weights' type, then `flash` for flash attention.

        Keys and values are f16, llama.cpp's default; with float32 weights they are float32 too.
        """
        dtype, _, flash = wanted.variant.partition(" ")
        llama_cpp.llama_log_set(_no_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        name = str(wanted.prepared).encode()
        self._model = llama_cpp.llama_model_load_from_file(name, params)
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {wanted.prepared}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = wanted.context_tokens
        context.n_batch = wanted.context_tokens
        context.n_threads = context.n_threads_batch = wanted.threads
        context.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if flash
            else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        if dtype == "f32":
            context.type_k = context.type_v = llama_cpp.GGML_TYPE_F32
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        if not self._context:
            raise SystemExit(f"llama.cpp has no context for {wanted}")
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)

    def generate(self, prompt: list[int], output_tokens: int) -> Generation:
        """Greedy, from an empty cache."""
        self._forget()
        first_s, rest_s = self._step(prompt), 0.0
        tokens = [int(self._last_logits().argmax())]
        while len(tokens) < output_tokens:
            rest_s += self._step(tokens[-1:])
            tokens.append(int(self._last_logits().argmax()))
        return Generation(token_ids=tokens, first_s=first_s, rest_s=rest_s)

    def logits(self, prompt: list[int], rows: int) -> np.ndarray:
        """The last positions one by one, as in decoding."""
        self._forget()
        split = len(prompt) - rows + 1
        found = []
        for fed in (prompt[:split], *([token] for token in prompt[split:])):
            self._step(fed)
            found.append(self._last_logits().copy())
        return np.array(found)

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _step(self, token_ids: list[int]) -> float:
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

    def _last_logits(self) -> np.ndarray:
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(pointer, shape=(self._vocab_size,))


def versions() -> dict[str, str]:
    """Of the binding, and what the library was built with."""
    return {
        "llama-cpp-python": importlib.metadata.version("llama-cpp-python"),
        "system": llama_cpp.llama_print_system_info().decode(),
    }


def load(wanted: Wanted) -> Engine:
    """A model in its own context."""
    return LlamaCpp(wanted)


if __name__ == "__main__":
    variants = ("bf16", "bf16 flash", "f16", "f16 flash")
    main(Peer(variants=variants, versions=versions, prepare=prepare, load=load, exact="f32"))
