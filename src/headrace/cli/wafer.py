"""`headrace wafer`: a model on a simulated mesh of cores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.wafer import WaferBackend
from headrace.cli.output import print_json
from headrace.errors import InvalidRequest
from headrace.model import Detokenizer, bundled_model, open_model
from headrace.wafer.machine import machine_named
from headrace.wafer.placement import Placement

wafer_app = typer.Typer(no_args_is_help=True, help="A model on a simulated mesh of cores.")


@wafer_app.callback()
def _group() -> None:
    """Keep `run` a command of its own: typer folds a group of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFill:
    """One region, and how full its fullest core is."""

    stages: tuple[str, ...]
    x: int
    y: int
    columns: int
    rows: int
    weight_bytes: int  # of the fullest core, like the next three
    cache_bytes: int
    working_bytes: int
    fill: float  # share of what a core has besides code


@wafer_app.command()
def run(
    model: Annotated[
        Path | None, typer.Argument(help="checkpoint folder; default: bundled")
    ] = None,
    mesh: Annotated[str, typer.Option(help="columns x rows, wse2 or wse3")] = "64x64",
    prompt: Annotated[str, typer.Option(help="text to go on from")] = "Once upon a time",
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens to decode, greedily")] = 16,
    shifted: Annotated[
        bool, typer.Option("--shifted", help="read the prompt by shifted products")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Decode real tokens on a simulated mesh, and show what lies where."""
    machine = machine_named(mesh)
    opened = open_model(model or bundled_model())
    ids = opened.tokenizer.encode_prompt(prompt)
    total = len(ids) + max_tokens
    if not ids or total > opened.program.max_positions:
        raise InvalidRequest(
            f"{len(ids)} tokens of prompt and {max_tokens} more: the model takes 1 to "
            f"{opened.program.max_positions}"
        )
    num_blocks = -(-total // BLOCK_TOKENS)
    backend = WaferBackend(
        opened.program,
        opened.weights,
        num_blocks=num_blocks,
        machine=machine,
        shifts_prompts=shifted,
    )
    drawn = _decoded(backend, ids, max_tokens, opened.stop_ids)
    regions = fills(backend.placement)
    detokenizer = Detokenizer(opened.tokenizer)
    text = detokenizer.push(drawn) + detokenizer.flush()
    if as_json:
        facts = {
            name: {
                "value": fact.value,
                "unit": fact.unit,
                "certainty": fact.certainty,
                "source": fact.source,
            }
            for name, fact in machine.facts()
        }
        print_json(
            {
                "model": opened.name,
                "machine": machine.name,
                "facts": facts,
                "prompt_ids": ids,
                "token_ids": drawn,
                "text": text,
                "colours": backend.placement.colours,
                "cache_tokens": backend.placement.cache_tokens,
                "regions": regions,
            }
        )
        return
    console = Console(highlight=False)
    console.print(prompt + text, markup=False)
    table = Table(title=f"{opened.name} on {machine.name}", title_justify="left")
    for heading in ("stages", "cores", "weights", "cache", "working", "fill"):
        table.add_column(heading, justify="left" if heading == "stages" else "right")
    for region in regions:
        table.add_row(
            ", ".join(region.stages),
            f"{region.columns}x{region.rows}",
            f"{region.weight_bytes:,} B",
            f"{region.cache_bytes:,} B",
            f"{region.working_bytes:,} B",
            f"{region.fill:.0%}",
        )
    console.print(table)
    console.print("Bytes are those of a region's fullest core. What the machine is taken to be:")
    for name, fact in machine.facts():
        console.print(f"  {name.replace('_', ' ')}: {fact}", markup=False)


def fills(placement: Placement) -> list[RegionFill]:
    """What lies where, region by region."""
    return [
        RegionFill(
            stages=tuple(stage.name for stage in region.stages),
            x=region.rectangle.x,
            y=region.rectangle.y,
            columns=region.rectangle.columns,
            rows=region.rectangle.rows,
            weight_bytes=region.core_bytes.weights,
            cache_bytes=region.core_bytes.cache,
            working_bytes=region.core_bytes.working,
            fill=region.core_bytes.total / placement.machine.usable_bytes,
        )
        for region in placement.regions
    ]


def _decoded(
    backend: WaferBackend, prompt: list[int], max_tokens: int, stop_ids: tuple[int, ...]
) -> list[int]:
    """The prompt, then token by token, greedily, until a turn ends."""
    tables = np.arange(backend.num_blocks, dtype=np.int32)[None]
    drawn: list[int] = []
    rows, start = prompt, 0
    while len(drawn) < max_tokens and not (drawn and drawn[-1] in stop_ids):
        batch = Batch(
            token_ids=np.array(rows, np.int32),
            positions=np.arange(start, start + len(rows), dtype=np.int32),
            row_sequence=np.zeros(len(rows), np.int32),
            block_tables=tables,
            sample_rows=np.array([len(rows) - 1], np.int32),
            sampling=Sampling.greedy(1),
        )
        start += len(rows)
        rows = backend.step(batch).token_ids.tolist()
        drawn += rows
    return drawn
