"""Every setting we have. Read once, by `load`; nothing else touches the environment.

Order: defaults < `headrace.toml` < `HEADRACE_*` variables < command-line flags. An unknown key is
an error that names it. A component takes the values it uses, not the whole configuration.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from headrace.errors import ConfigError
from headrace.types import Dtype

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class LogLevel(StrEnum):
    """From which weight on events are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


class PackedCaching(StrEnum):
    """When packed weights are kept on disk for the next start."""

    AUTO = "auto"  # where loading rounds; as stored, it gains too little for as many bytes again
    ON = "on"
    OFF = "off"


class LogFormat(StrEnum):
    """For people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """The HTTP edge."""

    host: str = "127.0.0.1"  # loopback unless told otherwise
    port: int = 8000  # 0: any free port
    auth: bool = True  # off only on a loopback host
    max_body_bytes: int = 8 * 1024 * 1024  # 413 above it
    body_timeout_s: float = 60.0  # 408 when the body takes longer
    request_timeout_s: float = 600.0  # 408 when an answer takes longer, its wait included; 0: never
    drain_s: float = 30.0  # how long running streams may finish after SIGTERM
    metrics: bool = True  # /metrics answers, without a key: counts and times, no names of callers


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What goes to stderr."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes fixed for the life of the engine."""

    backend: str = "cpu"  # null, reference, cpu
    packed_cache: PackedCaching = PackedCaching.AUTO  # keep packed weights in the home folder
    dtype: Dtype = Dtype.STORED  # bf16 rounds what is stored as fp16 or fp32, while loading
    threads: int = 0  # workers of the cpu backend; 0: one per physical core
    # Cached tokens over all sequences; 0: 16 contexts or 1 GiB, the smaller, but at least one whole
    # context, as far as memory goes.
    kv_tokens: int = 0
    context_tokens: int = 0  # longest context served; 0: the model's own
    max_sequences: int = 32  # sequences that run together
    max_step_tokens: int = 96  # rows of one step: more read no faster, and hold others up
    max_waiting: int = 256  # requests of one tenant that may wait, of all twice that; 503 beyond
    max_waiting_tokens: int = 1 << 20  # likewise, in tokens of their prompts
    prefix_cache: bool = True  # read equal beginnings of a caller's prompts once


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it."""

    home: Path  # database, keys, packed weights
    api: ApiConfig = field(default_factory=ApiConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    log: LogConfig = field(default_factory=LogConfig)


def load(
    *,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the settings. `flags` are dotted names ("api.port") whose None values are left out.

    Raises ConfigError naming the file, variable or flag that is wrong.
    """
    env = os.environ if environ is None else environ  # noqa: TID251 (the one place)
    config = Config(home=_home(env))
    if file is not None:
        config = _apply(config, _flatten(_read_toml(file)), origin=str(file))
    variables = {
        name.removeprefix("HEADRACE_").lower().replace("__", "."): value
        for name, value in env.items()
        if name.startswith("HEADRACE_") and name != "HEADRACE_HOME"
    }
    config = _apply(config, variables, origin="environment")
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    config = _apply(config, given, origin="command line")
    _check(config)
    return config


def _home(env: Mapping[str, str]) -> Path:
    if "HEADRACE_HOME" in env:
        return Path(env["HEADRACE_HOME"]).expanduser()
    data = env.get("XDG_DATA_HOME")
    return (Path(data) if data else Path("~/.local/share").expanduser()) / "headrace"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"settings file {file} cannot be read: {exc}") from exc


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))  # pyright: ignore[reportUnknownArgumentType]
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _apply(config: Config, values: Mapping[str, Any], *, origin: str) -> Config:
    for name, value in values.items():
        section_name, _, field_name = name.partition(".")
        section = getattr(config, section_name, None)
        if section_name == "home" and not field_name:
            config = replace(config, home=Path(str(value)).expanduser())
            continue
        if not is_dataclass(section) or field_name not in {f.name for f in fields(section)}:
            raise ConfigError(f"unknown setting '{name}' ({origin})")
        wanted = get_type_hints(type(section))[field_name]
        changed: Any = replace(section, **{field_name: _cast(name, value, wanted, origin)})  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
        config = replace(config, **{section_name: changed})
    return config


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _cast(name: str, value: object, wanted: type, origin: str) -> object:
    if wanted is bool and isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is not bool and not isinstance(value, bool):
        try:
            return wanted(value)
        except (TypeError, ValueError):
            pass
    kind = " or ".join(wanted) if issubclass(wanted, StrEnum) else f"a {wanted.__name__}"
    raise ConfigError(f"setting '{name}' ({origin}) must be {kind}, not {value!r}")


_RANGES: dict[str, tuple[float, float]] = {
    "api.port": (0, 65_535),
    "api.max_body_bytes": (1_024, 1 << 30),
    "api.body_timeout_s": (0.1, 3_600),
    "api.request_timeout_s": (0, 86_400),
    "api.drain_s": (0, 3_600),
    "engine.threads": (0, 1_024),
    "engine.kv_tokens": (0, 1 << 40),
    "engine.context_tokens": (0, 1 << 30),
    "engine.max_sequences": (1, 4_096),
    "engine.max_step_tokens": (1, 65_536),
    "engine.max_waiting": (0, 1_000_000),
    "engine.max_waiting_tokens": (0, 1 << 40),
}


def _check(config: Config) -> None:
    for name, (low, high) in _RANGES.items():
        section, _, field_name = name.partition(".")
        value = getattr(getattr(config, section), field_name)
        if not low <= value <= high:
            raise ConfigError(f"setting '{name}' must be between {low} and {high}, not {value}")
    if not config.api.auth and config.api.host not in LOOPBACK_HOSTS:
        raise ConfigError(
            f"--no-auth needs a loopback host, not '{config.api.host}': "
            "use --host 127.0.0.1, or keep keys on"
        )
