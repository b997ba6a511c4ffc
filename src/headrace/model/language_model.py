"""A model, ready to be loaded by a backend and talked to: everything its folder says, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headrace.errors import CheckpointError
from headrace.model.answer_format import AnswerFormat
from headrace.model.chat_template import PromptTemplate, load_chat_template
from headrace.model.checkpoint import Checkpoint
from headrace.model.generation_defaults import generation_defaults
from headrace.model.harmony import knows_harmony
from headrace.model.harmony_answers import HarmonyAnswers
from headrace.model.harmony_template import HarmonyTemplate
from headrace.model.marked_answers import MarkedAnswers
from headrace.model.network import naming, open_network
from headrace.model.precision import Tensor
from headrace.model.program import Program
from headrace.model.reasoning import reasoning_marks_of
from headrace.model.tokenizer import Tokenizer
from headrace.model.tool_format import ToolFormat
from headrace.model.tool_formats import tool_format_of
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
    chat_template: PromptTemplate
    answers: AnswerFormat
    stop_ids: tuple[int, ...]  # any of these ends a turn; may be empty
    default_sampling: SamplingParams  # None where the checkpoint is silent


def _local_time() -> datetime:
    return datetime.now().astimezone()


def open_model(
    path: Path,
    *,
    dtype: Dtype = Dtype.STORED,
    context: int | None = None,
    tool_format: ToolFormat | None = None,
    now: Callable[[], datetime] = _local_time,
) -> LanguageModel:
    """Open and check the Hugging Face folder at `path`; allocates nothing of the weights' size.

    `dtype` and `context` are as for `open_network`; `tool_format` None: the one its chat template
    was written for; `now` gives the date that chat templates may print. Raises CheckpointError, one
    sentence naming the file (and the tensor), when something is missing, broken or not known to
    this version.
    """
    network = open_network(path, dtype=dtype, context=context)
    checkpoint, program = network.checkpoint, network.program
    tokenizer = Tokenizer(
        checkpoint.tokenizer_file, checkpoint.tokenizer_config, vocab_size=program.vocab_size
    )
    with naming(path):
        defaults = generation_defaults(
            checkpoint.config, checkpoint.generation_config, program.vocab_size
        )
    template, answers = _dialect(checkpoint, tokenizer, tool_format, now)
    return LanguageModel(
        name=path.absolute().name,
        path=path,
        created_unix=(path / "config.json").stat().st_mtime,
        program=program,
        weights=checkpoint.weights,
        precision=checkpoint.weights.precision(program),
        tokenizer=tokenizer,
        chat_template=template,
        answers=answers,
        stop_ids=defaults.stop_ids,
        default_sampling=defaults.sampling,
    )


def _dialect(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    tool_format: ToolFormat | None,
    now: Callable[[], datetime],
) -> tuple[PromptTemplate, AnswerFormat]:
    """How the model is spoken to, and how it answers.

    A gpt-oss with another family's vocabulary, as random ones have it, speaks as its template does.
    """
    is_gpt_oss = checkpoint.config.get("model_type") == "gpt_oss"
    if is_gpt_oss and knows_harmony(tokenizer.control):
        with naming(checkpoint.path):
            if tool_format is not None:
                raise CheckpointError(
                    f"its tool calls are written in harmony, not as {tool_format.name!r}"
                )
            return HarmonyTemplate(tokenizer, now=now), HarmonyAnswers(tokenizer.control)
    template = load_chat_template(checkpoint, tokenizer, now=now)
    return template, MarkedAnswers(
        control=tokenizer.control,
        tools=tool_format or tool_format_of(template.source),
        thought=reasoning_marks_of(template.source),
    )
