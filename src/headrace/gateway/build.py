"""From checkpoint folders to a provider: where models and engines come together."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headrace.backends.base import MappedWeights
from headrace.clock import Clock
from headrace.config import Config
from headrace.engine import EngineClient, OpenEngine, plan_caches, start_child
from headrace.engine.messages import Start
from headrace.errors import ConfigError
from headrace.gateway.local import LocalModel, LocalProvider, greeting
from headrace.model import LanguageModel, open_model

log = logging.getLogger(__name__)


def build_local(model_paths: Sequence[Path], config: Config, clock: Clock) -> LocalProvider:
    """Open and check every folder; `start` of the provider then loads them, each by its engine.

    Raises ConfigError or CheckpointError naming the folder, file or setting that is wrong.
    """
    context, dtype = config.engine.context_tokens or None, config.engine.dtype
    opened = [open_model(path, dtype=dtype, context=context) for path in model_paths]
    names = [model.name for model in opened]
    if len(set(names)) != len(names):
        raise ConfigError(f"two of the models have the same folder name: {', '.join(names)}")
    for model in opened:
        if isinstance(model.weights, MappedWeights):
            model.weights.close()  # the engines open them again
    engines = plan_caches({model.name: model.program for model in opened}, config.engine)
    return LocalProvider(
        {
            model.name: _local_model(model, replace(config, engine=engines[model.name]), clock)
            for model in opened
        }
    )


def _local_model(model: LanguageModel, config: Config, clock: Clock) -> LocalModel:
    log.info("loading %s: weights %s", model.name, model.precision)
    engine = EngineClient(_process(model, config), clock, greeting=greeting(model))
    return LocalModel(model, engine)


def _process(model: LanguageModel, config: Config) -> OpenEngine:
    """Opens an engine for `model` in a process of its own."""
    start = Start(
        model=str(model.path.absolute()),
        config=config.engine,
        log=config.log,
        home=str(config.home.absolute()),
    )
    return lambda on_messages, on_lost: start_child(start, on_messages, on_lost)
