"""The checkpoint folder, in the layout of Hugging Face, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from .network import Network, Shape
from .template import BEGIN, CHAT_TEMPLATE, END, PAD, TURN_END


def config(shape: Shape, tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "vocab_size": shape.vocab,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": [tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(END)],
        "pad_token_id": tokenizer.token_to_id(PAD),
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }


def generation(tokenizer: Tokenizer) -> dict[str, Any]:
    """generation_config.json: ends at a turn's end; mild sampling by default."""
    return {
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": [tokenizer.token_to_id(TURN_END), tokenizer.token_to_id(END)],
        "pad_token_id": tokenizer.token_to_id(PAD),
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
    }


def tokenizer_config(shape: Shape) -> dict[str, Any]:
    """tokenizer_config.json with the chat template."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": TURN_END,
        "pad_token": PAD,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": CHAT_TEMPLATE,
    }


def rounded(network: Network) -> dict[str, Tensor]:
    """The weights as they are shipped: bf16, by their checkpoint names."""
    return {
        name: weight.detach().to("cpu", torch.bfloat16).contiguous()
        for name, weight in network.state_dict().items()
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write(folder: Path, network: Network, tokenizer: Tokenizer, card: str) -> None:
    """Write the folder beside its place, then swap it in."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shape = network.shape
    _write_json(fresh / "config.json", config(shape, tokenizer))
    _write_json(fresh / "generation_config.json", generation(tokenizer))
    _write_json(fresh / "tokenizer_config.json", tokenizer_config(shape))
    tokenizer.save(str(fresh / "tokenizer.json"))
    save_file(rounded(network), str(fresh / "model.safetensors"), metadata={"format": "pt"})
    (fresh / "README.md").write_text(card, encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path) -> tuple[Network, Tokenizer]:
    """A written folder, its bf16 weights widened to float32."""
    weights = load_file(str(folder / "model.safetensors"))
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = Shape()
    if saved["hidden_size"] != shape.hidden or saved["num_hidden_layers"] != shape.layers:
        raise ValueError(f"{folder} is not of the shape {asdict(shape)}")
    network = Network(shape)
    network.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return network.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
