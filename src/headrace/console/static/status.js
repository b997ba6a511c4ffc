// How the server does now, and how well it has served: read again every two seconds.

import { serviceStatus } from "./api.js";
import { apiKey, behindKey } from "./door.js";
import { make } from "./dom.js";
import { formatMs, formatSpeed } from "./meter.js";
import { table } from "./table.js";
import { byId, plural } from "./view.js";

const AGAIN_MS = 2_000;
const SVG = "http://www.w3.org/2000/svg";
const whole = (count) => count.toLocaleString("en");
const wait = (seconds) => (seconds === null ? "–" : formatMs(1e3 * seconds));

/** A share of one as a percentage that does not round a failure away. */
function percent(share) {
  if (share === null) return "–";
  const shown = Math.floor(1e5 * share) / 1e3;
  return `${shown.toLocaleString("en", { maximumFractionDigits: 3 })} %`;
}

const MONTH = [
  { name: "Model", main: true, cell: ({ id }) => id },
  { name: "Answered", figures: true, cell: ({ last_30_days: m }) => whole(m.answered) },
  { name: "Failed here", figures: true, cell: ({ last_30_days: m }) => whole(m.failed) },
  { name: "First token, P50", figures: true, cell: ({ last_30_days: m }) => wait(m.time_to_first_token_s.p50) },
  { name: "P90", figures: true, cell: ({ last_30_days: m }) => wait(m.time_to_first_token_s.p90) },
  { name: "P99", figures: true, cell: ({ last_30_days: m }) => wait(m.time_to_first_token_s.p99) },
  { name: "Whole answer, P99", figures: true, cell: ({ last_30_days: m }) => wait(m.request_s.p99) },
  { name: "Engine restarts", figures: true, cell: ({ last_30_days: m }) => whole(m.engine_restarts) },
];

function figure(name, value, about) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value, make("small", {}, about)));
}

function promises(status) {
  const sums = status.models.map((model) => model.last_30_days);
  const answered = sums.reduce((sum, month) => sum + month.answered, 0);
  const failed = sums.reduce((sum, month) => sum + month.failed, status.refused);
  const asked = answered + failed;
  const worst = Math.max(...sums.map((month) => month.time_to_first_token_s.p99 ?? 0));
  return [
    figure("Availability", percent(status.availability), "of the time that was watched"),
    figure("Requests answered", percent(asked ? answered / asked : null), `${whole(failed)} failed of ${whole(asked)}`),
    figure("First token, P99", worst ? formatMs(1e3 * worst) : "–", sums.length > 1 ? "of the slowest model" : "of all answers"),
    figure("Engine restarts", whole(sums.reduce((sum, month) => sum + month.engine_restarts, 0)), "after a failure"),
  ];
}

function spark(speeds, name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 240 40");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "pace");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Tokens a second of ${name} over the last minute`);
  const top = Math.max(...speeds, 1);
  const at = speeds.map((speed, n) => `${((n / 29) * 240).toFixed(1)} ${(38 - (speed / top) * 34).toFixed(1)}`);
  for (const [kind, d] of [
    ["pace-area", at.length > 1 ? `M0 40L${at.join("L")}V40Z` : ""],
    ["pace-line", at.length > 1 ? `M${at.join("L")}` : ""],
  ]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

function now(model) {
  const { last_hours: hours } = model;
  const rows = [
    ["Running", plural(model.running, "stream")],
    ["Waiting", whole(model.waiting)],
    ["Cache in use", `${Math.round(100 * model.cache_used)} %`],
    ["First token, P50", wait(hours.time_to_first_token_s.p50)],
    ["P90", wait(hours.time_to_first_token_s.p90)],
    ["P99", wait(hours.time_to_first_token_s.p99)],
  ];
  return make(
    "section",
    { class: "now" },
    make("h2", {}, model.id, make("small", {}, ` on ${model.backend}`)),
    make(
      "div",
      { class: "now-figures" },
      make(
        "div",
        { class: "now-speed" },
        make("p", { class: "figure" }, make("output", {}, formatSpeed(model.tokens_per_second)), make("span", {}, "tokens/s")),
        spark(model.last_minute, model.id),
        make("p", { class: "hint" }, "the last minute"),
      ),
      make("dl", { class: "numbers" }, rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
    ),
    make("p", { class: "hint" }, "First tokens: of this hour and the one before."),
  );
}

function show(status) {
  byId("page").hidden = false;
  byId("light").classList.toggle("bad", !status.ready);
  const state = status.ready ? "Requests are taken." : "Requests are not taken now.";
  if (byId("state").textContent !== state) byId("state").textContent = state;
  byId("promises").replaceChildren(...promises(status));
  byId("models").replaceChildren(...status.models.map(now));
  const since = status.since === null ? null : new Date(1e3 * status.since);
  byId("measured").textContent =
    (since ? `Watched since ${since.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}. ` : "") +
    "Time in which the server did not run counts as time it was not there. Percentiles are within 5 %.";
  byId("month").replaceChildren(table("Last 30 days", MONTH, status.models, "No model is served to you."));
}

async function load() {
  show(await serviceStatus(apiKey()));
}

async function again() {
  if (document.visibilityState === "visible" && !byId("door").querySelector("form")) {
    const went = await behindKey(byId("door"), load);
    if (!went && !byId("page").hidden) {
      byId("light").classList.add("bad");
      byId("state").textContent = "The server does not answer.";
    }
  }
  setTimeout(again, AGAIN_MS);
}

again();
