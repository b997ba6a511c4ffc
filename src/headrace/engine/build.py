"""From a model and the settings to an engine: where program, weights and backend come together."""

from headrace.backends.base import Backend, Weights
from headrace.backends.registry import Progress, load_backend
from headrace.clock import Clock
from headrace.config import EngineConfig
from headrace.engine.engine import Engine
from headrace.engine.sizes import resolve_num_blocks
from headrace.model import Program


def build_backend(
    program: Program, weights: Weights, config: EngineConfig, *, progress: Progress | None = None
) -> Backend:
    """Load `program` on the configured backend, with the cache the settings ask for.

    Raises ConfigError naming the setting that is wrong, KernelMissing when it cannot run here.
    """
    return load_backend(
        config.backend,
        program,
        weights,
        num_blocks=resolve_num_blocks(program, config.kv_tokens),
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
