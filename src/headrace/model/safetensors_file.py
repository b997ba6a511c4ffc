"""One safetensors file, validated whole and then mapped: tensors are views of the file, not copies.

The format (the safetensors README): 8 bytes header length, a JSON header naming each tensor's
dtype, shape and byte range, then the bytes. Nothing in it is ever executed.
"""

import json
import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError, safe_open

from headrace.errors import CheckpointError
from headrace.model.mapped_file import MappedFile
from headrace.model.plain_file import shown, size_of
from headrace.model.precision import Stored

PREFIX_BYTES = 8
MAX_HEADER_BYTES = 16 << 20  # more than a hundred thousand tensors; it is read while you wait
# What is read, and as what: numpy has no bfloat16.
FORMATS = {
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "U8": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies: `begin`..`end` are bytes from the start of its file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """The tensors of one file, by name."""

    def __init__(self, path: Path, *, keeps_cache: bool = True) -> None:
        """Validate the header against the file, then map it read-only.

        `keeps_cache` is as in `MappedFile`. Raises CheckpointError naming the file when it is
        missing, truncated or its header lies.
        """
        size = size_of(path)
        self.path = path
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(PREFIX_BYTES), "little")
            if MAX_HEADER_BYTES < length <= size:
                raise CheckpointError(
                    f"{path} has a header of {length:,} bytes, more than {MAX_HEADER_BYTES:,}"
                )
            with safe_open(path, framework="numpy"):  # checks lengths, offsets, overlaps, the size
                pass
            self._file = MappedFile(path, keeps_cache=keeps_cache)
            size = len(self._file.bytes)  # of what is mapped
        except SafetensorError as exc:
            reason = str(exc).rstrip(".").replace("\n", " ")
            raise CheckpointError(
                f"{path} is not a whole safetensors file: {reason}; download it again"
            ) from exc
        except (OSError, ValueError) as exc:
            raise CheckpointError(f"{path} cannot be read: {exc}") from exc
        self.tensors = self._read_header(PREFIX_BYTES + length, size)

    def array(self, name: str) -> Stored:
        """Tensor `name` as it is stored, in its shape, read-only, mapped.

        Raises CheckpointError naming tensor, dtype and file when it is of none of `FORMATS`.
        """
        stored = self.tensors[name]
        if stored.dtype not in FORMATS:
            raise CheckpointError(
                f"tensor {shown(name)} in {self.path} is stored as {shown(stored.dtype)}, and this "
                f"version reads {', '.join(FORMATS)} only"
            )
        values = self._file.bytes[stored.begin : stored.end].view(FORMATS[stored.dtype])
        # Copies only what a writer misaligned.
        return np.require(values.reshape(stored.shape), requirements="A")

    def identity(self) -> str:
        """What tells this file from any other, and from itself after a change; not its tensors.

        Raises CheckpointError when it is gone.
        """
        try:
            facts = self.path.resolve().stat()
        except OSError as exc:
            raise CheckpointError(f"{self.path} cannot be read: {exc}") from exc
        times = facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns
        return json.dumps([str(self.path.resolve()), *times, self._header_digest])

    def will_read(self, name: str) -> None:
        """Let the system fetch tensor `name` while other work goes on."""
        self._file.will_read(self.tensors[name].begin, self.tensors[name].end)

    def was_read(self, name: str) -> None:
        """Let go of the pages of tensor `name`."""
        self._file.was_read(self.tensors[name].begin, self.tensors[name].end)

    def close(self) -> None:
        """Unmap the file; a tensor asked for later maps it again."""
        self._file.close()

    def _read_header(self, data: int, size: int) -> dict[str, StoredTensor]:
        """`data`: where the tensors' bytes begin; `size`: where the file ends."""
        text = self._file.bytes[PREFIX_BYTES:data].tobytes()
        self._header_digest = sha256(text).hexdigest()
        header = json.loads(text, object_pairs_hook=self._without_doubles)
        tensors: dict[str, StoredTensor] = {}
        for name, entry in cast("dict[str, dict[str, object]]", header).items():
            if name == "__metadata__":
                continue
            begin, end = cast("list[int]", entry["data_offsets"])
            stored = StoredTensor(
                dtype=str(entry["dtype"]),
                shape=tuple(cast("list[int]", entry["shape"])),
                begin=data + begin,
                end=data + end,
            )
            if stored.end > size or not _fits(stored):
                raise CheckpointError(
                    f"tensor {shown(name)} in {self.path} does not fit its byte range"
                )
            tensors[name] = stored
        return tensors

    def _without_doubles(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        named = dict(pairs)
        if len(named) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise CheckpointError(f"{self.path} names {shown(twice)} twice")
        return named


def _fits(stored: StoredTensor) -> bool:
    if stored.dtype not in FORMATS:
        return True  # refused once somebody asks for it
    size = FORMATS[stored.dtype].itemsize * math.prod(stored.shape)
    return stored.end - stored.begin == size
