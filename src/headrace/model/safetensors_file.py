"""One safetensors file, validated whole and then mapped: tensors are views of the file, not copies.

The format (the safetensors README): 8 bytes header length, a JSON header naming each tensor's
dtype, shape and byte range, then the bytes. Nothing in it is ever executed.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from headrace.errors import CheckpointError

PREFIX_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where a tensor lies: `begin`..`end` are bytes from the start of its file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """The tensors of one file, by name."""

    def __init__(self, path: Path) -> None:
        """Validate the header against the file, then map it read-only.

        Raises CheckpointError naming the file when it is missing, truncated or its header lies.
        """
        self.path = path
        try:
            with safe_open(path, framework="numpy"):  # checks lengths, offsets, overlaps, the size
                pass
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        except SafetensorError as exc:
            reason = str(exc).rstrip(".").replace("\n", " ")
            raise CheckpointError(
                f"{path} is not a whole safetensors file: {reason}; download it again"
            ) from exc
        except (OSError, ValueError) as exc:
            raise CheckpointError(f"{path} cannot be read: {exc}") from exc
        self.tensors = self._read_header()

    def bf16(self, name: str) -> NDArray[np.uint16]:
        """The bits of tensor `name`, in its stored shape, read-only, mapped.

        Raises CheckpointError naming tensor, dtype and file when it is not stored as BF16.
        """
        stored = self.tensors[name]
        if stored.dtype != "BF16":
            raise CheckpointError(
                f"tensor '{name}' in {self.path} is stored as {stored.dtype}, and this version "
                "reads BF16 only"
            )
        bits = self._bytes[stored.begin : stored.end].view(np.uint16).reshape(stored.shape)
        return np.require(bits, requirements="A")  # copies only what a writer misaligned

    def _read_header(self) -> dict[str, StoredTensor]:
        length = int.from_bytes(self._bytes[:PREFIX_BYTES].tobytes(), "little")
        data = PREFIX_BYTES + length
        header = json.loads(self._bytes[PREFIX_BYTES:data].tobytes())
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
            size = 2 * math.prod(stored.shape)
            if stored.end > len(self._bytes) or (
                stored.dtype == "BF16" and stored.end - stored.begin != size
            ):
                raise CheckpointError(f"tensor '{name}' in {self.path} does not fit its byte range")
            tensors[name] = stored
        return tensors
