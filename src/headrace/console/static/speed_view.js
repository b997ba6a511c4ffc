// The speed of one stream: a large figure, the curve under it, small numbers.

import { formatMs, formatSpeed } from "./meter.js";
import { amount, formatMicros, isFree } from "./price.js";

export class SpeedView {
  constructor(section) {
    this.section = section;
    this.figures = Object.fromEntries(
      [...section.querySelectorAll("[data-figure]")].map((node) => [node.dataset.figure, node]),
    );
    this.line = section.querySelector(".pace-line");
    this.area = section.querySelector(".pace-area");
    this.name = section.querySelector(".lane-name");
  }

  /** One more of its kind, beside it. */
  another() {
    const section = this.section.cloneNode(true);
    for (const node of section.querySelectorAll("[id]")) node.removeAttribute("id");
    this.section.after(section);
    return new SpeedView(section);
  }

  /** Whose it is; "": there is only one. */
  title(name) {
    this.name.textContent = name;
    this.name.hidden = !name;
  }

  show(meter, price) {
    const { speed, ttft, tokens, price: cost, engine } = this.figures;
    const rate = meter?.speed ?? null;
    setText(speed, rate === null ? "0" : formatSpeed(rate));
    speed.classList.toggle("idle", rate === null);
    setText(ttft, formatMs(meter?.ttftMs ?? null));
    setText(tokens, meter ? meter.tokens.toLocaleString("en") : "–");
    setText(cost, meter ? costSoFar(meter, price) : "–");
    setText(engine, formatSpeed(meter?.engineSpeed ?? null));
    this.showPace(meter?.pace ?? []);
  }

  showPace(pace) {
    const points = pace.map((height, n) => {
      const x = (n / (pace.length - 1)) * 240;
      return `${x.toFixed(1)} ${(38 - height * 34).toFixed(1)}`;
    });
    const line = points.length > 1 ? `M${points.join("L")}` : "";
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", line && `${line}L240 40L0 40Z`);
  }
}

/** Of the tokens so far; with the prompt's as soon as the server has counted them. */
function costSoFar(meter, price) {
  if (isFree(price)) return "free";
  const usage = meter.usage ?? { prompt_tokens: 0, completion_tokens: meter.tokens };
  return formatMicros(amount(price, usage));
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
