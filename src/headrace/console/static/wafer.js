// One token's way across the mesh: where the clock stands, and what the controls do to it.

import { waferReplay } from "./api.js";
import { byId, element } from "./view.js";
import { MeshView } from "./wafer_mesh.js";

const KEY_NAME = "headrace-key";
const CAUSES = ["relays", "hops", "words", "issue", "arithmetic"];
const SAYS = {
  vectors: "Every core multiplies the tile it holds: no weight moves.",
  reduction: "Partial sums meet: from core to core towards the middle, and the sum back to all.",
  multicast: "What one core of each line knows goes to all of it.",
  passage: "The vector leaves for the next region.",
};
const TITLES = { vectors: "Multiply", reduction: "Sum", multicast: "Spread", passage: "Go on" };
const count = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

const mesh = new MeshView(byId("canvas"));
const state = {
  key: sessionStorage.getItem(KEY_NAME) ?? "",
  replay: null,
  starts: [], // cycle at which each step begins
  total: 0,
  cycle: 0,
  playing: false,
  shownAt: 0, // time of the last frame, ms
  asked: 0, // the last of the questions wins
};

// The replay

async function load() {
  const number = ++state.asked;
  let found;
  try {
    found = await waferReplay(state.key, byId("model").value, byId("mesh").value);
  } catch (error) {
    if (number === state.asked) showProblem(error);
    return;
  }
  if (number !== state.asked) return;
  const select = byId("model");
  select.replaceChildren(...found.models.map((id) => new Option(id, id)));
  select.value = found.model;
  select.disabled = false;
  byId("problem").textContent = "";
  byId("key-form").hidden = true;
  byId("stage").hidden = false;
  take(found.replay);
}

function take(replay) {
  state.replay = replay;
  state.starts = [];
  state.total = 0;
  for (const step of replay.steps) {
    state.starts.push(state.total);
    state.total += totalOf(step.cycles);
  }
  state.cycle = 0;
  byId("rate").textContent = count.format(replay.tok_s);
  const reading = replay.cycles.arithmetic;
  byId("moral").textContent =
    `Reading every weight takes ${count.format(reading)} of ${count.format(state.total)} cycles: ` +
    `were memory the limit, this token would come ${(state.total / reading).toFixed(0)} times as ` +
    "fast. The rest is sums that cross the mesh, and starting short instructions.";
  byId("assumed").replaceChildren(
    ...replay.assumed.map((fact) =>
      element(
        "li",
        "",
        `${fact.name}: ${count.format(fact.value)} ${fact.unit} (${fact.certainty}: ${fact.source})`,
      ),
    ),
  );
  byId("bars").replaceChildren(...CAUSES.map(bar));
  mesh.show(replay);
  play(!window.matchMedia("(prefers-reduced-motion: reduce)").matches);
  show();
}

function bar(cause) {
  const row = element("div", `bar-row ${cause}`);
  const meter = element("meter");
  meter.setAttribute("aria-label", cause);
  row.append(element("span", "", cause), meter, element("span", "", "0"));
  return row;
}

const totalOf = (cycles) => CAUSES.reduce((sum, cause) => sum + cycles[cause], 0);

function showProblem(error) {
  const asksForKey = error.status === 401;
  byId("key-form").hidden = !asksForKey;
  byId("problem").textContent = asksForKey && !state.key ? "" : error.message;
  byId("stage").hidden = asksForKey || !state.replay;
  if (asksForKey) byId("key").focus();
}

// Time

/** The step that runs at the clock's cycle. */
function current() {
  let at = state.starts.findLastIndex((start) => start <= state.cycle);
  return Math.max(0, at);
}

function show() {
  const { replay } = state;
  if (!replay) return;
  const at = current();
  const step = replay.steps[at];
  const length = totalOf(step.cycles);
  const part = length ? Math.min(1, (state.cycle - state.starts[at]) / length) : 1;
  const before = replay.steps[(at || replay.steps.length) - 1];
  mesh.draw(step, part, replay.regions[before.region].rectangle);
  byId("now-name").textContent = `${TITLES[step.kind]}: ${step.name}`;
  byId("now-place").textContent = `${step.stage}, step ${at + 1} of ${replay.steps.length}`;
  byId("now-says").textContent =
    `${SAYS[step.kind]} ${step.sizes}; ${count.format(length)} cycles.`;
  byId("cycle").textContent = count.format(state.cycle);
  byId("time").textContent = `${((state.cycle / replay.clock_hz) * 1e6).toFixed(2)} µs`;
  byId("at").value = String((1000 * state.cycle) / state.total);
  for (const row of byId("bars").children) {
    const cause = row.firstChild.textContent;
    let spent = step.cycles[cause] * part;
    for (let i = 0; i < at; i += 1) spent += replay.steps[i].cycles[cause];
    row.children[1].value = spent / state.total;
    const share = state.cycle ? Math.round((100 * spent) / state.cycle) : 0;
    row.lastChild.textContent = `${count.format(spent)} · ${share} %`;
  }
}

/** Cycles of the machine in a second of ours: 100 to 100,000. */
const pace = () => 10 ** (2 + (3 * Number(byId("speed").value)) / 100);

function frame(now) {
  if (!state.playing) return;
  // A tab that slept does not jump.
  const passed = Math.min(100, now - state.shownAt) / 1000;
  state.shownAt = now;
  moveTo(state.cycle + passed * pace());
  if (state.cycle >= state.total) play(false);
  if (state.playing) requestAnimationFrame(frame);
}

function play(on) {
  if (on && state.cycle >= state.total) state.cycle = 0;
  const starts = on && !state.playing;
  state.playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
  if (!starts) return;
  state.shownAt = performance.now();
  requestAnimationFrame(frame);
}

function moveTo(cycle) {
  state.cycle = Math.min(state.total, Math.max(0, cycle));
  show();
}

function stepBy(change) {
  if (!state.replay) return;
  play(false);
  const at = current();
  const isInside = state.cycle > state.starts[at];
  const target = change < 0 && isInside ? at : at + change;
  moveTo(target < state.starts.length ? (state.starts[Math.max(0, target)] ?? 0) : state.total);
}

// Controls

byId("play").addEventListener("click", () => play(!state.playing));
byId("back").addEventListener("click", () => stepBy(-1));
byId("on").addEventListener("click", () => stepBy(1));
byId("at").addEventListener("input", (event) => {
  play(false);
  moveTo((Number(event.target.value) / 1000) * state.total);
});
byId("mesh").addEventListener("change", load);
byId("model").addEventListener("change", load);
byId("speed").addEventListener("input", showPace);
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = byId("key").value.trim();
  sessionStorage.setItem(KEY_NAME, state.key);
  load();
});
document.addEventListener("keydown", (event) => {
  if (/^(INPUT|SELECT|BUTTON|SUMMARY)$/.test(event.target.tagName)) return;
  if (event.key === " ") play(!state.playing);
  else if (event.key === "ArrowLeft") stepBy(-1);
  else if (event.key === "ArrowRight") stepBy(1);
  else return;
  event.preventDefault();
});
new ResizeObserver(() => {
  mesh.resize();
  show();
}).observe(byId("canvas"));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  mesh.resize();
  show();
});

function showPace() {
  byId("speed-shown").textContent = `${count.format(pace())} cycles a second`;
}

showPace();
load();
