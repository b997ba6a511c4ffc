"""From checkpoint folders to a provider: where models and engines come together."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from headrace.backends.base import MappedWeights
from headrace.clock import Clock
from headrace.config import Config
from headrace.engine.build import plan_caches
from headrace.engine.child import EngineChild, follow_child, start_child, tell
from headrace.engine.client import EngineClient
from headrace.engine.connection import OnMessages
from headrace.engine.launch import Launched
from headrace.engine.messages import Start
from headrace.errors import ConfigError
from headrace.gateway.local import LocalModel, LocalProvider
from headrace.model import LanguageModel, open_model
from headrace.model.tool_format import ToolFormat
from headrace.model.tool_formats import TOOL_FORMATS

log = logging.getLogger(__name__)

GREETING = (0,)  # what an engine has to decode to be ready: a prompt of any token every model has


def build_local(
    model_paths: Sequence[Path], config: Config, clock: Clock, launched: Launched | None = None
) -> LocalProvider:
    """Open and check every folder; `start` of the provider then loads them, each by its engine.

    Without `model_paths` those the settings name. A folder that is called as a model of the
    settings is served with that one's aliases and defaults. With a process that was `launched` for
    it the first model begins to load at once.
    Raises ConfigError or CheckpointError naming the folder, file or setting that is wrong.
    """
    context, dtype = config.engine.context_tokens or None, config.engine.dtype
    paths = [(path.absolute().name, path) for path in model_paths]
    paths = paths or [(name, model.path) for name, model in config.models.items()]
    opened = [
        replace(
            open_model(path, dtype=dtype, context=context, tool_format=_tool_format(name, config)),
            name=name,
        )
        for name, path in paths
    ]
    _check_names([model.name for model in opened], config)
    for model in opened:
        if isinstance(model.weights, MappedWeights):
            model.weights.close()  # the engines open them again
    engines = plan_caches({model.name: model.program for model in opened}, config.engine)
    models: dict[str, LocalModel] = {}
    for model in opened:
        settings = replace(config, engine=engines[model.name])
        models[model.name] = _local_model(model, settings, clock, launched)
        launched = None  # there is one
    return LocalProvider(models)


def _local_model(
    model: LanguageModel, config: Config, clock: Clock, launched: Launched | None
) -> LocalModel:
    log.info("loading %s: weights %s", model.name, model.precision)
    engine = engine_of(model, config, clock, launched)
    return LocalModel(model, engine, settings=config.models.get(model.name))


def engine_of(
    model: LanguageModel, config: Config, clock: Clock, launched: Launched | None = None
) -> EngineClient:
    """An engine for `model` by `config.engine`, to be started."""
    start = Start(
        model=str(model.path.absolute()),
        config=config.engine,
        log=config.log,
        home=str(config.home.absolute()),
    )
    return EngineClient(_Process(start, launched), clock, greeting=GREETING)


def _tool_format(name: str, config: Config) -> ToolFormat | None:
    """The format that the operator says model `name` writes tool calls in; None: nothing is said.

    Raises ConfigError naming the setting.
    """
    said = config.models[name].tool_format if name in config.models else ""
    if said and said not in TOOL_FORMATS:
        raise ConfigError(
            f"setting 'models.{name}.tool_format' must be one of {', '.join(TOOL_FORMATS)}, "
            f"not {said!r}"
        )
    return TOOL_FORMATS[said] if said else None


def _check_names(names: Sequence[str], config: Config) -> None:
    if len(set(names)) != len(names):
        raise ConfigError(f"two of the models have the same folder name: {', '.join(names)}")
    for name in names:
        for alias in config.models[name].aliases if name in config.models else ():
            if alias in names:
                raise ConfigError(f"setting 'models.{name}.aliases': '{alias}' is another model")


class _Process:
    """Opens engines, one after the other: the first in the process that was launched, if any."""

    def __init__(self, start: Start, launched: Launched | None) -> None:
        self._start = start
        self._launched = launched
        if launched is not None:
            tell(launched, start)

    async def __call__(self, on_messages: OnMessages, on_lost: Callable[[], None]) -> EngineChild:
        launched, self._launched = self._launched, None
        if launched is not None:
            return await follow_child(launched, on_messages, on_lost)
        return await start_child(self._start, on_messages, on_lost)
