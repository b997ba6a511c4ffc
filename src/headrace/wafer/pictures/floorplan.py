"""What lies where: regions on the mesh, how full their cores are, and the token's way."""

# Matplotlib leaves the types of keyword arguments open.
# pyright: reportUnknownMemberType=false

from itertools import pairwise

from headrace.wafer.pictures.canvas import FAINT, INK, Axes, Figure, sheet
from headrace.wafer.placement import Placement, Region

_SIDE = 7.5  # inches of the mesh's longer side


def floorplan(placement: Placement, name: str) -> Figure:
    """Each region coloured by its fullest core's share of usable SRAM; arrows follow a token."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle as Box
    from matplotlib.ticker import PercentFormatter

    machine = placement.machine
    columns, rows = machine.columns.value, machine.rows.value
    scale = _SIDE / max(columns, rows)
    figure = sheet(max(5.0, columns * scale) + 1.6, max(3.5, rows * scale) + 1.1)
    axes = figure.add_subplot()
    shades, norm = colormaps["YlGnBu"], Normalize(0, 1)
    for region in placement.regions:
        box, fill = region.rectangle, region.core_bytes.total / machine.usable_bytes
        axes.add_patch(
            Box(
                (box.x, box.y),
                box.columns,
                box.rows,
                facecolor=shades(norm(fill) * 0.85),
                edgecolor="white",
                linewidth=2,
            )
        )
        axes.text(
            box.x + box.columns / 2,
            box.y + box.rows / 2,
            f"{_title(region)}\n{box.columns} x {box.rows}\n{fill:.0%} full",
            ha="center",
            va="center",
            fontsize=_font(region, scale),
            color="white" if fill > 0.6 else INK,
        )
    _way(axes, placement)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    axes.set_xlabel("columns of cores", color=INK)
    axes.set_ylabel("rows of cores", color=INK)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    figure.suptitle(
        f"{name} on {machine.name}: every weight has a core, and stays there", color=INK
    )
    bar = figure.colorbar(ScalarMappable(norm, shades), ax=axes, fraction=0.035, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.set_label("SRAM taken by weights, cache and working space", color=INK)
    return figure


def _way(axes: Axes, placement: Placement) -> None:
    middles = [
        (r.rectangle.x + r.rectangle.columns / 2, r.rectangle.y + r.rectangle.rows / 2)
        for r in placement.regions
    ]
    for (x, y), (to_x, to_y) in pairwise(middles):
        # From a third of the way to two thirds: across the edge, clear of the names.
        start = x + (to_x - x) * 0.36, y + (to_y - y) * 0.36
        end = x + (to_x - x) * 0.64, y + (to_y - y) * 0.64
        axes.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={"arrowstyle": "-|>", "color": "#D55E00", "linewidth": 2},
        )

    (x, y), (to_x, to_y) = middles[-1], middles[0]
    if len(middles) > 1:
        axes.annotate(
            "the next token",
            xy=(x + (to_x - x) * 0.8, y + (to_y - y) * 0.8),
            xytext=(x + (to_x - x) * 0.2, y + (to_y - y) * 0.2),
            fontsize=8,
            color=FAINT,
            ha="center",
            arrowprops={"arrowstyle": "-|>", "color": FAINT, "linestyle": "dashed"},
        )


def _title(region: Region) -> str:
    first, last = region.stages[0].name, region.stages[-1].name
    return first if first == last else f"{first} to\n{last}"


def _font(region: Region, scale: float) -> float:
    inches = min(region.rectangle.columns / 10, region.rectangle.rows / 4) * scale
    return max(4.0, min(11.0, 72 * inches))
