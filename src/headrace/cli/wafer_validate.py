"""`headrace wafer validate`: the model of a wafer's time, held to what was published."""

import itertools
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from headrace.cli.output import print_json, say
from headrace.wafer.validation import CONTEXT, Fit, Row, fit
from headrace.wafer.validation import validate as published_rows
from headrace.wafer.waferllm import MODELS, decode_works, groups_of

_SPLIT_MODEL, _SPLIT_SIDE = "LLaMA3-8B", 420  # the row whose time the picture takes apart


def validate(
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures, SVG and PNG")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Hold the model of a wafer's time to published measurements, row by row."""
    found = fit()
    rows = published_rows(found)
    drawn = _drawn(found, rows, pictures) if pictures else []
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
                "pictures": drawn,
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


def _drawn(found: Fit, rows: list[Row], folder: Path) -> list[str]:
    """Where a layer's time goes, speed against cores, measured against modelled: their files."""
    from headrace.wafer.pictures import (
        measured_against_modelled,
        save,
        speed_against_cores,
        splits,
        time_split,
    )

    side = _SPLIT_SIDE
    parts = splits(
        decode_works(MODELS[_SPLIT_MODEL], side, CONTEXT),
        columns=side,
        rows=side,
        pace=found.decode,
        groups=groups_of,
    )
    title = f"One token through one layer of {_SPLIT_MODEL} on {side} x {side} cores"
    files = [
        *save(time_split(parts, title), folder, "time_split"),
        *save(speed_against_cores(found.decode, CONTEXT), folder, "speed_against_cores"),
        *save(measured_against_modelled(rows), folder, "measured_against_modelled"),
    ]
    say("pictures: " + ", ".join(str(file) for file in files))
    return [str(file) for file in files]
