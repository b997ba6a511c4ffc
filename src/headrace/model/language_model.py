"""A model, ready to be loaded by a backend and talked to: everything its folder says, checked."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.errors import CheckpointError
from headrace.model.chat_template import ChatTemplate, load_chat_template
from headrace.model.checkpoint import open_checkpoint
from headrace.model.generation_defaults import generation_defaults
from headrace.model.precision import Tensor
from headrace.model.program import Program
from headrace.model.registry import build_program
from headrace.model.tokenizer import Tokenizer
from headrace.types import Dtype, SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """What a model folder holds. The weights stay on disk, mapped, until a backend reads them."""

    name: str  # the folder's name
    path: Path
    created_unix: float  # when its config.json was last written, seconds since 1970-01-01 UTC
    program: Program
    weights: Mapping[str, Tensor]  # by checkpoint name
    precision: str  # how its matrices are multiplied, for people: "bf16, as stored"
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    stop_ids: tuple[int, ...]  # any of these ends a turn; may be empty
    default_sampling: SamplingParams  # None where the checkpoint is silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The part of a model folder that a backend needs."""

    program: Program
    weights: Mapping[str, Tensor]  # by checkpoint name


def open_network(path: Path, *, dtype: Dtype = Dtype.STORED, context: int | None = None) -> Network:
    """Open the folder at `path` for its arithmetic only: no tokenizer, no template.

    `dtype` and `context` are as for `open_model`. Raises CheckpointError, one sentence naming the
    file (and the tensor), when it is broken.
    """
    checkpoint = open_checkpoint(path, dtype=dtype)
    program = build_program(checkpoint.config, context=context)
    checkpoint.weights.require(program)
    return Network(program=program, weights=checkpoint.weights)


def _local_time() -> datetime:
    return datetime.now().astimezone()


def open_model(
    path: Path,
    *,
    dtype: Dtype = Dtype.STORED,
    context: int | None = None,
    now: Callable[[], datetime] = _local_time,
) -> LanguageModel:
    """Open and check the Hugging Face folder at `path`; allocates nothing of the weights' size.

    `dtype` is what its matrices are read as; `context` the longest sequence that will be served, in
    tokens, None for the model's own longest; `now` the date that chat templates may print. Raises
    CheckpointError, one sentence naming the file (and the tensor), when something is missing,
    broken or not known to this version.
    """
    checkpoint = open_checkpoint(path, dtype=dtype)
    with _named(path):
        program = build_program(checkpoint.config, context=context)
    checkpoint.weights.require(program)
    tokenizer = Tokenizer(
        checkpoint.tokenizer_file, checkpoint.tokenizer_config, vocab_size=program.vocab_size
    )
    with _named(path):
        defaults = generation_defaults(
            checkpoint.config, checkpoint.generation_config, program.vocab_size
        )
    return LanguageModel(
        name=path.absolute().name,
        path=path,
        created_unix=(path / "config.json").stat().st_mtime,
        program=program,
        weights=checkpoint.weights,
        precision=checkpoint.weights.precision(program),
        tokenizer=tokenizer,
        chat_template=load_chat_template(checkpoint, tokenizer, now=now),
        stop_ids=defaults.stop_ids,
        default_sampling=defaults.sampling,
    )


@contextmanager
def _named(folder: Path) -> Generator[None]:
    """Which folder's file is meant, where there may be several."""
    try:
        yield
    except CheckpointError as exc:
        raise CheckpointError(f"{folder}: {exc}") from exc
