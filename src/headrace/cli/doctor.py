"""`headrace doctor`: what this machine can run, and how fast."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import config as settings
from headrace.backends.host import Host, read_host, read_memory
from headrace.bench.memory import ReadSpeed, measure, working_sets
from headrace.cli.output import DTYPE_HELP
from headrace.config import Config
from headrace.engine import build_backend, plan_caches
from headrace.errors import KernelMissing
from headrace.model import LanguageModel, bundled_model, open_model
from headrace.types import Dtype

BAR_WIDTH = 16  # characters: the table fits a terminal of 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """How fast weights can be read here, and how fast two threads can agree on something."""

    threads: int
    round_trip_ns: float | None  # of a cache line; None: there is one processor only
    barrier_ns: float
    working_sets: tuple[ReadSpeed, ...]


def doctor(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: bundled")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help=DTYPE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Report cores, instruction sets, bandwidth, backends, and how a model would run."""
    host = read_host()
    available_bytes = read_memory().available_bytes
    config = settings.load(flags={"engine.dtype": dtype})
    context = config.engine.context_tokens or None
    opened = open_model(model or bundled_model(), dtype=config.engine.dtype, context=context)
    speeds = _speeds(host, available_bytes)
    facts: dict[str, dict[str, object]] = {
        "host": {**asdict(host), "available_memory_bytes": available_bytes},
        "backends": {**_backends(host)},
        "model": _model(opened, config),
    }
    if as_json:
        measured = {"read_bandwidth_gb_s": _by_size(speeds), "speeds": speeds}
        sys.stdout.write(msgspec.json.encode({**facts, **measured}).decode() + "\n")
        return
    console = Console()
    for title, values in facts.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in values.items():
            table.add_row(name.replace("_", " "), Text(_show(value)))
        console.print(table)
    if speeds:
        console.print(_table(speeds))


def _backends(host: Host) -> dict[str, str]:
    try:
        from headrace.backends.cpu import cpu_features

        cpu = "ready: " + ", ".join(cpu_features())
    except KernelMissing as exc:
        cpu = str(exc)
    return {
        "cpu": cpu,
        "reference": "ready: NumPy float32, slow, the judge of the others",
        "null": "ready: no arithmetic, for tests",
        "cuda": _cuda(host),
        "wafer": "ready: a simulated mesh of cores, slow; `headrace wafer run`",
    }


def _cuda(host: Host) -> str:
    from headrace.backends.cuda import open_device

    try:
        device = open_device()
    except KernelMissing as exc:
        return f"{exc} GPUs: {', '.join(host.gpus) or 'none seen'}."
    return f"ready: {device.name}, {device.free_bytes >> 30} of {device.total_bytes >> 30} GB free"


def _speeds(host: Host, available_bytes: int) -> Speeds | None:
    try:
        from headrace.backends.cpu import barrier_seconds, physical_cores, round_trip_seconds

        threads = physical_cores()
    except KernelMissing:
        return None
    round_trip_s = round_trip_seconds()
    return Speeds(
        threads=threads,
        round_trip_ns=None if round_trip_s is None else round_trip_s * 1e9,
        barrier_ns=barrier_seconds(threads) * 1e9,
        working_sets=tuple(
            measure(wanted, threads)
            for wanted in working_sets(host.caches, threads, available_bytes)
        ),
    )


def _by_size(speeds: Speeds | None) -> dict[str, float]:
    """What all threads read together, by the working set's size."""
    found = speeds.working_sets if speeds else ()
    return {_megabytes(speed.bytes): round(speed.all_threads_gb_s, 1) for speed in found}


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.3g} MB" if size < 1000 << 20 else f"{size >> 20} MB"


def _table(speeds: Speeds) -> Table:
    table = Table(title="read bandwidth, GB/s", title_justify="left")
    table.add_column("working set", no_wrap=True)
    table.add_column("size", justify="right")
    table.add_column("1 thread", justify="right")
    if speeds.threads > 1:
        table.add_column(f"{speeds.threads} threads", justify="right")
    table.add_column("", width=BAR_WIDTH)
    most = max((speed.all_threads_gb_s for speed in speeds.working_sets), default=1.0)
    for speed in speeds.working_sets:
        rates = [f"{speed.one_thread_gb_s:,.0f}"]
        if speeds.threads > 1:
            rates.append(f"{speed.all_threads_gb_s:,.0f}")
        bar = Bar(most, 0, speed.all_threads_gb_s, width=BAR_WIDTH)
        table.add_row(speed.name, _megabytes(speed.bytes), *rates, bar)
    barrier = f"barrier of {speeds.threads} threads: {speeds.barrier_ns:,.0f} ns"
    if speeds.round_trip_ns is not None:
        barrier += f"; a cache line there and back: {speeds.round_trip_ns:,.0f} ns"
    table.caption = barrier
    table.caption_justify = "left"
    return table


def _model(model: LanguageModel, config: Config) -> dict[str, object]:
    engine = plan_caches({model.name: model.program}, config.engine)[model.name]
    backend = build_backend(model.program, model.weights, engine, home=config.home)
    try:
        loaded = backend.report()
        context_tokens = min(model.program.max_positions, backend.num_blocks * 16)
    finally:
        backend.close()
    return {
        "name": model.name,
        "architecture": model.program.architecture,
        "parameters": model.program.num_parameters,
        "context_tokens": context_tokens,
        "model_context_tokens": model.program.max_positions,
        "weights": model.precision,
        "bytes_per_token": model.program.bytes_per_token(),
        "backend": loaded.name,
        "device": loaded.device,
        "loaded_from": loaded.loaded_from,
        "weight_bytes": loaded.weight_bytes,
        "kv_bytes": loaded.kv_bytes,
        "phases": loaded.phases,
        "fallback_ops": loaded.fallback_ops,
    }


def _show(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_show(v)}" for k, v in value.items()) or "none"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value) if value not in ((), []) else "none"
