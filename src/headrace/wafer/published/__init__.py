"""Published measurements, as printed, and how to look one up."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

WAFERLLM = "WaferLLM (OSDI 2025)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One printed number."""

    table: str
    model: str
    system: str
    config: str
    metric: str
    value: float
    unit: str
    digits: int  # behind the decimal point, as printed


@cache
def waferllm() -> tuple[Measurement, ...]:
    """The numbers of WaferLLM's tables 2 to 8 that a model can be held to."""
    text = resources.files(__name__).joinpath("waferllm.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        Measurement(
            table=row["table"],
            model=row["model"],
            system=row["system"],
            config=row["config"],
            metric=row["metric"],
            value=float(row["value"]),
            unit=row["unit"],
            digits=len(row["value"].partition(".")[2]),
        )
        for row in csv.DictReader(lines)
    )


def of_table(table: int, system: str = "", model: str = "") -> list[Measurement]:
    """The rows of a table whose system and model hold these words."""
    return [
        row
        for row in waferllm()
        if row.table == f"Table {table}" and system in row.system and model in row.model
    ]
