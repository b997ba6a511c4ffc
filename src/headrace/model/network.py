"""The part of a model folder that a backend needs: its program and its weights."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.errors import CheckpointError
from headrace.model.checkpoint import Checkpoint, StoredWeights, open_checkpoint
from headrace.model.program import Program
from headrace.model.registry import build_program
from headrace.types import Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A program, and the checkpoint it was built from. The weights stay on disk, mapped."""

    program: Program
    checkpoint: Checkpoint

    @property
    def weights(self) -> StoredWeights:
        """Every tensor, by its name in the checkpoint."""
        return self.checkpoint.weights


def open_network(path: Path, *, dtype: Dtype = Dtype.STORED, context: int | None = None) -> Network:
    """Open the folder at `path` for its arithmetic only: no tokenizer, no template.

    `dtype` is what its matrices are read as; `context` the longest sequence that will be served, in
    tokens, None for the model's own longest. Raises CheckpointError, one sentence naming the file
    (and the tensor), when something is missing, broken or not known to this version.
    """
    checkpoint = open_checkpoint(path, dtype=dtype)
    with naming(path):
        program = build_program(checkpoint.config, context=context)
    checkpoint.weights.require(program)
    return Network(program=program, checkpoint=checkpoint)


@contextmanager
def naming(folder: Path) -> Generator[None]:
    """Which folder's file is meant, where there may be several."""
    try:
        yield
    except CheckpointError as exc:
        raise CheckpointError(f"{folder}: {exc}") from exc
