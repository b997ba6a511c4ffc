"""`headrace doctor`: what this machine can run, and how fast."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from headrace import config as settings
from headrace.backends.host import Host, read_host, read_memory
from headrace.cli.output import DTYPE_HELP
from headrace.config import Config
from headrace.engine import build_backend, plan_caches
from headrace.errors import KernelMissing
from headrace.model import LanguageModel, bundled_model, open_model
from headrace.types import Dtype

WORKING_SETS_MB = (1, 12, 512)  # about a core's own cache, the shared cache, main memory


def doctor(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: bundled")
    ] = None,
    dtype: Annotated[Dtype | None, typer.Option(help=DTYPE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Report cores, instruction sets, bandwidth, backends, and how a model would run."""
    host = read_host()
    config = settings.load(flags={"engine.dtype": dtype})
    context = config.engine.context_tokens or None
    opened = open_model(model or bundled_model(), dtype=config.engine.dtype, context=context)
    report: dict[str, object] = {
        "host": {**asdict(host), "available_memory_bytes": read_memory().available_bytes},
        "backends": _backends(host),
        "read_bandwidth_gb_s": _bandwidths(),
        "model": _model(opened, config),
    }
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    console = Console()
    for title, values in report.items():
        if not isinstance(values, dict):
            continue
        table = Table(title=title.replace("_", " "), title_justify="left", show_header=False)
        for name, value in values.items():  # pyright: ignore[reportUnknownVariableType]
            table.add_row(str(name).replace("_", " "), _show(value))  # pyright: ignore[reportUnknownArgumentType]
        console.print(table)


def _backends(host: Host) -> dict[str, str]:
    try:
        from headrace.backends.cpu import cpu_features

        cpu = "ready: " + ", ".join(cpu_features())
    except KernelMissing as exc:
        cpu = str(exc)
    gpus = ", ".join(host.gpus) or "none seen"
    return {
        "cpu": cpu,
        "reference": "ready: NumPy float32, slow, the judge of the others",
        "null": "ready: no arithmetic, for tests",
        "cuda": f"not in this version (GPUs: {gpus})",
        "wafer": "not in this version",
    }


def _bandwidths() -> dict[str, float]:
    try:
        from headrace.backends.cpu import physical_cores, read_bandwidth

        threads = physical_cores()
    except KernelMissing:
        return {}
    return {
        f"{megabytes} MB": round(read_bandwidth(megabytes << 20, threads) / 1e9, 1)
        for megabytes in WORKING_SETS_MB
    }


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
