// Use and its cost: by day, by model, by key.

import { DayChart } from "./chart.js";
import { make } from "./dom.js";
import { count, money, short, utcDay } from "./figures.js";
import { days, ifAllowed, keysOf, namer, projects } from "./organisation.js";
import { requireSession } from "./session.js";
import { table } from "./table.js";
import { byId } from "./view.js";

const DAY_S = 86_400;
const MEASURES = {
  cost: { name: "Cost", of: (use) => use.micros, format: money, short: (micros) => axis(micros) },
  tokens: { name: "Tokens", of: (use) => use.input + use.output, format: count, short },
  requests: { name: "Requests", of: (use) => use.requests, format: count, short },
};
const NONE = { micros: 0, input: 0, output: 0, cached: 0, requests: 0, interrupted: 0 };

const chart = new DayChart(byId("chart"));
const state = { days: [], nameOfKey: (id) => id, asked: 0 };

/** A figure of the axis in dollars, with as many digits as it takes. */
function axis(micros) {
  const dollars = micros / 1e6;
  if (dollars >= 1000) return `$${short(dollars)}`;
  return `$${Number(dollars.toPrecision(3))}`;
}

function add(one, other) {
  return Object.fromEntries(Object.keys(NONE).map((name) => [name, one[name] + other[name]]));
}

/** Days with lines of one key and model each: tokens from one list, money from the other. */
function joined(usage, costs) {
  return usage.map((day, n) => {
    const lines = new Map();
    const put = (key, model, part) => {
      const id = JSON.stringify([key, model]);
      lines.set(id, { ...(lines.get(id) ?? { ...NONE, key, model }), ...part });
    };
    for (const line of day.results) {
      put(line.api_key_id, line.model, {
        input: line.input_tokens,
        output: line.output_tokens,
        cached: line.input_cached_tokens,
        requests: line.num_model_requests,
        interrupted: line.num_interrupted_requests,
      });
    }
    for (const line of costs[n]?.results ?? []) {
      put(line.api_key_id, line.line_item, { micros: line.amount_micros });
    }
    return { start: day.start_time, lines: [...lines.values()] };
  });
}

async function load() {
  const number = ++state.asked;
  const range = Number(byId("range").value);
  const today = Math.floor(Date.now() / 1e3 / DAY_S) * DAY_S;
  const start = today - (range - 1) * DAY_S;
  byId("export").href = `/v1/organization/usage/records?format=csv&start_time=${start}`;
  const [usage, costs] = await Promise.all([
    days("/usage/completions", start, ["api_key_id", "model"]),
    days("/costs", start, ["api_key_id", "line_item"]),
  ]);
  if (number !== state.asked) return;
  state.days = joined(usage, costs);
  showTotals();
  showDays();
  showSums("models", "Model", "model", (id) => id);
  showSums("keys", "Key", "key", state.nameOfKey);
}

const lines = () => state.days.flatMap((day) => day.lines);
const total = (found) => found.reduce(add, NONE);

function showTotals() {
  const all = total(lines());
  const cached = all.input ? Math.round((all.cached / all.input) * 100) : 0;
  const tiles = [
    ["Cost", money(all.micros), ""],
    ["Requests", count(all.requests), all.interrupted ? `${count(all.interrupted)} broke off` : ""],
    ["Tokens read", count(all.input), all.input ? `${cached} % from the cache` : ""],
    ["Tokens written", count(all.output), ""],
  ];
  byId("totals").replaceChildren(
    ...tiles.map(([name, figure, note]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, figure), note ? make("dd", { class: "note" }, note) : null),
    ),
  );
}

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

/** The sums of what `of` names, the largest first by `measure`. */
function sums(found, of, measure) {
  const byName = new Map();
  for (const line of found) byName.set(line[of], add(byName.get(line[of]) ?? NONE, line));
  return [...byName].sort(([, a], [, b]) => measure.of(b) - measure.of(a));
}

function showDays() {
  const measure = MEASURES[chosen("measure")];
  const of = chosen("group");
  byId("unused").hidden = lines().length > 0;
  byId("used").hidden = lines().length === 0;
  const nameOf = of === "key" ? state.nameOfKey : (id) => id;
  const series = sums(lines(), of, measure).map(([id]) => ({ id, name: nameOf(id) }));
  const shown = state.days.map((day) => ({
    name: utcDay(day.start),
    parts: new Map(sums(day.lines, of, measure).map(([id, use]) => [id, measure.of(use)])),
  }));
  chart.show({ label: `${measure.name} by day`, days: shown, series, format: measure.format, short: measure.short });
  const used = [...state.days].reverse().filter((day) => day.lines.length > 0);
  byId("days").replaceChildren(
    table(
      "Days",
      [{ name: "Day", main: true, cell: (day) => utcDay(day.start) }, ...figures((day) => total(day.lines))],
      used,
      "No use in these days.",
    ),
  );
}

function figures(of) {
  const column = (name, text) => ({ name, figures: true, cell: (row) => text(of(row)) });
  return [
    column("Requests", (use) => count(use.requests)),
    column("Tokens read", (use) => count(use.input)),
    column("of them cached", (use) => count(use.cached)),
    column("Tokens written", (use) => count(use.output)),
    column("Cost", (use) => money(use.micros)),
  ];
}

function showSums(id, name, of, nameOf) {
  const found = sums(lines(), of, MEASURES[chosen("measure")]);
  byId(id).replaceChildren(
    table(
      name,
      [{ name, main: true, cell: ([key]) => nameOf(key) }, ...figures(([, use]) => use)],
      found,
      "No use in these days.",
    ),
  );
}

async function show() {
  await requireSession();
  const found = await ifAllowed(projects().then(keysOf), []);
  state.nameOfKey = namer(found);
  byId("range").addEventListener("change", () => load().catch(fail));
  for (const name of ["measure", "group"]) byId(name).addEventListener("change", showDays);
  await load();
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
