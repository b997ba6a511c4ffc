"""Where the time of a layer goes: work by work, and in all, beside what reading alone takes."""

# Matplotlib leaves the types of keyword arguments open.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from headrace.wafer.collectives import default_groups
from headrace.wafer.cycles import Cycles, Pace, time_of
from headrace.wafer.pictures.canvas import CAUSES, INK, Axes, Figure, bare, sheet
from headrace.wafer.work import Reduction, Work


@dataclass(frozen=True, slots=True)
class Split:
    """One work of a layer, in order."""

    name: str
    cycles: Cycles


def splits(
    works: Iterable[Work],
    *,
    columns: int,
    rows: int,
    pace: Pace,
    groups: Callable[[int], int] = default_groups,
) -> list[Split]:
    """Each work by itself, named by what it is."""
    return [
        Split(
            f"all-reduce: {work.name}" if isinstance(work, Reduction) else work.name,
            time_of([work], columns=columns, rows=rows, pace=pace, groups=groups),
        )
        for work in works
    ]


def time_split(parts: Sequence[Split], title: str) -> Figure:
    """Above, every work in order, cycles by cause; below, all of them as shares."""
    spent = sum((split.cycles for split in parts), Cycles())
    figure = sheet(9.5, 2.9 + 0.24 * len(parts))
    works, whole = figure.subplots(2, 1, height_ratios=[max(1.0, 0.24 * len(parts)), 1.35])
    _works(works, parts)
    _shares(whole, spent)
    across = (spent.relays + spent.hops + spent.words) / spent.total
    figure.suptitle(
        f"{title}\nSums that cross the mesh take {across:.0%} of {spent.total:,.0f} cycles; "
        f"reading every weight takes {spent.arithmetic / spent.total:.0%}",
        color=INK,
        fontsize=12,
    )
    return figure


def _works(axes: Axes, parts: Sequence[Split]) -> None:
    places = range(len(parts))
    left = [0.0] * len(parts)
    for cause, (colour, label) in CAUSES.items():
        widths = [getattr(split.cycles, cause) for split in parts]
        axes.barh(places, widths, left=left, color=colour, label=label, height=0.78)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, [split.name for split in parts])
    axes.invert_yaxis()
    axes.set_xlabel("cycles of each step; they follow each other", color=INK, fontsize=9)
    axes.figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    bare(axes)


def _shares(axes: Axes, spent: Cycles) -> None:
    left = 0.0
    for cause, (colour, _) in CAUSES.items():
        share = getattr(spent, cause) / spent.total
        axes.barh(1, share, left=left, color=colour, height=0.8)
        if share > 0.025:
            axes.text(
                left + share / 2,
                1,
                f"{cause}\n{share:.0%}" if share > 0.012 * len(cause) else f"{share:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="black",
            )
        left += share
    alone = spent.arithmetic / spent.total
    axes.barh(0, alone, color=CAUSES["arithmetic"][0], height=0.8)
    axes.text(
        alone + 0.01,
        0,
        "were memory the limit: all weights read at the full width of SRAM, and nothing else",
        va="center",
        fontsize=9,
        color=INK,
    )
    axes.set_yticks([1, 0], ["as it is", "if only read"])
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    bare(axes, keep=())
    axes.tick_params(axis="y", length=0)
