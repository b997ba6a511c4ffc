"""Tokens a second against cores: more of them, longer lines, and a best number in between."""

# Matplotlib leaves the types of keyword arguments open.
# pyright: reportUnknownMemberType=false

from headrace.wafer.cycles import Cycles, Pace
from headrace.wafer.machine import WSE2
from headrace.wafer.pictures.canvas import FAINT, INK, Axes, Figure, bare, sheet
from headrace.wafer.published import of_table
from headrace.wafer.waferllm import MODELS, DenseModel, decode_layer

_COLOURS = {"LLaMA3-8B": "#0072B2", "QWen2-72B": "#D55E00"}
_SIDES = range(100, 751, 10)


def speed_against_cores(pace: Pace, context: int) -> Figure:
    """Two models on squares of cores of a WSE-2; below, what a layer's cycles are made of."""
    figure = sheet(9.0, 7.2)
    speeds, causes = figure.subplots(2, 1, sharex=True, height_ratios=[1.25, 1])
    for name, colour in _COLOURS.items():
        _curve(speeds, MODELS[name], pace, context, colour)
    speeds.set_ylabel("tokens a second, one stream", color=INK)
    speeds.set_ylim(0)
    speeds.legend(fontsize=9, frameon=False, loc="center right")
    bare(speeds)
    _causes(causes, MODELS["LLaMA3-8B"], pace, context)
    figure.suptitle(
        "More cores read faster, but sums have farther to go: beyond the best square,\n"
        "a layer on more cores is slower",
        color=INK,
        fontsize=12,
    )
    return figure


def _curve(axes: Axes, model: DenseModel, pace: Pace, context: int, colour: str) -> None:
    found = [
        WSE2.clock_hz.value / decode_layer(model, side, context, pace).total / model.layers
        for side in _SIDES
    ]
    axes.plot(_SIDES, found, color=colour, label=f"{model.name}, modelled")
    best = max(range(len(found)), key=lambda i: found[i])
    axes.annotate(
        f"best: {_SIDES[best]} x {_SIDES[best]}",
        (_SIDES[best], found[best]),
        xytext=(0, 14),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=colour,
        arrowprops={"arrowstyle": "-", "color": colour},
    )
    rows = of_table(4, "WaferLLM", model.name)
    axes.plot(
        [int(row.config.partition("x")[0]) for row in rows],
        [row.value for row in rows],
        "o",
        color=colour,
        markerfacecolor="white",
        label="published (WaferLLM, OSDI 2025)",
    )


def _causes(axes: Axes, model: DenseModel, pace: Pace, context: int) -> None:
    layers = [decode_layer(model, side, context, pace) for side in _SIDES]

    def across(layer: Cycles) -> float:
        return layer.relays + layer.hops + layer.words

    reads = [layer.issue + layer.arithmetic for layer in layers]
    crosses = [across(layer) for layer in layers]
    axes.stackplot(
        _SIDES,
        reads,
        crosses,
        colors=["#56B4E9", "#E69F00"],
        labels=["multiplying: issue and arithmetic", "summing: relays, hops, words"],
    )
    axes.set_xlabel("side of the square of cores", color=INK)
    axes.set_ylabel(f"cycles of a layer\nof {model.name}", color=INK)
    axes.legend(fontsize=9, frameon=False, loc="upper center")
    axes.set_xlim(_SIDES[0], _SIDES[-1])
    axes.grid(axis="y", color=FAINT, alpha=0.25)
    bare(axes)
