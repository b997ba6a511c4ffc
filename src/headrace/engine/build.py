"""From a model and the settings to an engine: where program, weights and backend come together."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from headrace.backends.base import BLOCK_TOKENS, Backend, Weights
from headrace.backends.footprint import footprint
from headrace.backends.host import read_memory
from headrace.backends.registry import Progress, load_backend
from headrace.clock import Clock
from headrace.config import EngineConfig
from headrace.engine.block_pool import blocks_for
from headrace.engine.engine import Engine
from headrace.engine.sizes import Wanted, plan_memory
from headrace.model import Program

log = logging.getLogger(__name__)


def plan_caches(programs: Mapping[str, Program], config: EngineConfig) -> dict[str, EngineConfig]:
    """The settings for each model by name, its `kv_tokens` decided for the memory there is now.

    Raises ConfigError, naming the setting or the models, when they do not fit.
    """
    memory = read_memory()
    wanted = [
        Wanted(
            name=name,
            max_positions=program.max_positions,
            footprint=footprint(config.backend, program),
        )
        for name, program in programs.items()
    ]
    planned: dict[str, EngineConfig] = {}
    for model, plan in zip(wanted, plan_memory(wanted, memory, config.kv_tokens), strict=True):
        is_cut = plan.context_tokens < model.max_positions
        log.log(
            logging.WARNING if is_cut else logging.INFO,
            "event=memory_planned model=%s weight_bytes=%d kv_bytes=%d context_tokens=%d "
            "model_context_tokens=%d available_bytes=%d",
            model.name,
            model.footprint.weight_bytes,
            plan.kv_bytes,
            plan.context_tokens,
            model.max_positions,
            memory.available_bytes,
        )
        planned[model.name] = replace(config, kv_tokens=plan.num_blocks * BLOCK_TOKENS)
    return planned


def build_backend(
    program: Program, weights: Weights, config: EngineConfig, *, progress: Progress | None = None
) -> Backend:
    """Load `program` on the configured backend, with the cache the settings ask for.

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
        threads=config.threads,
        progress=progress,
    )


def build_engine(backend: Backend, config: EngineConfig, clock: Clock) -> Engine:
    """An engine on a loaded backend, with the configured limits."""
    return Engine(
        backend,
        clock,
        max_sequences=config.max_sequences,
        max_step_tokens=config.max_step_tokens,
        max_waiting=config.max_waiting,
        max_waiting_tokens=config.max_waiting_tokens,
        has_prefix_cache=config.prefix_cache,
    )
