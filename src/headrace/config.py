"""Every setting we have. Read once, by `load`; nothing else touches the environment.

Order: defaults < `headrace.toml` < `HEADRACE_*` variables < command-line flags. An unknown key is
an error that names it. A component takes the values it uses, not the whole configuration.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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


class SignUp(StrEnum):
    """Who may make an account of their own."""

    OPEN = "open"  # everybody, with an organisation of the free tier
    INVITATION = "invitation"  # whom an administrator invited
    CLOSED = "closed"  # nobody: users are made on the command line


class MetricsFor(StrEnum):
    """Who may read /metrics: counts and times, no names of callers."""

    OPERATORS = "operators"  # a management key of the first organisation, or a session in it
    ALL = "all"
    NOBODY = "nobody"


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
    strict_params: bool = False  # 400 for fields of other vendors that mean nothing here
    metrics: MetricsFor = MetricsFor.OPERATORS  # who may read /metrics, if there are keys
    public_models: bool = True  # /public/v1/models answers, without a key
    # Web pages of these origins may call /v1 and /public: "*" is every one, none is none. Without
    # keys only pages of this machine may, whatever this says.
    cors_origins: tuple[str, ...] = ("*",)
    trusted_proxies: tuple[str, ...] = ()  # networks whose word on the caller's address is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsConfig:
    """Users, their sessions in the console, and how they come in."""

    sign_up: SignUp = SignUp.INVITATION
    session_idle_s: int = 8 * 3_600  # a session unused for so long has ended
    session_max_s: int = 7 * 86_400  # as has one that is so old
    invite_s: int = 7 * 86_400  # how long an invitation opens
    end_revoked_streams: bool = False  # within 5 s, not with their answer
    # Names under which the console is reached, beside this machine's own.
    console_hosts: tuple[str, ...] = ()
    oidc_issuer: str = ""  # log-in with its accounts; "": with passwords only
    oidc_client_id: str = ""
    oidc_client_secret_file: Path = Path()  # a file with nothing else in it
    oidc_redirect_url: str = ""  # https://HOST/console/api/oidc/callback


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What goes to stderr."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes fixed for the life of the engine."""

    backend: str = "cpu"  # null, reference, cpu, cuda, wafer
    mesh: str = "64x64"  # cores that the wafer backend simulates: columns x rows, wse2 or wse3
    null_steps_per_s: float = 0.0  # how fast the null backend pretends to be; 0: flat out
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
class ModelConfig:
    """A model to serve, `[models.NAME]` in the file. None leaves a choice to the checkpoint."""

    path: Path = Path()  # its folder, seen from the file's; in the file it must be there
    aliases: tuple[str, ...] = ()  # other names it answers to
    temperature: float | None = None  # of requests that do not say, like all of these
    top_p: float | None = None
    top_k: int | None = None  # 0: all tokens
    min_p: float | None = None
    max_tokens: int | None = None  # of an answer; None: as many as the context holds
    tool_format: str = ""  # how it writes tool calls, see docs/tools.md; "": as its template shows
    organisations: tuple[str, ...] = ()  # ids: whose alone it is; (): everybody's
    description: str = ""  # for the lists of models
    hugging_face_id: str = ""  # likewise


class Billing(StrEnum):
    """How what requests cost is paid."""

    NONE = "none"  # it costs nothing
    CREDIT = "credit"  # before, from what the organisation has bought
    INVOICE = "invoice"  # afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceConfig:
    """What a model costs, `[[prices]]` in the file: micro-dollars for a million tokens."""

    model: str
    input_micros: int
    cached_input_micros: int | None = None  # of prompt tokens in the cache; None: as others
    output_micros: int | None = None  # None: as the prompt
    since: str = ""  # the day, UTC, from which it holds: "2026-11-26"; "": always


# Of Cerebras' service at its launch (August 2024); what is cached is half of it (ours).
PRICES = (
    PriceConfig(model="llama3.1-8b", input_micros=100_000, cached_input_micros=50_000),
    PriceConfig(model="llama3.1-70b", input_micros=600_000, cached_input_micros=300_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteringConfig:
    """How use is written down."""

    enabled: bool = True  # without keys there is nobody to write down
    slots: int = 1_024  # requests that run at once
    lease_micros: int = 1_000_000  # credit that is leased at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesConfig:
    """The console's page of one token on several machines."""

    enabled: bool = True  # for who runs the server; without keys for everybody who reaches it
    mesh: str = "64x64"  # cores that its wafer simulates
    endpoint: str = ""  # one more to compare with, https://HOST/v1; "": none
    endpoint_model: str = ""  # its name for the model; "": as here
    endpoint_key_file: Path = Path()  # a file with its key and nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class TierConfig:
    """What the accounts of a tier may use, `[tiers.NAME]` in the file; 0 of a limit: none.

    Requests and tokens are those of an organisation and model; days are those of
    `limits.time_zone`.
    """

    requests_per_minute: int = 0
    requests_per_hour: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0  # of prompts and answers
    tokens_per_hour: int = 0
    tokens_per_day: int = 0
    uncached_tokens_per_minute: int = 0  # of them, those that were not in the prefix cache
    concurrent_requests: int = 0
    queued_requests: int = 0  # of those, whose answer has not begun
    context_tokens: int = 0  # longest prompt and answer together; 0: the model's own
    cached_percent: int = 100  # of a cached prompt token that counts: 0 to 100
    weight: float = 1.0  # part of the service, relative to the other tiers'
    reserved_percent: int = 0  # of the service, that its accounts have together while they ask
    may_go_first: bool = False  # whether service_tier "priority" is theirs to ask for
    billing: Billing = Billing.NONE  # who pays what their requests cost


TIERS: Mapping[str, TierConfig] = {
    "free": TierConfig(
        requests_per_minute=30,
        tokens_per_minute=60_000,
        tokens_per_day=1_000_000,
        context_tokens=8_192,
    ),
    "developer": TierConfig(
        requests_per_minute=1_000,
        tokens_per_minute=1_000_000,
        weight=2.0,
        billing=Billing.CREDIT,
    ),
    "enterprise": TierConfig(
        weight=4.0, reserved_percent=25, may_go_first=True, billing=Billing.INVOICE
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """How limits are kept."""

    enabled: bool = True  # without keys there are none to limit
    time_zone: str = "UTC"  # whose midnights end a day: a name like "Europe/Berlin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it."""

    home: Path  # database, keys, packed weights
    models: Mapping[str, ModelConfig] = field(default_factory=dict[str, ModelConfig])  # by name
    api: ApiConfig = field(default_factory=ApiConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    accounts: AccountsConfig = field(default_factory=AccountsConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    metering: MeteringConfig = field(default_factory=MeteringConfig)
    machines: MachinesConfig = field(default_factory=MachinesConfig)
    prices: tuple[PriceConfig, ...] = PRICES
    tiers: Mapping[str, TierConfig] = field(default_factory=lambda: dict(TIERS))  # by name
    log: LogConfig = field(default_factory=LogConfig)


Section = TypeVar(
    "Section",
    bound=ApiConfig
    | EngineConfig
    | AccountsConfig
    | LimitsConfig
    | MeteringConfig
    | MachinesConfig
    | TierConfig
    | LogConfig
    | ModelConfig
    | PriceConfig,
)


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
        tree = _read_toml(file)
        models = _models(tree.pop("models", {}), file)
        prices = _prices(tree.pop("prices", None), file)
        config = replace(config, models=models, prices=config.prices if prices is None else prices)
        config = _apply(config, _flatten(tree), origin=str(file))
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


def _models(tables: object, file: Path) -> dict[str, ModelConfig]:
    """The `[models.NAME]` tables; their names may hold dots, so they are not flattened."""
    models: dict[str, ModelConfig] = {}
    for name, table in _table("models", tables, file).items():
        values = _table(f"models.{name}", table, file)
        model = ModelConfig()
        for key, value in values.items():
            model = _with(model, f"models.{name}", key, value, str(file))
        if "path" not in values:
            raise ConfigError(
                f"setting 'models.{name}.path' ({file}) is missing: the model's folder"
            )
        models[name] = replace(model, path=file.parent / model.path.expanduser())
    return models


def _prices(tables: object, file: Path) -> tuple[PriceConfig, ...] | None:
    """The `[[prices]]` tables, which replace ours; None: there are none."""
    if tables is None:
        return None
    if not isinstance(tables, list):
        raise ConfigError(f"setting 'prices' ({file}) must be a list of tables: [[prices]]")
    found: list[PriceConfig] = []
    for table in cast("list[object]", tables):
        values = _table("prices", table, file)
        missing = {"model", "input_micros"} - set(values)
        if missing:
            raise ConfigError(f"setting 'prices' ({file}): '{missing.pop()}' is missing")
        price = PriceConfig(model=str(values["model"]), input_micros=0)
        for key, value in values.items():
            price = _with(price, "prices", key, value, str(file))
        _check_price(price, file)
        found.append(price)
    return tuple(found)


def _check_price(price: PriceConfig, file: Path) -> None:
    for name in ("input_micros", "cached_input_micros", "output_micros"):
        value = getattr(price, name)
        if value is not None and not 0 <= value <= _LIMIT_RANGE[1]:
            raise ConfigError(f"setting 'prices.{name}' ({file}) must not be negative: {value}")
    if price.since:
        try:
            date.fromisoformat(price.since)
        except ValueError as exc:
            raise ConfigError(
                f"setting 'prices.since' ({file}) must be a day like '2026-11-26', "
                f"not '{price.since}'"
            ) from exc


def _table(name: str, value: object, file: Path) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(f"setting '{name}' ({file}) must be a table, not {value!r}")
    return cast("dict[str, object]", value)


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
        section: object = getattr(config, section_name, None)
        if section_name == "home" and not field_name:
            config = replace(config, home=Path(str(value)).expanduser())
            continue
        if section_name == "tiers":
            config = replace(config, tiers=_tiers(config.tiers, field_name, value, origin))
            continue
        if not isinstance(
            section,
            ApiConfig
            | EngineConfig
            | AccountsConfig
            | LimitsConfig
            | MeteringConfig
            | MachinesConfig
            | LogConfig,
        ):
            raise ConfigError(f"unknown setting '{name}' ({origin})")
        changes: Any = {section_name: _with(section, section_name, field_name, value, origin)}
        config = replace(config, **changes)
    return config


def _tiers(
    tiers: Mapping[str, TierConfig], name: str, value: object, origin: str
) -> Mapping[str, TierConfig]:
    tier, _, field_name = name.partition(".")
    if tier not in tiers:
        raise ConfigError(
            f"unknown setting 'tiers.{name}' ({origin}): tiers are {', '.join(tiers)}"
        )
    return {**tiers, tier: _with(tiers[tier], f"tiers.{tier}", field_name, value, origin)}


def _with(
    section: Section, section_name: str, field_name: str, value: object, origin: str
) -> Section:
    """`section` with one field changed. Raises ConfigError naming the setting."""
    name = f"{section_name}.{field_name}"
    if field_name not in {f.name for f in fields(section)}:
        raise ConfigError(f"unknown setting '{name}' ({origin})")
    wanted = get_type_hints(type(section))[field_name]
    changes: Any = {field_name: _cast(name, value, wanted, origin)}
    return replace(section, **changes)


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _cast(name: str, value: object, wanted: Any, origin: str) -> object:
    if get_origin(wanted) is tuple:
        return _texts(name, value, origin)
    kinds = [kind for kind in get_args(wanted) if kind is not NoneType]  # of `float | None`
    kind: type = kinds[0] if kinds else wanted
    if kind is bool and isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if kind is bool and isinstance(value, bool):
        return value
    if kind is not bool and not isinstance(value, bool):
        try:
            return kind(value)
        except (TypeError, ValueError):
            pass
    words = " or ".join(kind) if issubclass(kind, StrEnum) else f"a {kind.__name__}"
    raise ConfigError(f"setting '{name}' ({origin}) must be {words}, not {value!r}")


def _texts(name: str, value: object, origin: str) -> tuple[str, ...]:
    """Several texts: a list in the file, separated by commas elsewhere."""
    given = value.split(",") if isinstance(value, str) else value
    texts = cast("list[object]", given) if isinstance(given, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"setting '{name}' ({origin}) must be a list of texts, not {value!r}")
    return tuple(text.strip() for text in cast("list[str]", texts) if text.strip())


_RANGES: dict[str, tuple[float, float]] = {
    "api.port": (0, 65_535),
    "api.max_body_bytes": (1_024, 1 << 30),
    "api.body_timeout_s": (0.1, 3_600),
    "api.request_timeout_s": (0, 86_400),
    "api.drain_s": (0, 3_600),
    "accounts.session_idle_s": (60, 366 * 86_400),
    "accounts.session_max_s": (60, 366 * 86_400),
    "accounts.invite_s": (60, 366 * 86_400),
    "metering.slots": (1, 1 << 20),
    "metering.lease_micros": (1, 1 << 53),
    "engine.null_steps_per_s": (0, 1e6),
    "engine.threads": (0, 1_024),
    "engine.kv_tokens": (0, 1 << 40),
    "engine.context_tokens": (0, 1 << 30),
    "engine.max_sequences": (1, 4_096),
    "engine.max_step_tokens": (1, 65_536),
    "engine.max_waiting": (0, 1_000_000),
    "engine.max_waiting_tokens": (0, 1 << 40),
}


_MOST_RESERVED_PERCENT = 90  # by all tiers together: the others have the rest
_TIER_RANGES: dict[str, tuple[float, float]] = {
    "cached_percent": (0, 100),
    "weight": (0.01, 1_000),
    "reserved_percent": (0, _MOST_RESERVED_PERCENT),
}
_LIMIT_RANGE = 0, 1 << 53

_MODEL_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (1e-9, 1),
    "top_k": (0, 1 << 31),
    "min_p": (0, 1),
    "max_tokens": (1, 1 << 31),
}
_MODEL_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,198}[^\s\x00-\x1f\x7f])?")
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[A-Za-z0-9.\[\]:-]+")


def _check(config: Config) -> None:
    for name, (low, high) in _RANGES.items():
        section, _, field_name = name.partition(".")
        value = getattr(getattr(config, section), field_name)
        if not low <= value <= high:
            raise ConfigError(f"setting '{name}' must be between {low} and {high}, not {value}")
    for origin in config.api.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"setting 'api.cors_origins' must list origins like 'https://app.example' or '*', "
                f"not '{origin}'"
            )
    for network in config.api.trusted_proxies:
        try:
            ip_network(network)
        except ValueError as exc:
            raise ConfigError(
                f"setting 'api.trusted_proxies' must list addresses or networks like '10.0.0.0/8': "
                f"{exc}"
            ) from exc
    endpoint = config.machines.endpoint
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise ConfigError(
            f"setting 'machines.endpoint' must be an address like 'https://HOST/v1', "
            f"not {endpoint!r}"
        )
    _check_models(config.models)
    _check_tiers(config)
    if not config.api.auth and config.api.host not in LOOPBACK_HOSTS:
        raise ConfigError(
            f"--no-auth needs a loopback host, not '{config.api.host}': "
            "use --host 127.0.0.1, or keep keys on"
        )


def _check_tiers(config: Config) -> None:
    for tier, values in config.tiers.items():
        for each in fields(values):
            low, high = _TIER_RANGES.get(each.name, _LIMIT_RANGE)
            value = getattr(values, each.name)
            if not isinstance(value, Billing) and not low <= value <= high:
                raise ConfigError(
                    f"setting 'tiers.{tier}.{each.name}' must be between {low} and {high}, "
                    f"not {value}"
                )
    if sum(tier.reserved_percent for tier in config.tiers.values()) > _MOST_RESERVED_PERCENT:
        raise ConfigError(
            "settings 'tiers.*.reserved_percent' must sum to "
            f"{_MOST_RESERVED_PERCENT} at most: whoever has reserved nothing needs the rest"
        )
    try:
        ZoneInfo(config.limits.time_zone)
    except (ValueError, OSError, ZoneInfoNotFoundError) as exc:
        raise ConfigError(
            f"setting 'limits.time_zone' must be a zone like 'Europe/Berlin', not "
            f"{config.limits.time_zone!r}"
        ) from exc


def _check_models(models: Mapping[str, ModelConfig]) -> None:
    taken = set(models)
    for name, model in models.items():
        for field_name, (low, high) in _MODEL_RANGES.items():
            value: float | None = getattr(model, field_name)
            if value is not None and not low <= value <= high:
                raise ConfigError(
                    f"setting 'models.{name}.{field_name}' must be between {low} and {high}, "
                    f"not {value}"
                )
        for alias in model.aliases:
            if alias in taken:
                raise ConfigError(f"setting 'models.{name}.aliases': '{alias}' is taken already")
            taken.add(alias)
        for word in (name, *model.aliases):
            if not _MODEL_NAME.fullmatch(word):
                raise ConfigError(
                    f"setting 'models.{name}': {word!r} is no name for a model: 1 to 200 "
                    "characters, printable"
                )
