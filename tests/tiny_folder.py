"""Model folders made on the spot: random weights, a byte-level tokenizer, a chat template."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from headrace.model.precision import round_to_bf16
from tests.tiny_llama import CONFIG, random_values, tiny_program

CONTROL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
VOCAB = 300
TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g"), ("e", "r"), ("Ġ", "a")]


def byte_level_tokenizer(*, control: tuple[str, ...] = CONTROL) -> Tokenizer:
    """All 256 bytes, a few merges, the control tokens last."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in MERGES)]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return tokenizer


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, NDArray[np.generic]]]) -> None:
    """Write `tensors` (name -> dtype word, array) as the format's README lays them out."""
    header: dict[str, object] = {}
    data = b""
    for name, (dtype, array) in tensors.items():
        end = len(data) + array.nbytes
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), end],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def as_word(values: NDArray[np.float32], word: str) -> NDArray[np.generic]:
    """`values` as a safetensors file holds them under the dtype `word`."""
    if word == "BF16":
        return round_to_bf16(values)
    return values.astype({"F16": np.float16, "F32": np.float32, "F64": np.float64}[word])


def write_folder(
    folder: Path,
    *,
    shards: int = 1,
    matrices: str = "BF16",
    vectors: str = "BF16",
    **changes: object,
) -> Path:
    """A complete model folder; `matrices` and `vectors`: dtypes; `changes` go into config.json."""
    config = {**CONFIG, "vocab_size": VOCAB, "eos_token_id": 260, **changes}
    stored: dict[str, tuple[str, NDArray[np.generic]]] = {}
    for name, values in random_values(tiny_program(**config)).items():
        word = matrices if values.ndim > 1 else vectors
        stored[name] = word, as_word(values, word)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", stored)
    else:
        names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        weight_map = {tensor: names[i % shards] for i, tensor in enumerate(stored)}
        for name in names:
            mine = {tensor: stored[tensor] for tensor, file in weight_map.items() if file == name}
            write_safetensors(folder / name, mine)
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {"bos_token": CONTROL[0], "eos_token": CONTROL[4], "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    generation = {"eos_token_id": [264, 267], "temperature": 0.6, "top_p": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder
