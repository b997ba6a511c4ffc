"""`headrace bench decode`: how fast is the engine itself?"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from headrace import config as settings
from headrace.bench.decode import DecodeResult, DecodeShape, bench_decode
from headrace.cli.output import DTYPE_HELP
from headrace.clock import SystemClock
from headrace.engine import build_backend, build_engine, plan_caches
from headrace.model import bundled_model, open_model
from headrace.types import Dtype


def decode(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: bundled")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 128,
    output_tokens: Annotated[int, typer.Option(min=2)] = 128,
    batch: Annotated[int, typer.Option(min=1, help="sequences side by side")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="counted runs; medians are reported")] = 5,
    threads: Annotated[int | None, typer.Option(min=0, help="0: one per physical core")] = None,
    backend: Annotated[str | None, typer.Option(help="cpu, cuda, wafer, reference or null")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help=DTYPE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Time the engine without HTTP: one prompt in, greedy tokens out, end tokens ignored."""
    flags = {
        "engine.threads": threads,
        "engine.backend": backend,
        "engine.dtype": dtype,
        "engine.max_sequences": batch,
    }
    config = settings.load(flags=flags).engine
    context = config.context_tokens or None
    opened = open_model(model or bundled_model(), dtype=config.dtype, context=context)
    config = plan_caches({opened.name: opened.program}, config)[opened.name]
    machine = build_backend(opened.program, opened.weights, config)
    shape = DecodeShape(
        prompt_tokens=prompt_tokens, output_tokens=output_tokens, batch=batch, runs=runs
    )
    clock = SystemClock()
    try:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"decoding on {machine.report().name}", total=runs)
            result = bench_decode(
                build_engine(machine, config, clock),
                opened.program,
                shape,
                clock,
                on_run=lambda done: bar.update(task, completed=done),
            )
    finally:
        machine.close()
    # Right after the run: a virtual machine's processors change their places, and all that follows.
    bandwidth_gb_s = _bandwidth_gb_s(result.step_bytes, config.threads)
    report = {
        "model": opened.name,
        "backend": config.backend,
        "weights": opened.precision,
        **asdict(shape),
        **asdict(result),
        "read_bandwidth_gb_s": bandwidth_gb_s,
        "roofline_fraction": result.read_rate_gb_s / bandwidth_gb_s,
        "round_trip_ns": _round_trip_ns(),
    }
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    else:
        _print(result, bandwidth_gb_s)


def _bandwidth_gb_s(working_set_bytes: int, threads: int) -> float:
    from headrace.backends.cpu import physical_cores, read_bandwidth

    return read_bandwidth(working_set_bytes, threads=threads or physical_cores()) / 1e9


def _round_trip_ns() -> float | None:
    from headrace.backends.cpu import round_trip_seconds

    seconds = round_trip_seconds()
    return None if seconds is None else seconds * 1e9


def _print(result: DecodeResult, bandwidth_gb_s: float) -> None:
    table = Table(show_header=False)
    table.add_row("decode", f"{result.decode_tok_s:,.0f} tok/s")
    spread = f"{result.decode_tok_s_min:,.0f} .. {result.decode_tok_s_max:,.0f} tok/s"
    table.add_row("  over the runs", spread)
    table.add_row("prefill", f"{result.prefill_tok_s:,.0f} tok/s")
    table.add_row("read per token", f"{result.bytes_per_token / 1e6:,.1f} MB")
    table.add_row("read rate", f"{result.read_rate_gb_s:,.1f} GB/s")
    table.add_row("this machine reads so much at", f"{bandwidth_gb_s:,.1f} GB/s")
    table.add_row("share of that", f"{result.read_rate_gb_s / bandwidth_gb_s:.0%}")
    Console().print(table)
