// What the page shows. Text of models and of people goes in as text, never as markup.

import { formatMs, formatSpeed } from "./meter.js";

export const byId = (id) => document.getElementById(id);

/** A new element with text, if any. */
export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** One answer on the page, from the first wait to its last number. */
export class AnswerView {
  constructor(parent) {
    this.turn = element("div", "turn assistant streaming waiting");
    this.text = element("div", "text");
    this.node = document.createTextNode("");
    this.text.append(this.node);
    this.turn.append(this.text);
    parent.append(this.turn);
  }

  append(text) {
    this.turn.classList.remove("waiting");
    this.node.appendData(text);
  }

  /** The end, whatever it was: numbers, and a note such as "stopped". */
  finish(meter, note) {
    this.turn.classList.remove("streaming", "waiting");
    const stats = element("div", "stats");
    if (meter.tokens) {
      stats.append(
        element("strong", "", `${formatSpeed(meter.speed)} tokens/s`),
        element("span", "", `first token ${formatMs(meter.ttftMs)}`),
        element("span", "", plural(meter.tokens, "token")),
      );
    }
    if (note) stats.append(element("span", "", note));
    if (this.node.length) stats.append(copyButton(this.node.data));
    this.turn.append(stats);
  }

  problem(message, retry) {
    this.turn.append(element("div", "problem", message));
    this.turn.classList.remove("streaming", "waiting");
    const stats = element("div", "stats");
    const again = element("button", "", "Try again");
    again.type = "button";
    again.addEventListener("click", retry);
    stats.append(again);
    this.turn.append(stats);
  }
}

function copyButton(text) {
  const button = element("button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text)) ? "Copied" : "Not allowed";
  });
  return button;
}

/** Put text on the clipboard; false where the browser does not let us. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** The large figure, the curve under it, the small numbers. */
export function showSpeed(meter) {
  const speed = meter?.speed ?? null;
  byId("speed").textContent = speed === null ? "0" : formatSpeed(speed);
  byId("speed").classList.toggle("idle", speed === null);
  byId("ttft").textContent = formatMs(meter?.ttftMs ?? null);
  byId("tokens").textContent = meter ? meter.tokens.toLocaleString("en") : "–";
  byId("engine").textContent = formatSpeed(meter?.engineSpeed ?? null);
  showPace(meter?.pace ?? []);
}

function showPace(pace) {
  const points = pace.map((height, n) => {
    const x = pace.length > 1 ? (n / (pace.length - 1)) * 240 : 0;
    return `${x.toFixed(1)} ${(38 - height * 34).toFixed(1)}`;
  });
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  byId("pace-line").setAttribute("d", line);
  byId("pace-area").setAttribute("d", line && `${line}L240 40L0 40Z`);
}

/** What is known of a model, in the panel and on the welcome page. */
export function showModel(model) {
  const facts = [
    ["Parameters", short(model.parameters)],
    ["Context", `${model.context_length.toLocaleString("en")} tokens`],
    ["Backend", model.backend],
    ["Base URL", `${location.origin}/v1`],
  ];
  byId("facts").replaceChildren(
    ...facts.map(([name, value]) => {
      const row = element("div");
      row.append(element("dt", "", name), element("dd", "", value));
      return row;
    }),
  );
  byId("welcome-model").textContent = model.id;
  byId("welcome-facts").textContent =
    `${short(model.parameters)} parameters at full precision, ` +
    `${model.context_length.toLocaleString("en")} tokens of context, on the ${model.backend} backend.`;
}

export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

function short(count) {
  const steps = [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ];
  const [size, letter] = steps.find(([least]) => count >= least) ?? [1, ""];
  const value = count / size;
  return `${value.toFixed(value < 10 && letter ? 1 : 0)} ${letter}`.trim();
}
