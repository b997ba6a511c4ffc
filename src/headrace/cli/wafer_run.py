"""`headrace wafer run`: real tokens from a simulated mesh, what lies where, how long one takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from headrace.backends.base import BLOCK_TOKENS, Batch, Sampling
from headrace.backends.wafer import WaferBackend
from headrace.backends.wafer.timing import StageWork, by_events, token_works
from headrace.cli.output import print_json, say
from headrace.errors import InvalidRequest
from headrace.model import Detokenizer, bundled_model, open_model
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.machine import Machine, machine_named, whole
from headrace.wafer.placement import Placement

_EVENT_CORES = 1_024  # of a region whose words are moved one by one: a second of Python


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEvents:
    """A stage as the event model ran it, beside its closed form with the same constants."""

    stage: str
    cycles: int
    closed_form_cycles: float
    word_hops: int
    busiest_link_words: int


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
    events: Annotated[
        bool, typer.Option(help="count cycles word by word too, region by region")
    ] = True,
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures, SVG and PNG")] = None,
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
    backend = WaferBackend(
        opened.program,
        opened.weights,
        num_blocks=-(-total // BLOCK_TOKENS),
        machine=machine,
        shifts_prompts=shifted,
    )
    drawn = _decoded(backend, ids, max_tokens, opened.stop_ids)
    detokenizer = Detokenizer(opened.tokenizer)
    text = detokenizer.push(drawn) + detokenizer.flush()
    placement, context = backend.placement, len(ids) + len(drawn)
    stages = token_works(opened.program, placement, context)
    by_stage = {stage.name: stage.cycles(Pace.of(machine)) for stage in stages}
    spent = sum(by_stage.values(), Cycles())
    tok_s = machine.clock_hz.value / spent.total
    moved = _moved(stages, machine) if events else []
    files = _drawn(opened.name, placement, stages, pictures) if pictures else []
    if as_json:
        print_json(
            {
                "model": opened.name,
                "machine": machine.name,
                "facts": dict(machine.facts()),
                "prompt_ids": ids,
                "token_ids": drawn,
                "text": text,
                "colours": placement.colours,
                "cache_tokens": placement.cache_tokens,
                "regions": fills(placement),
                "modelled": {
                    "context_tokens": context,
                    "cycles": spent.total,
                    "by_cause": spent,
                    "by_stage": {name: each.total for name, each in by_stage.items()},
                    "by_events": moved,
                    "tok_s": tok_s,
                },
                "pictures": files,
            }
        )
        return
    console = Console(highlight=False)
    console.print(prompt + text, markup=False)
    console.print(_where(fills(placement), title=f"{opened.name} on {machine.name}"))
    shares = ", ".join(
        f"{name} {getattr(spent, name) / spent.total:.0%}"
        for name in ("relays", "hops", "issue", "words", "arithmetic")
    )
    console.print(
        f"A token after {context - 1} others would take {spent.total:,.0f} cycles, {tok_s:,.0f} "
        f"tok/s: {shares}. Reading every weight is the last of these."
    )
    if moved:
        console.print(_compared(moved))
    console.print("Bytes are those of a region's fullest core. What the machine is taken to be:")
    for name, fact in machine.facts():
        console.print(f"  {name.replace('_', ' ')}: {fact}", markup=False)


def _where(regions: list[RegionFill], title: str) -> Table:
    table = Table(title=title, title_justify="left")
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
    return table


def _moved(stages: list[StageWork], machine: Machine) -> list[StageEvents]:
    """Every stage small enough, word by word; stages that do the same are run once."""
    pace = Pace.of(whole(machine))
    found: dict[tuple[object, ...], StageEvents] = {}
    small = [stage for stage in stages if stage.rectangle.cores <= _EVENT_CORES]
    steps = track(small, "moving words", console=Console(stderr=True), transient=True)
    moved: list[StageEvents] = []
    for stage in steps:
        columns, rows = stage.rectangle.columns, stage.rectangle.rows
        key = columns, rows, stage.works
        if key not in found:
            got = by_events(stage, machine)
            formula = time_of(stage.works, columns=columns, rows=rows, pace=pace)
            found[key] = StageEvents(
                stage=stage.name,
                cycles=got.cycles,
                closed_form_cycles=formula.total,
                word_hops=got.word_hops,
                busiest_link_words=got.busiest_link_words,
            )
        moved.append(replace(found[key], stage=stage.name))
    return moved


def _compared(moved: list[StageEvents]) -> Table:
    table = Table(
        title="Moved word by word, constants in whole cycles, without hand-overs",
        title_justify="left",
    )
    for heading in ("stage", "cycles", "closed form", "words x links", "busiest link"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in moved:
        table.add_row(
            stage.stage,
            f"{stage.cycles:,}",
            f"{stage.closed_form_cycles:,.0f}",
            f"{stage.word_hops:,}",
            f"{stage.busiest_link_words:,} words",
        )
    return table


def _drawn(name: str, placement: Placement, stages: list[StageWork], folder: Path) -> list[str]:
    """The floorplan, and where the time of the longest stage goes: their files."""
    from headrace.wafer.pictures import floorplan, save, splits, time_split

    pace = Pace.of(placement.machine)
    longest = max(stages, key=lambda stage: stage.cycles(pace).total)
    columns, rows = longest.rectangle.columns, longest.rectangle.rows
    parts = splits((*longest.entry, *longest.works), columns=columns, rows=rows, pace=pace)
    title = f"One token through {longest.name} of {name} on {columns} x {rows} cores"
    files = [
        *save(floorplan(placement, name), folder, "floorplan"),
        *save(time_split(parts, title), folder, "time_split"),
    ]
    say("pictures: " + ", ".join(str(file) for file in files))
    return [str(file) for file in files]


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
