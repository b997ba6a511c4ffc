// A chart of days: a bar for each, in parts. Drawn again for each width, so text keeps its size.

import { make } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const BELOW = 26; // for the days' names
const ABOVE = 8;
const NAME_WIDTH = 66; // of a day, with air
const MOST_PARTS = 6; // with the rest as one

/**
 * `days`: [{ name, parts: Map(series id -> figure) }]; `series`: [{ id, name }], the largest first;
 * `format` says a figure, `short` one of the axis.
 */
export class DayChart {
  constructor(host) {
    this.host = host;
    this.shown = null;
    new ResizeObserver(() => this.draw()).observe(host);
  }

  show(shown) {
    const kept = shown.series.length > MOST_PARTS ? MOST_PARTS - 1 : shown.series.length;
    const rest = shown.series.slice(kept);
    const series = shown.series.slice(0, kept);
    if (rest.length) series.push({ id: null, name: `${rest.length} others` });
    const days = shown.days.map(({ name, parts }) => {
      const figures = series.map(({ id }) =>
        id === null ? sum(rest.map((other) => parts.get(other.id) ?? 0)) : (parts.get(id) ?? 0),
      );
      return { name, figures, total: sum(figures) };
    });
    this.shown = { ...shown, series, days };
    this.width = 0;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.host.clientWidth);
    if (!this.shown || width === 0 || width === this.width) return;
    this.width = width;
    const { days, label } = this.shown;
    const top = ceiling(Math.max(...days.map(({ total }) => total)));
    const ticks = [0, 1, 2, 3, 4].map((n) => (top / 4) * n);
    const left = 12 + 7 * Math.max(...ticks.map((tick) => this.shown.short(tick).length));
    this.frame = { left, step: (width - left) / days.length, scale: (HEIGHT - BELOW - ABOVE) / top };
    const svg = draw("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      width,
      height: HEIGHT,
      role: "group",
      "aria-label": label,
    });
    svg.append(...ticks.map((tick) => this.line(tick)), ...days.map((day, n) => this.day(day, n)));
    this.says = make("div", { class: "chart-says", hidden: true, "aria-hidden": "true" });
    this.host.replaceChildren(svg, this.says, this.legend());
    this.bars = [...svg.querySelectorAll(".chart-day")];
    this.bars.at(-1)?.setAttribute("tabindex", "0"); // the way in by keyboard; arrows go on
    svg.addEventListener("keydown", (event) => this.walk(event));
    svg.addEventListener("pointerleave", () => this.say(null));
  }

  y(figure) {
    return HEIGHT - BELOW - figure * this.frame.scale;
  }

  line(tick) {
    const y = this.y(tick);
    const group = draw("g", { class: "chart-line", "aria-hidden": "true" });
    const name = draw("text", { x: this.frame.left - 10, y: y + 4, "text-anchor": "end" });
    name.textContent = this.shown.short(tick);
    group.append(draw("line", { x1: this.frame.left, x2: this.width, y1: y, y2: y }), name);
    return group;
  }

  day(day, n) {
    const { left, step } = this.frame;
    const x = left + n * step;
    const gap = Math.min(6, step * 0.2);
    const group = draw("g", { class: "chart-day", role: "img", tabindex: "-1", "aria-label": this.spoken(day) });
    group.append(draw("rect", { class: "chart-place", x, y: 0, width: step, height: HEIGHT - BELOW }));
    let under = 0;
    day.figures.forEach((figure, part) => {
      if (figure === 0) return;
      const y = this.y(under + figure);
      const height = Math.max(1, this.y(under) - y);
      group.append(
        draw("rect", { class: `part-${part}`, x: x + gap / 2, y, width: Math.max(1, step - gap), height }),
      );
      under += figure;
    });
    const every = Math.ceil(NAME_WIDTH / step);
    if ((this.shown.days.length - 1 - n) % every === 0 && x + step / 2 > left + 16) {
      const isLast = n === this.shown.days.length - 1;
      const at = isLast && step < NAME_WIDTH ? { x: x + step, "text-anchor": "end" } : { x: x + step / 2, "text-anchor": "middle" };
      const name = draw("text", { ...at, y: HEIGHT - 7, "aria-hidden": "true" });
      name.textContent = day.name;
      group.append(name);
    }
    group.addEventListener("pointerenter", () => this.say(n));
    group.addEventListener("focus", () => this.say(n));
    group.addEventListener("blur", () => this.say(null));
    return group;
  }

  spoken(day) {
    const { series, format } = this.shown;
    const parts = day.figures
      .map((figure, part) => figure && `${series[part].name} ${format(figure)}`)
      .filter(Boolean);
    return [`${day.name}: ${format(day.total)}`, ...parts].join(", ");
  }

  /** What a day holds, beside its bar; null: nothing. */
  say(n) {
    this.says.hidden = n === null;
    if (n === null) return;
    const { days, series, format } = this.shown;
    const day = days[n];
    const rows = day.figures.map((figure, part) =>
      figure === 0
        ? null
        : make("div", {}, make("span", { class: `swatch part-${part}` }), make("span", { class: "grow" }, series[part].name), format(figure)),
    );
    this.says.replaceChildren(make("strong", {}, day.name, make("span", {}, format(day.total))), ...rows.filter(Boolean).reverse());
    const middle = this.frame.left + (n + 0.5) * this.frame.step;
    const isRight = middle > this.width / 2;
    this.says.style.left = isRight ? "auto" : `${middle + this.frame.step / 2 + 8}px`;
    this.says.style.right = isRight ? `${this.width - middle + this.frame.step / 2 + 8}px` : "auto";
  }

  walk(event) {
    const here = this.bars.indexOf(document.activeElement);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: this.bars.length - 1 }[event.key];
    if (here < 0 || !this.bars[to]) return;
    event.preventDefault();
    this.bars[here].setAttribute("tabindex", "-1");
    this.bars[to].setAttribute("tabindex", "0");
    this.bars[to].focus();
  }

  legend() {
    const { series } = this.shown;
    return make(
      "ul",
      { class: "chart-legend" },
      series.map(({ name }, part) => make("li", {}, make("span", { class: `swatch part-${part}` }), name)),
    );
  }
}

function draw(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const sum = (figures) => figures.reduce((all, figure) => all + figure, 0);

/** A round figure that is no less, and whose quarters are round. */
function ceiling(figure) {
  if (figure <= 20) return Math.max(4, Math.ceil(figure / 4) * 4);
  const size = 10 ** Math.floor(Math.log10(figure));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].map((step) => step * size).find((step) => step >= figure);
}
