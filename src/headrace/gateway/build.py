"""From checkpoint folders to a provider: where model, backend and engine come together."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.backends.base import Backend
from headrace.backends.registry import Progress, load_backend
from headrace.clock import Clock
from headrace.config import Config, EngineConfig
from headrace.engine import Engine, EngineThread, resolve_num_blocks
from headrace.errors import ConfigError
from headrace.gateway.base import ModelCard
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import LanguageModel, open_model

SWITCH_INTERVAL_S = 0.0005  # how long Python threads wait for one another: 5 ms would stall tokens


def load_engine(
    model: LanguageModel, config: EngineConfig, *, progress: Progress | None = None
) -> Backend:
    """Load `model` on the configured backend, with the cache the settings ask for."""
    num_blocks = resolve_num_blocks(model.program, config.kv_tokens)
    return load_backend(
        config.backend,
        model.program,
        model.weights,
        num_blocks=num_blocks,
        threads=config.threads,
        progress=progress,
    )


def make_engine(backend: Backend, config: EngineConfig, clock: Clock) -> Engine:
    """An engine on a loaded backend, with the configured limits."""
    return Engine(
        backend,
        clock,
        max_sequences=config.max_sequences,
        max_step_tokens=config.max_step_tokens,
        max_waiting=config.max_waiting,
        has_prefix_cache=config.prefix_cache,
    )


def build_local(
    model_paths: Sequence[Path],
    config: Config,
    clock: Clock,
    *,
    progress: Callable[[str], Progress] | None = None,
) -> LocalProvider:
    """Open and load every folder; the provider is not started yet.

    `progress(name)` gives the callback that follows the loading of that model. Raises ConfigError
    or CheckpointError naming the folder, file or setting that is wrong.
    """
    opened = [open_model(path) for path in model_paths]
    names = [model.name for model in opened]
    if len(set(names)) != len(names):
        raise ConfigError(f"two of the models have the same folder name: {', '.join(names)}")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    served: dict[str, LocalModel] = {}
    backends: list[Backend] = []
    for model in opened:
        backend = load_engine(
            model, config.engine, progress=progress(model.name) if progress else None
        )
        backends.append(backend)
        served[model.name] = _serve(model, backend, config, clock)

    def close() -> None:
        for backend in backends:
            backend.close()

    return LocalProvider(served, close=close)


def _serve(model: LanguageModel, backend: Backend, config: Config, clock: Clock) -> LocalModel:
    engine = make_engine(backend, config.engine, clock)
    card = ModelCard(
        id=model.name,
        created=int(model.created_unix),
        owned_by="headrace",
        context_tokens=engine.context_tokens,
        parameters=model.program.num_parameters,
        backend=backend.report().name,
    )
    return LocalModel(model, card, lambda wake: EngineThread(engine, wake))
