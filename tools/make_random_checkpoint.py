"""Write a model folder of a published shape with random weights, to load and time what is too big
to ship; or of a shape that a processor's caches hold.

    python tools/make_random_checkpoint.py --like llama-3.1-8b --out DIR [--shard-bytes 5000000000]

The folder is laid out as Hugging Face publishes it: config.json, safetensors shards and their
index, the bundled model's tokenizer and chat template (its ids lie inside every vocabulary here).
Weights are normal: linears scaled by 1 / sqrt(inputs), those that write to the residual stream by
another 1 / sqrt(2 layers), so that activations stay of order one; norms are ones, biases and sinks
zeros. An embedding has ones, unless it is the head as well: then it is scaled as a linear, as with
ones the model would say its last token for ever. MXFP4 has any codes, and one scale that makes them
so large. Head rows beyond the tokenizer's text are scaled down, so that greedy answers are text and
do not end early. A few megabytes of a tensor are in memory at a time.
"""

import argparse
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from headrace.model import bundled_model
from headrace.model.precision import round_to_bf16
from headrace.model.program import Weight
from headrace.model.registry import build_program

LLAMA_3: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "hidden_act": "silu",
    "max_position_embeddings": 131_072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8_192,
        "rope_type": "llama3",
    },
    "rope_theta": 500_000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128_256,
}
GPT_OSS: Mapping[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "attention_bias": True,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2_880,
    "intermediate_size": 2_880,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_key_value_heads": 8,
    "quantization_config": {"quant_method": "mxfp4"},
    "rms_norm_eps": 1e-5,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4_096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150_000.0,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 201_088,
}
SMALL_ROPE = {"rope_scaling": {**LLAMA_3["rope_scaling"], "factor": 32.0}}
CACHE_SIZED: Mapping[str, Any] = {
    **LLAMA_3,
    "head_dim": 32,
    "max_position_embeddings": 8_192,
    "num_key_value_heads": 4,
    "rope_scaling": None,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "vocab_size": 4_096,
}
# The shapes of the published config.json files, and two of our own that a processor's caches hold.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "5m": {  # 5.2 M parameters, 10.4 MB
        **CACHE_SIZED,
        "hidden_size": 256,
        "intermediate_size": 640,
        "num_attention_heads": 8,
        "num_hidden_layers": 6,
    },
    "15m": {  # 14.2 M parameters, 28.3 MB
        **CACHE_SIZED,
        "hidden_size": 384,
        "intermediate_size": 1_024,
        "num_attention_heads": 12,
        "num_hidden_layers": 8,
    },
    # some of its layers, and a small vocabulary: 0.8 and 2.1 GB, to try what then runs on the whole
    "gpt-oss-1-layer": {
        **GPT_OSS,
        "num_hidden_layers": 1,
        "num_local_experts": 32,
        "vocab_size": 32_000,
    },
    "gpt-oss-4-layers": {
        **GPT_OSS,
        "num_hidden_layers": 4,
        "num_local_experts": 32,
        "vocab_size": 32_000,
    },
    "gpt-oss-20b": {**GPT_OSS, "num_hidden_layers": 24, "num_local_experts": 32},
    "gpt-oss-120b": {**GPT_OSS, "num_hidden_layers": 36, "num_local_experts": 128},
    "llama-3.1-8b": {
        **LLAMA_3,
        "hidden_size": 4_096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
    },
    "llama-3.2-3b": {
        **LLAMA_3,
        **SMALL_ROPE,
        "head_dim": 128,
        "hidden_size": 3_072,
        "intermediate_size": 8_192,
        "num_attention_heads": 24,
        "num_hidden_layers": 28,
        "tie_word_embeddings": True,
    },
    "llama-3.2-1b": {
        **LLAMA_3,
        **SMALL_ROPE,
        "head_dim": 64,
        "hidden_size": 2_048,
        "intermediate_size": 8_192,
        "num_hidden_layers": 16,
        "tie_word_embeddings": True,
    },
}
SHARD_BYTES = 5_000_000_000  # what Hugging Face writes by default
PIECE_VALUES = 1 << 21  # values drawn at a time: 8 MB as float32
FIRST_CONTROL_ID = 4_080  # of the bundled tokenizer: below it, all ids are text
QUIET = 2.0**-8  # scale of head rows whose ids shall not be drawn
CODES_RMS = math.sqrt((0.25 + 1 + 2.25 + 4 + 9 + 16 + 36) / 8)  # of random MXFP4 codes


def main() -> None:
    """Write the folder; say how much."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--like", choices=sorted(SHAPES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard-bytes", type=int, default=SHARD_BYTES)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    total = write_checkpoint(
        asked.out, SHAPES[asked.like], shard_bytes=asked.shard_bytes, seed=asked.seed
    )
    print(json.dumps({"folder": str(asked.out), "weight_bytes": total}))


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES, seed: int = 0
) -> int:
    """Write the folder of `config`; the bytes of its weights.

    A shard holds whole tensors and at most `shard_bytes`, or one tensor that is larger.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = list(build_program(config).weights().values())
    residual = 1 / math.sqrt(2 * int(config["num_hidden_layers"]))
    shards = cut(weights, shard_bytes)
    weight_map: dict[str, str] = {}
    number = 0
    for index, shard in enumerate(shards, 1):
        file = f"model-{index:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys((weight.name for weight in shard), file)
        with (folder / file).open("wb") as out:
            out.write(header(shard))
            for weight in shard:
                rng = np.random.Generator(np.random.SFC64([seed, number]))
                write_tensor(out, weight, residual, config, rng)
                number += 1
    total = sum(map(stored_bytes, weights))
    index_file = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index_file)
    copy_texts(folder, config)
    return total


def cut(weights: list[Weight], shard_bytes: int) -> list[list[Weight]]:
    """The tensors of each shard, in order."""
    shards: list[list[Weight]] = []
    room = 0
    for weight in weights:
        if not shards or stored_bytes(weight) > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(weight)
        room -= stored_bytes(weight)
    return shards


def stored_bytes(weight: Weight) -> int:
    """Bytes of a tensor in bf16, or of what MXFP4 is made of."""
    return (2 if weight.holds == "numbers" else 1) * math.prod(weight.shape)


def header(shard: list[Weight]) -> bytes:
    """The safetensors header of tensors that lie one after the other."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for weight in shard:
        end = begin + stored_bytes(weight)
        entries[weight.name] = {
            "dtype": "BF16" if weight.holds == "numbers" else "U8",
            "shape": list(weight.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_tensor(
    out: BinaryIO,
    weight: Weight,
    residual: float,
    config: Mapping[str, Any],
    rng: np.random.Generator,
) -> None:
    """Draw and write the values of one tensor, some rows at a time."""
    if weight.holds != "numbers":
        write_mxfp4(out, weight, residual, rng)
        return
    if weight.name.endswith(("bias", "sinks")):
        out.write(bytes(stored_bytes(weight)))
        return
    if len(weight.shape) == 1:
        out.write(round_to_bf16(np.ones(weight.shape, np.float32)).tobytes())
        return
    rows, inputs = weight.shape
    scale = scale_of(weight, residual, config)
    step = max(1, PIECE_VALUES // inputs)
    for first in range(0, rows, step):
        values = rng.standard_normal((min(step, rows - first), inputs), np.float32)
        values *= np.float32(scale)
        if weight.name.startswith(("lm_head", "model.embed")):
            values[max(0, FIRST_CONTROL_ID - first) :] *= np.float32(QUIET)
        out.write(round_to_bf16(values).tobytes())


def scale_of(weight: Weight, residual: float, config: Mapping[str, Any]) -> float:
    """Of the values of a matrix."""
    if "embed" in weight.name and not config["tie_word_embeddings"]:
        return 1.0
    scale = 1 / math.sqrt(weight.shape[-1])
    return (
        scale * residual if weight.name.endswith(("o_proj.weight", "down_proj.weight")) else scale
    )


def write_mxfp4(out: BinaryIO, weight: Weight, residual: float, rng: np.random.Generator) -> None:
    """Any codes, a few at a time; or the scale with which they are as large as other weights."""
    if weight.holds == "codes":
        left = stored_bytes(weight)
        while left > 0:
            out.write(rng.bytes(min(left, PIECE_VALUES)))
            left -= PIECE_VALUES
        return
    size = 1 / math.sqrt(32 * weight.shape[-1]) / CODES_RMS
    if "down_proj" in weight.name:
        size *= residual
    out.write(bytes([127 + round(math.log2(size))]) * stored_bytes(weight))


def copy_texts(folder: Path, config: Mapping[str, Any]) -> None:
    """Tokenizer, chat template and stop ids of the bundled model; config.json as published."""
    bundled = bundled_model()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(bundled / name, folder / name)
    said = json.loads((bundled / "config.json").read_text(encoding="utf-8"))
    tokens = {name: said[name] for name in ("bos_token_id", "eos_token_id")}
    write_json(folder / "config.json", {**config, **tokens})


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """One object, indented."""
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
