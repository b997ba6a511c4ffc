"""Measured against modelled: every row of `validate`, fitted, held out and missed."""

# Matplotlib leaves the types of keyword arguments open.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

from headrace.wafer.pictures.canvas import FAINT, INK, Axes, Figure, bare, sheet
from headrace.wafer.validation import Row

_SPEED = "tok/s"
_MARKS = {  # by section
    "decode": ("o", "#0072B2"),
    "prefill": ("s", "#009E73"),
    "end to end": ("^", "#CC79A7"),
    "Cerebras at launch": ("D", "#D55E00"),
    "Cerebras since": ("D", "#E69F00"),
    "Cerebras, perhaps with drafts": ("D", "#56B4E9"),
}


def measured_against_modelled(rows: Sequence[Row]) -> Figure:
    """Speeds on two logarithmic axes above; errors of all rows, in order, below."""
    figure = sheet(9.5, 10.5)
    speeds, errors = figure.subplots(2, 1, height_ratios=[1.35, 1])
    _speeds(speeds, [row for row in rows if row.unit == _SPEED])
    _errors(errors, rows)
    held = [row for row in rows if not row.is_fitted]
    figure.suptitle(
        f"{sum(row.is_hit for row in held)} of {len(held)} held-out measurements are within their "
        "goal; crosses are misses",
        color=INK,
        fontsize=12,
    )
    return figure


def _speeds(axes: Axes, rows: Sequence[Row]) -> None:
    low = min(row.published for row in rows) / 1.5
    high = max(row.published for row in rows) * 1.5
    axes.fill_between(
        [low, high], [low / 1.1, high / 1.1], [low * 1.1, high * 1.1], color=FAINT, alpha=0.18
    )
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1)
    axes.text(9_000, 6_400, "within 10 %", color=FAINT, fontsize=9)
    for section, (mark, colour) in _MARKS.items():
        part = [row for row in rows if row.section == section]
        for row in part:
            if row.interval is not None:
                axes.plot([row.published] * 2, row.interval, color=colour, linewidth=2)
        for is_fitted in (False, True):
            chosen = [row for row in part if row.is_fitted == is_fitted]
            if not chosen:
                continue
            axes.plot(
                [row.published for row in chosen],
                [row.modelled for row in chosen],
                mark,
                color=colour,
                markerfacecolor="white" if is_fitted else colour,
                markersize=6,
                label=f"{section}, fitted (hollow)" if is_fitted else section,
            )
        missed = [row for row in part if not row.is_hit]
        axes.plot(
            [row.published for row in missed],
            [row.modelled for row in missed],
            "x",
            color=INK,
            markersize=10,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("published, tokens a second", color=INK)
    axes.set_ylabel("modelled, tokens a second", color=INK)
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    bare(axes)


def _errors(axes: Axes, rows: Sequence[Row]) -> None:
    start = 0
    for section in dict.fromkeys(row.section for row in rows):
        part = [row for row in rows if row.section == section]
        _, colour = _MARKS.get(section, ("o", FAINT))
        places = range(start, start + len(part))
        axes.bar(places, [100 * row.error for row in part], color=colour, width=0.8)
        for place, row in zip(places, part, strict=True):
            if not row.is_hit:
                axes.plot(place, 100 * row.error, "x", color=INK, markersize=7)
        axes.axvline(start - 0.75, color=FAINT, linewidth=0.5, alpha=0.5)
        axes.text(
            start - 0.5,
            1.02,
            section.replace("Cerebras, perhaps", "perhaps").replace("Cerebras ", ""),
            transform=axes.get_xaxis_transform(),
            rotation=35,
            ha="left",
            va="bottom",
            fontsize=8,
            color=INK,
        )
        start += len(part) + 1
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([])
    axes.set_ylabel("error of the model, %", color=INK)
    axes.grid(axis="y", color=FAINT, alpha=0.25)
    bare(axes, keep=("left",))
