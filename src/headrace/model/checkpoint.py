"""A Hugging Face model folder, opened: configuration, mapped weights, where its texts lie.

Only JSON, safetensors and plain text are read; nothing of the folder is imported or executed,
whatever its configuration says. Pickle-based weight files are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np

from headrace.errors import CheckpointError
from headrace.model.json_file import read_json_object
from headrace.model.mapped_file import fits_twice
from headrace.model.plain_file import shown
from headrace.model.precision import Rounded, Stored, Tensor
from headrace.model.program import Program
from headrace.model.safetensors_file import SafetensorsFile
from headrace.types import Dtype

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
EXECUTABLE_FORMATS = frozenset({".bin", ".pt", ".pth", ".pkl", ".ckpt"})  # pickle: runs code
FORMAT_NAMES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32", "U8": "mxfp4"}


class StoredWeights(Mapping[str, Tensor]):
    """Every tensor of the folder by name; a tensor is mapped when asked for.

    A matrix is bf16 or fp16, bit for bit as stored, or with `Dtype.BF16` rounded to bf16 when its
    rows are read. A vector is always as stored: it may be fp32, too. So are the bytes of MXFP4.
    """

    def __init__(
        self, folder: Path, files: Mapping[str, SafetensorsFile], dtype: Dtype = Dtype.STORED
    ) -> None:
        """`files`: for each tensor's name, the file that holds it."""
        self._folder = folder
        self._files = files
        self._dtype = dtype

    def __getitem__(self, name: str) -> Stored | Rounded:
        """Tensor `name`; raises CheckpointError when it is of a precision that is not served."""
        stored = self._stored(name)
        as_is = self._dtype is Dtype.STORED or stored.dtype == np.uint16 or stored.dtype == np.uint8
        return stored if as_is or stored.ndim == 1 else Rounded(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def folder(self) -> str:
        """Where the files lie."""
        return str(self._folder.resolve())

    @property
    def is_rounded(self) -> bool:
        """Whether some matrix is rounded to bf16 each time it is read."""
        stored = [tensor for file in self._distinct() for tensor in file.tensors.values()]
        return self._dtype is Dtype.BF16 and any(
            tensor.dtype not in ("BF16", "U8") and len(tensor.shape) > 1 for tensor in stored
        )

    def identity(self) -> str:
        """A digest that changes with the files and with how they are read.

        Of every file its path, its header, its size, and what the system notes when somebody writes
        to it: inode, times of modification and of change. The tensors' bytes are not read, which is
        what a cache is to save. Raises CheckpointError when a file is gone.
        """
        digest = sha256(str(self._dtype).encode())
        for file in sorted(self._distinct(), key=lambda file: file.path):
            digest.update(file.identity().encode())
        return digest.hexdigest()

    def will_read(self, name: str) -> None:
        """Let the system fetch tensor `name` while other work goes on."""
        self._files[name].will_read(name)

    def was_read(self, name: str) -> None:
        """Let go of the pages of tensor `name`; asked for again, it is read again."""
        self._files[name].was_read(name)

    def close(self) -> None:
        """Unmap the files; a tensor asked for later maps its file again."""
        for file in self._distinct():
            file.close()

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape of tensor `name`."""
        return self._files[name].tensors[name].shape

    def require(self, program: Program) -> None:
        """Check that every weight of `program` is here, in its shape, as numbers we multiply.

        Raises CheckpointError naming the first tensor that is not, and its file.
        """
        for name, weight in program.weights().items():
            if name not in self._files:
                raise CheckpointError(
                    f"tensor {shown(name)} is missing from the weights in {self._folder}"
                )
            if self.shape(name) != weight.shape:
                raise CheckpointError(
                    f"tensor {shown(name)} in {self._files[name].path} has shape "
                    f"{list(self.shape(name))}, but config.json asks for {list(weight.shape)}"
                )
            is_bytes = self._stored(name).dtype == np.uint8
            if is_bytes != (weight.holds != "numbers"):
                asked = "BF16, F16, F32" if is_bytes else "U8, the bytes of MXFP4"
                raise CheckpointError(
                    f"tensor {shown(name)} in {self._files[name].path} is stored as "
                    f"{self._files[name].tensors[name].dtype}, but config.json asks for {asked}"
                )

    def precision(self, program: Program) -> str:
        """How the matrices of `program` are multiplied, for people: "bf16, as stored"."""
        names = [name for name, weight in program.weights().items() if len(weight.shape) > 1]
        kinds = {FORMAT_NAMES[self._files[name].tensors[name].dtype] for name in names}
        rounded = sorted(kinds - {"bf16"}) if self._dtype is Dtype.BF16 else []
        if not rounded:
            return f"{' and '.join(sorted(kinds))}, as stored"
        partly = "partly " if "bf16" in kinds else ""
        return f"bf16, {partly}rounded from {' and '.join(rounded)}"

    def _distinct(self) -> set[SafetensorsFile]:
        return set(self._files.values())

    def _stored(self, name: str) -> Stored:
        stored = self._files[name].array(name)
        if stored.dtype == np.float32 and stored.ndim > 1 and self._dtype is Dtype.STORED:
            raise CheckpointError(
                f"tensor {shown(name)} in {self._files[name].path} is stored as F32, and matrices "
                "run at 16 bits; --dtype bf16 (setting engine.dtype) rounds them while loading"
            )
        return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model folder. Files that are optional and absent read as empty."""

    path: Path
    config: Mapping[str, object]  # config.json
    generation_config: Mapping[str, object]  # generation_config.json
    tokenizer_config: Mapping[str, object]  # tokenizer_config.json
    weights: StoredWeights

    @property
    def tokenizer_file(self) -> Path:
        """Where the tokenizer is, or would be."""
        return self.path / "tokenizer.json"

    @property
    def template_file(self) -> Path:
        """Where a chat template in a file of its own is, or would be."""
        return self.path / "chat_template.jinja"


def open_checkpoint(path: Path, *, dtype: Dtype = Dtype.STORED) -> Checkpoint:
    """Open the model folder at `path`: read its JSON, validate its weight files, map them.

    `dtype`: what its matrices are read as.

    Raises CheckpointError, one sentence naming the file, when something is missing or broken.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder; give a model folder with a config.json")
    config = read_json_object(path / "config.json")
    return Checkpoint(
        path=path,
        config=config,
        generation_config=_optional(path / "generation_config.json"),
        tokenizer_config=_optional(path / "tokenizer_config.json"),
        weights=StoredWeights(path, _weight_files(path), dtype),
    )


def _optional(path: Path) -> dict[str, object]:
    return read_json_object(path) if path.exists() else {}


def _weight_files(folder: Path) -> dict[str, SafetensorsFile]:
    files = (file for file in folder.glob("*.safetensors") if file.is_file())
    keeps_cache = fits_twice(sum(file.stat().st_size for file in files))
    if (folder / INDEX_FILE).exists():
        return _indexed_files(folder, keeps_cache=keeps_cache)
    if (folder / SINGLE_FILE).exists():
        file = SafetensorsFile(folder / SINGLE_FILE, keeps_cache=keeps_cache)
        return dict.fromkeys(file.tensors, file)
    refused = sorted(f.name for f in folder.iterdir() if f.suffix in EXECUTABLE_FORMATS)
    if refused:
        raise CheckpointError(
            f"{folder / refused[0]} is a pickle-based format that can run code, so it is not read; "
            "convert the model to safetensors"
        )
    raise CheckpointError(f"{folder / SINGLE_FILE} is missing, and so is {INDEX_FILE}")


def _indexed_files(folder: Path, *, keeps_cache: bool) -> dict[str, SafetensorsFile]:
    index = folder / INDEX_FILE
    named = read_json_object(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f"{index} has no 'weight_map' that names the tensors' files")
    opened: dict[str, SafetensorsFile] = {}
    files: dict[str, SafetensorsFile] = {}
    for name, shard in cast("dict[str, object]", named).items():
        if not isinstance(shard, str) or not shard or Path(shard).name != shard or shard == "..":
            raise CheckpointError(
                f"{index} puts tensor {shown(name)} in {shown(shard)}, not a file of that folder"
            )
        if shard not in opened:
            opened[shard] = SafetensorsFile(folder / shard, keeps_cache=keeps_cache)
        if name not in opened[shard].tensors:
            raise CheckpointError(
                f"tensor {shown(name)} is not in {folder / shard}, where {index} says"
            )
        files[name] = opened[shard]
    return files
