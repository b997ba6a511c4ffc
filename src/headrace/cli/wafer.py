"""`headrace wafer`: a model on a simulated mesh of cores."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.wafer import WaferBackend
from headrace.backends.wafer.timing import token_cycles
from headrace.cli.output import print_json
from headrace.errors import InvalidRequest
from headrace.model import Detokenizer, bundled_model, open_model
from headrace.wafer.cycles import Cycles
from headrace.wafer.machine import machine_named
from headrace.wafer.placement import Placement
from headrace.wafer.validation import Row, fit
from headrace.wafer.validation import validate as published_rows

wafer_app = typer.Typer(no_args_is_help=True, help="A model on a simulated mesh of cores.")


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
    """Decode real tokens on a simulated mesh; show what lies where and how long one would take."""
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
    context = len(ids) + len(drawn)
    stages = token_cycles(opened.program, backend.placement, context)
    spent = sum(stages.values(), Cycles())
    modelled_tok_s = machine.clock_hz.value / spent.total
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
                "modelled": {
                    "context_tokens": context,
                    "cycles": spent.total,
                    "by_cause": spent,
                    "by_stage": {name: each.total for name, each in stages.items()},
                    "tok_s": modelled_tok_s,
                },
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
    shares = ", ".join(
        f"{name} {getattr(spent, name) / spent.total:.0%}"
        for name in ("relays", "hops", "issue", "words", "arithmetic")
    )
    console.print(
        f"A token after {context - 1} others would take {spent.total:,.0f} cycles, "
        f"{modelled_tok_s:,.0f} tok/s: {shares}. Hand-overs between regions are not counted."
    )
    console.print("Bytes are those of a region's fullest core. What the machine is taken to be:")
    for name, fact in machine.facts():
        console.print(f"  {name.replace('_', ' ')}: {fact}", markup=False)


@wafer_app.command()
def validate(
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Hold the model of a wafer's time to published measurements, row by row."""
    found = fit()
    rows = published_rows(found)
    if as_json:
        print_json(
            {
                "constants": {
                    "relay_cycles": found.decode.relay_cycles,
                    "issue_cycles": found.decode.issue_cycles,
                    "prefill_cycles_per_four_elements": found.prefill_element,
                    "prefill_cycles_per_outer_iteration": found.prefill_outer,
                    "launch_efficiency": found.launch,
                },
                "rows": [
                    {
                        "section": row.section,
                        "name": row.name,
                        "unit": row.unit,
                        "published": row.published,
                        "modelled": row.modelled,
                        "interval": row.interval,
                        "error": row.error,
                        "goal": row.goal,
                        "is_fitted": row.is_fitted,
                        "is_hit": row.is_hit,
                        "source": row.source,
                        "note": row.note,
                    }
                    for row in rows
                ],
                "misses": sum(not row.is_hit for row in rows),
            }
        )
        return
    console = Console(highlight=False)
    for section, part in itertools.groupby(rows, key=lambda row: row.section):
        console.print(_validated(section, list(part)))
    console.print(
        f"Fitted: relay {found.decode.relay_cycles:.1f} and issue {found.decode.issue_cycles:.1f} "
        f"cycles on three decode rows; {found.prefill_element:.2f} cycles for four elements and "
        f"{found.prefill_outer:.1f} for an outer iteration on six prefill rows; efficiency "
        f"{found.launch:.2f} on one served row. All other rows are held out."
    )
    console.print(
        f"{sum(row.is_hit for row in rows)} of {len(rows)} rows are within their goal; "
        "a miss is a miss."
    )


def _validated(section: str, rows: list[Row]) -> Table:
    table = Table(title=section, title_justify="left")
    for heading in ("", "published", "modelled", "error", "goal", "rows"):
        table.add_column(heading, justify="left" if heading in ("", "rows") else "right")
    for row in rows:
        table.add_row(
            row.name,
            f"{_shown(row.published)} {row.unit}",
            _shown(row.modelled)
            if row.interval is None
            else " to ".join(_shown(end) for end in row.interval),
            f"{row.error:+.1%}" if row.interval is None else "",
            _goal(row),
            ("fitted" if row.is_fitted else "held out") + ("" if row.is_hit else ", MISS"),
        )
    table.caption = "\n".join(sorted({row.note for row in rows if row.note})) or None
    table.caption_justify = "left"
    return table


def _goal(row: Row) -> str:
    if row.interval is not None:
        return "within"
    return f"{row.goal:.1%}" if row.goal >= 5e-4 else "last digit"


def _shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.4g}"


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
