"""One HTML file, complete in itself: no script, nothing from elsewhere."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from headrace.prove.point import Point


def page(points: Sequence[Point], *, title: str, told: str) -> str:
    """The file's text; `told`: version, machine and date in a line."""
    green = sum(point.is_green for point in points)
    word = "good" if green == len(points) else "bad"
    style = files("headrace.prove").joinpath("page.css").read_text()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class=soft>{escape(told)}</p>"
        f'<p class="sum {word}">{green} of {len(points)} points hold</p>'
        f"{''.join(_section(point) for point in points)}</main></body></html>\n"
    )


def _section(point: Point) -> str:
    word, mark = ("good", "holds") if point.is_green else ("bad", "does not hold")
    faults = "".join(f"<li>{escape(fault)}</li>" for fault in point.faults)
    rows = "".join(
        f"<tr><th scope=row>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in point.facts
    )
    return (
        f'<section id="{escape(point.name)}"><h2><span class="mark {word}">{mark}</span> '
        f"{escape(point.name)}</h2><p>{escape(point.claim)}</p>"
        + (f'<ul class="bad">{faults}</ul>' if faults else "")
        + f"<table>{rows}</table><p class=soft>Again: <code>{escape(point.command)}</code></p>"
        "</section>"
    )
