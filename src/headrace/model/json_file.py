"""The JSON files of a model folder: read with a size limit, one clear sentence when broken."""

import json
from pathlib import Path
from typing import cast

from headrace.errors import CheckpointError
from headrace.model.plain_file import size_of

MAX_JSON_BYTES = 64 << 20  # the largest tokenizer.json known is about 35 MB


def read_json_object(path: Path) -> dict[str, object]:
    """The object in `path`; raises CheckpointError naming the file when there is none."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is not valid JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(value).__name__}")
    return cast("dict[str, object]", value)


def read_text(path: Path) -> str:
    """The UTF-8 text of `path`; raises CheckpointError naming the file."""
    check_size(path)
    try:
        with path.open("rb") as file:
            return file.read(MAX_JSON_BYTES).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise CheckpointError(f"{path} cannot be read: {exc}") from exc


def check_size(path: Path) -> None:
    """Raises CheckpointError unless `path` is a file of at most MAX_JSON_BYTES."""
    size = size_of(path)
    if size > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} has {size:,} bytes, more than {MAX_JSON_BYTES:,}")
