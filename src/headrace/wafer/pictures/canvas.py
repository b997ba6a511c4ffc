"""What all pictures share: a white sheet, colours that tell apart for everybody, two files."""

# Matplotlib leaves the types of keyword arguments open.
# pyright: reportUnknownMemberType=false

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    Axes = Figure = Any

# By cause; Okabe and Ito's palette (2008), which people with any colour vision tell apart.
CAUSES = {
    "relays": ("#D55E00", "relays: receive, add, forward"),
    "hops": ("#E69F00", "hops: routers passed"),
    "words": ("#CC79A7", "words that follow each other"),
    "issue": ("#56B4E9", "issue of vector instructions"),
    "arithmetic": ("#009E73", "arithmetic: reading weights and multiplying"),
}
INK, FAINT = "#222222", "#888888"
_DPI = 144


def sheet(width: float, height: float) -> Figure:
    """An empty figure of so many inches. Raises ConfigError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
    except ImportError as exc:
        raise ConfigError("pictures need matplotlib: pip install 'headrace[pictures]'") from exc
    figure = Sheet(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """`name`.svg and `name`.png in `folder`, which is made; the same figure gives the same bytes.

    Raises ConfigError naming a folder that cannot be written.
    """
    import matplotlib

    found = folder / f"{name}.svg", folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(found[0], metadata={"Date": None})
        figure.savefig(found[1], dpi=_DPI, metadata={"Software": None})
    except OSError as exc:
        raise ConfigError(f"pictures cannot be written to {folder}: {exc.strerror}") from exc
    return found


def bare(axes: Axes, *, keep: tuple[str, ...] = ("left", "bottom")) -> None:
    """Axes without the lines nobody reads."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
        spine.set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
