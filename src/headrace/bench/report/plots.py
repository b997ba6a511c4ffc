"""Pictures as SVG, drawn by hand: a report is one file, opens offline, and repeats byte by byte."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 18.0, 10.0, 48.0
_TICKS = 5
_DECADE = 10  # below, a logarithmic axis is ticked like a linear one
_Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of a picture. `colour` is the index of its endpoint."""

    name: str
    colour: int
    points: Sequence[_Point]
    is_dashed: bool = False
    has_dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What lies along one side."""

    label: str
    is_log: bool = False
    low: float | None = None  # None: as the values have it
    high: float | None = None

    def over(self, values: Sequence[float]) -> tuple[float, float]:
        """The range that holds `values`, never empty."""
        if self.is_log:
            values = [value for value in values if value > 0] or [1.0]
        low = min(values) if self.low is None else self.low
        high = max(values) if self.high is None else self.high
        if self.is_log:
            return (low / 1.5, high * 1.5) if high / low < 2 else (low / 1.1, high * 1.1)
        if high <= low:
            high = low + (abs(low) or 1.0)
        return low, high if self.high is not None else high + 0.04 * (high - low)

    def ticks(self, low: float, high: float) -> list[float]:
        """Round values to write beside it."""
        if self.is_log and high / low >= _DECADE:
            found = [
                factor * 10.0**power
                for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                for factor in (1, 2, 5)
            ]
            inside = [tick for tick in found if low <= tick <= high]
            decades = [tick for tick in inside if f"{tick:e}".startswith("1")]
            return decades if len(inside) > _TICKS + 2 and len(decades) > 1 else inside
        step = 10 ** math.floor(math.log10((high - low) / _TICKS))
        step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= _TICKS)
        first = math.ceil(low / step - 1e-9)
        return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


class _Sheet:
    """Axes, drawn; maps values to places."""

    def __init__(self, x: Axis, y: Axis, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.x = self._scale(x, xs, _LEFT, WIDTH - _RIGHT)
        self.y = self._scale(y, ys, HEIGHT - _BOTTOM, _TOP)
        self.parts: list[str] = []
        self._axis(x, xs, is_x=True)
        self._axis(y, ys, is_x=False)

    @staticmethod
    def _scale(
        axis: Axis, values: Sequence[float], begin: float, end: float
    ) -> Callable[[float], float]:
        low, high = axis.over(values)

        def place(value: float) -> float:
            value = min(max(value, low), high)
            if axis.is_log:
                share = math.log(value / low) / math.log(high / low)
            else:
                share = (value - low) / (high - low)
            return begin + share * (end - begin)

        return place

    def _axis(self, axis: Axis, values: Sequence[float], *, is_x: bool) -> None:
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        for tick in axis.ticks(*axis.over(values)):
            if is_x:
                at = self.x(tick)
                line = f'x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP:g}" y2="{bottom:g}"'
                place = f'x="{at:.1f}" y="{bottom + 18:g}" text-anchor="middle"'
            else:
                at = self.y(tick)
                line = f'x1="{_LEFT:g}" x2="{right:g}" y1="{at:.1f}" y2="{at:.1f}"'
                place = f'x="{_LEFT - 6:g}" y="{at + 4:.1f}" text-anchor="end"'
            self.parts.append(f'<line class="grid" {line}/><text {place}>{number(tick)}</text>')
        middle_x, middle_y = (_LEFT + right) / 2, (_TOP + bottom) / 2
        if is_x:
            place = f'x="{middle_x:g}" y="{HEIGHT - 7:g}" text-anchor="middle"'
        else:
            turn = f"rotate(-90 14 {middle_y:g})"
            place = f'x="14" y="{middle_y:g}" text-anchor="middle" transform="{turn}"'
        self.parts.append(f'<text class="label" {place}>{escape(axis.label)}</text>')

    def svg(self, told: str) -> str:
        """The picture; `told` is read out to those who do not see it."""
        return (
            f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(told)}">'
            f"{''.join(self.parts)}</svg>"
        )


def number(value: float) -> str:
    """A number as short as an axis wants it."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def lines(told: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Lines through points."""
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    sheet = _Sheet(x, y, [px for px, _ in points], [py for _, py in points])
    for one in series:
        placed = " ".join(f"{sheet.x(px):.1f},{sheet.y(py):.1f}" for px, py in one.points)
        dash = ' stroke-dasharray="5 4"' if one.is_dashed else ""
        sheet.parts.append(f'<polyline class="line c{one.colour % 6}"{dash} points="{placed}"/>')
        if one.has_dots:
            sheet.parts += [
                f'<circle class="dot c{one.colour % 6}" r="3.5" cx="{sheet.x(px):.1f}" '
                f'cy="{sheet.y(py):.1f}"><title>{escape(one.name)}: {number(px)}, {number(py)}'
                "</title></circle>"
                for px, py in one.points
            ]
    return sheet.svg(told)


def ecdf(told: str, x: Axis, groups: Sequence[tuple[str, int, Sequence[float]]]) -> str:
    """Share of values that are at most x, for each (name, colour, values)."""
    series: list[Series] = []
    for name, colour, values in groups:
        ordered = sorted(values)
        steps: list[_Point] = []
        for index, value in enumerate(ordered):
            steps += [(value, index / len(ordered)), (value, (index + 1) / len(ordered))]
        series.append(Series(name=name, colour=colour, points=steps))
    return lines(told, x, Axis(label="share of answers", low=0.0, high=1.0), series)


def histogram(told: str, x: Axis, groups: Sequence[tuple[str, int, Sequence[float]]]) -> str:
    """Shares of values by logarithmic bin, as steps, for each (name, colour, values)."""
    floor = 1e-3  # in the unit of the axis; what came at once is counted there
    clipped = [(n, c, [max(v, floor) for v in values]) for n, c, values in groups if values]
    if not clipped:
        return ""
    low = math.floor(math.log10(min(min(v) for _, _, v in clipped)) * 5)
    high = math.floor(math.log10(max(max(v) for _, _, v in clipped)) * 5) + 1
    series: list[Series] = []
    for name, colour, values in clipped:
        counts = [0] * (high - low)
        for value in values:
            counts[min(math.floor(math.log10(value) * 5 + 1e-9), high - 1) - low] += 1
        steps: list[_Point] = []
        for index, count in enumerate(counts):
            share = count / len(values)
            begin, end = 10 ** ((low + index) / 5), 10 ** ((low + index + 1) / 5)
            steps += [(begin, share), (end, share)]
        series.append(Series(name=name, colour=colour, points=steps))
    return lines(told, x, Axis(label="share of gaps", low=0.0), series)


def timeline(told: str, spans: Sequence[tuple[float, float, int, bool, str]]) -> str:
    """When each attempt ran: (begin s, end s, colour, passed, title); failures are pale."""
    if not spans:
        return ""
    rows: list[float] = []  # where each row is free again
    placed: list[int] = []
    for begin, end, *_ in spans:
        row = next((r for r, free in enumerate(rows) if free <= begin), len(rows))
        if row == len(rows):
            rows.append(0.0)
        rows[row] = end
        placed.append(row)
    last = max(end for _, end, *_ in spans)
    x = Axis(label="seconds from the start", low=0.0, high=last)
    y = Axis(label="side by side", low=0.0, high=float(len(rows)))
    sheet = _Sheet(x, y, [last], [float(len(rows))])
    size = (HEIGHT - _BOTTOM - _TOP) / len(rows)
    for (begin, end, colour, is_passed, title), row in zip(spans, placed, strict=True):
        width = max(sheet.x(end) - sheet.x(begin), 0.6)
        kind = "passed" if is_passed else "failed"
        sheet.parts.append(
            f'<rect class="{kind} c{colour % 6}" x="{sheet.x(begin):.1f}" width="{width:.1f}" '
            f'y="{sheet.y(row + 1.0) + size * 0.1:.1f}" height="{size * 0.8:.1f}">'
            f"<title>{escape(title)}</title></rect>"
        )
    return sheet.svg(told)
