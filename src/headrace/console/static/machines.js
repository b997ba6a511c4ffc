// One prompt on several machines: the streams, which tokens are the same, where the time went.

import { ApiError, call } from "./api.js";
import { apiKey, behindKey } from "./door.js";
import { make } from "./dom.js";
import { formatSpeed } from "./meter.js";
import { serverState } from "./session.js";
import { byId, plural } from "./view.js";

const TITLES = { cpu: "CPU", wafer: "Wafer", cuda: "CUDA", endpoint: "Second endpoint" };
const SLOWER = 1_000;

let shown = []; // the machines on the page
let replay = 0; // counts replays: a new one ends the one before

/** A time in microseconds, with as many digits as say something. */
function micros(seconds) {
  const us = 1e6 * seconds;
  const digits = us < 10 ? 2 : us < 100 ? 1 : 0;
  return `${us.toLocaleString("en", { maximumFractionDigits: digits })} µs`;
}

class MachineView {
  constructor(machine) {
    this.machine = machine;
    this.figure = make("output", { class: "idle" }, "–");
    this.rate = make("span", {}, machine.is_simulated ? "a token, simulated" : "a token");
    this.said = make("div", { class: "said" });
    this.note = make("p", { class: "hint" });
    this.phases = make("dl", { class: "phases" });
    this.clear();
    this.element = make(
      "section",
      { class: machine.is_here ? "machine" : "machine absent" },
      make("h2", {}, TITLES[machine.name]),
      make("p", { class: "hint" }, machine.is_here ? machine.says : `Not here. ${machine.says}`),
      machine.is_here && make("p", { class: "figure" }, this.figure, this.rate),
      machine.is_here && this.said,
      machine.is_here && this.note,
      machine.is_here && this.phases,
    );
  }

  clear() {
    this.tokens = []; // { id, text, span }
    this.ending = null;
    this.figure.textContent = "–";
    this.figure.classList.add("idle");
    this.said.replaceChildren();
    this.phases.replaceChildren();
    this.note.textContent = "";
  }

  add(piece) {
    piece.texts.forEach((text, n) => {
      const span = make("span", {}, text);
      this.said.append(span);
      this.tokens.push({ id: piece.ids[n] ?? null, text, span });
    });
  }

  end(ending) {
    this.ending = ending;
    const { token_s: token, prompt_s: prompt, phases } = ending;
    this.figure.textContent = token === null ? "–" : micros(token);
    this.figure.classList.toggle("idle", token === null);
    const facts = [
      token !== null && `${formatSpeed(1 / token)} tokens/s`,
      prompt !== null && `first token after ${micros(prompt)}`,
      this.machine.name === "endpoint" && "it tells no phases, and no ids: compared by text",
      this.machine.name !== "endpoint" && !phases.length && "this machine tells no phases",
    ].filter(Boolean);
    this.note.textContent = facts.join("; ");
    const most = Math.max(...phases.map(([, seconds]) => seconds));
    this.phases.replaceChildren(
      ...phases.map(([name, seconds]) =>
        make(
          "div",
          {},
          make("dt", {}, name),
          make("dd", {}, micros(seconds)),
          make("meter", { value: String(seconds / most), "aria-label": name }),
        ),
      ),
    );
  }

  fail(message) {
    this.note.textContent = "";
    this.said.replaceChildren(make("p", { class: "problem" }, message));
  }

  /** Mark what is the same as on the first machine; gives how many tokens are not. */
  compare(first) {
    let at = 0;
    let others = 0;
    const text = first.tokens.map((token) => token.text).join("");
    this.tokens.forEach((token, n) => {
      const same =
        token.id === null
          ? text.startsWith(token.text, at)
          : token.id === first.tokens[n]?.id;
      at += token.text.length;
      others += same ? 0 : 1;
      token.span.className = same ? "same" : "other";
    });
    return others + Math.max(0, this.tokens[0]?.id === null ? 0 : first.tokens.length - this.tokens.length);
  }
}

async function headers() {
  const { session } = await serverState();
  if (session) return { "x-csrf-token": session.csrf_token };
  return apiKey() ? { authorization: `Bearer ${apiKey()}` } : {};
}

async function load() {
  const asked = new URLSearchParams(byId("model").value && { model: byId("model").value });
  const response = await call(`/console/machines/list.json?${asked}`, { headers: await headers() });
  const found = await response.json();
  byId("model").replaceChildren(...found.models.map((id) => new Option(id, id)));
  byId("model").value = found.model;
  shown = found.machines.map((machine) => new MachineView(machine));
  byId("machines").replaceChildren(...shown.map((view) => view.element));
  byId("ask").hidden = false;
  byId("slow").hidden = true;
  byId("verdict").textContent = "";
}

/** An answer of one machine, line by line. */
async function runOn(view, body) {
  view.note.textContent = view.machine.serves ? "Running" : "Starting, if it was not; then running";
  const response = await call("/console/machines/run", {
    method: "POST",
    headers: { ...(await headers()), "content-type": "application/json" },
    body: JSON.stringify({ ...body, machine: view.machine.name }),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((text) => JSON.parse(text))) {
      if (line.error) throw new ApiError(line.error.message, 0);
      if (line.piece) view.add(line.piece);
      if (line.ending) view.end(line.ending);
    }
  }
  if (!view.ending) throw new ApiError("The answer broke off.", 0);
}

/** One after the other: machines that ran at once would take each other's processors. */
async function run() {
  replay += 1;
  const body = {
    model: byId("model").value,
    prompt: byId("prompt").value,
    max_tokens: Number(byId("tokens").value),
  };
  const here = shown.filter((view) => view.machine.is_here);
  const order = [...here].sort((a, b) => b.machine.serves - a.machine.serves);
  byId("verdict").textContent = "";
  byId("slow").hidden = true;
  for (const view of here) view.clear();
  for (const view of order) {
    try {
      await runOn(view, body);
    } catch (error) {
      view.fail(error.message);
    }
  }
  conclude(order.filter((view) => view.ending));
}

function conclude(done) {
  if (!done.length) return;
  const [first] = done;
  const differences = done.map((view) => view.compare(first));
  const names = done.map((view) => TITLES[view.machine.name]);
  const count = plural(first.tokens.length, "token");
  const odd = names.filter((_, n) => differences[n] > 0);
  byId("verdict").textContent =
    done.length === 1
      ? `${count} on one machine; the others are not here.`
      : odd.length
        ? `Not all tokens are those of ${names[0]}: see ${odd.join(" and ")}.`
        : `The same ${count} on ${names.join(", ")}.`;
  byId("slow").hidden = !done.some((view) => view.ending.token_s);
}

/** Every stream again at its own pace, slowed down by the same factor. */
function slowMotion() {
  const mine = ++replay;
  const began = performance.now();
  const done = shown.filter((view) => view.ending?.token_s);
  const frame = (now) => {
    if (mine !== replay) return;
    let left = false;
    for (const view of done) {
      const reached = (now - began) / 1e3 / (view.ending.token_s * SLOWER);
      view.tokens.forEach(({ span }, n) => {
        span.hidden = n > reached;
        left ||= span.hidden;
      });
    }
    if (left) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

byId("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("run").disabled = true;
  await run();
  byId("run").disabled = false;
});
byId("slow").addEventListener("click", slowMotion);
byId("model").addEventListener("change", () => behindKey(byId("door"), load));

behindKey(byId("door"), load);
