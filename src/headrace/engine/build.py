"""From a model and the settings to an engine: where program, weights and backend come together."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from headrace.backends.base import BLOCK_TOKENS, Backend, MappedWeights, Weights
from headrace.backends.cuda import read_device_memory
from headrace.backends.footprint import footprint
from headrace.backends.host import read_memory
from headrace.backends.registry import Options, Progress, load_backend
from headrace.clock import Clock
from headrace.config import EngineConfig, PackedCaching
from headrace.engine.block_pool import blocks_for
from headrace.engine.engine import Engine
from headrace.engine.grammar_compiler import GrammarCompiler
from headrace.engine.sizes import Wanted, plan_memory
from headrace.engine.vocabulary import open_vocabulary
from headrace.model.program import Program
from headrace.telemetry.logs import Event

log = logging.getLogger(__name__)


def plan_caches(programs: Mapping[str, Program], config: EngineConfig) -> dict[str, EngineConfig]:
    """The settings for each model by name, its `kv_tokens` decided for the memory there is now.

    Raises ConfigError, naming the setting or the models, when they do not fit, and KernelMissing
    when the device whose memory it would be is missing.
    """
    memory = read_device_memory() if config.backend == "cuda" else read_memory()
    wanted = [
        Wanted(
            name=name,
            max_positions=program.max_positions,
            footprint=footprint(config.backend, program, mesh=config.mesh),
        )
        for name, program in programs.items()
    ]
    planned: dict[str, EngineConfig] = {}
    for model, plan in zip(wanted, plan_memory(wanted, memory, config.kv_tokens), strict=True):
        is_cut = plan.context_tokens < model.max_positions
        event = Event(
            "memory_planned",
            model=model.name,
            weight_bytes=model.footprint.weight_bytes,
            kv_bytes=plan.kv_bytes,
            context_tokens=plan.context_tokens,
            model_context_tokens=model.max_positions,
            available_bytes=memory.available_bytes,
        )
        log.log(logging.WARNING if is_cut else logging.INFO, event)
        planned[model.name] = replace(config, kv_tokens=plan.num_blocks * BLOCK_TOKENS)
    return planned


def build_backend(
    program: Program,
    weights: Weights,
    config: EngineConfig,
    *,
    home: Path | None = None,
    progress: Progress | None = None,
) -> Backend:
    """Load `program` on the configured backend, with the cache the settings ask for.

    `home` is where packed weights may be kept, as the settings have it.
    `kv_tokens` 0 is decided as if the model were the only one. Raises ConfigError naming the
    setting that is wrong, KernelMissing when it cannot run here.
    """
    if config.kv_tokens == 0:
        config = plan_caches({program.architecture: program}, config)[program.architecture]
    return load_backend(
        config.backend,
        program,
        weights,
        num_blocks=blocks_for(config.kv_tokens, BLOCK_TOKENS),
        options=Options(
            threads=config.threads,
            packed=home / "packed" if home and _keeps_packed(weights, config) else None,
            mesh=config.mesh,
            steps_per_s=config.null_steps_per_s,
        ),
        progress=progress,
    )


def _keeps_packed(weights: Weights, config: EngineConfig) -> bool:
    if config.packed_cache is PackedCaching.AUTO:
        return isinstance(weights, MappedWeights) and weights.is_rounded
    return config.packed_cache is PackedCaching.ON


def build_engine(
    backend: Backend, config: EngineConfig, clock: Clock, *, model: Path | None = None
) -> Engine:
    """An engine on a loaded backend, with the configured limits.

    `model`: the folder that has the vocabulary; without it there are no grammars.
    """
    vocab_size = backend.program.vocab_size
    engine = Engine(
        backend,
        clock,
        max_sequences=config.max_sequences,
        max_step_tokens=config.max_step_tokens,
        max_waiting=config.max_waiting,
        max_waiting_tokens=config.max_waiting_tokens,
        has_prefix_cache=config.prefix_cache,
    )
    if model is not None:
        engine.grammars = GrammarCompiler(lambda: open_vocabulary(model, vocab_size))
    return engine
