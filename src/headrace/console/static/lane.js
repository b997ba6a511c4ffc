// One model's side of the dialogue: what it was told, and the answer that is coming.

import { streamChat } from "./api.js";
import { Meter } from "./meter.js";

// Painting costs more than reading the stream, and on a machine that also decodes it costs tokens:
// text moves twenty times a second, figures five times. The first token is shown at once.
const PAINT_MS = 48;
const FIGURES_MS = 200;

/** Puts what has come on the page now and then, however fast it comes. */
class Painter {
  constructor(paint) {
    this.paint = paint;
    this.clear();
    this.waits = 0; // the timer or the frame that will paint
    this.paintedAt = -Infinity;
  }

  clear() {
    this.fresh = { text: "", thought: "", calls: [] };
    this.isEmpty = true;
  }

  add({ text = "", thought = "", calls = [] }) {
    this.fresh.text += text;
    this.fresh.thought += thought;
    this.fresh.calls.push(...calls);
    this.isEmpty = false;
    if (this.waits) return;
    const pause = Math.max(0, this.paintedAt + PAINT_MS - performance.now());
    this.waits = setTimeout(() => requestAnimationFrame(() => this.flush()), pause);
  }

  flush() {
    clearTimeout(this.waits);
    this.waits = 0;
    if (this.isEmpty) return;
    const fresh = this.fresh;
    this.clear();
    this.paintedAt = performance.now();
    this.paint(fresh);
  }
}

export class Lane {
  constructor(speed) {
    this.speed = speed; // its SpeedView
    this.model = null; // as the API lists it, with its price
    this.messages = [];
    this.results = null; // gives the results of the last answer's calls, as messages
  }

  clear() {
    this.messages = [];
    this.results = null;
    this.speed.show(null, null);
  }

  /** What is said next: results of calls that wait for one, and a text, if any. */
  say(text) {
    if (this.results) this.messages.push(...this.results());
    this.results = null;
    if (text) this.messages.push({ role: "user", content: text });
  }

  /**
   * Stream an answer into `view`. Gives { meter, note, problem }; `painted` is called with whether
   * the reader was at the end before each change of the page.
   */
  async answer(body, view, key, signal, { isAtEnd, painted }) {
    const meter = new Meter();
    let figuresAt = -Infinity;
    const painter = new Painter((fresh) => {
      const atEnd = isAtEnd();
      view.append(fresh);
      if (painter.paintedAt - figuresAt >= FIGURES_MS) {
        figuresAt = painter.paintedAt;
        this.speed.show(meter, this.model.price);
      }
      painted(atEnd);
    });
    let finish = "";
    let problem = null;
    let note = "";
    try {
      for await (const parts of streamChat(body, key, signal)) {
        const said = parts.filter((part) => part.text || part.thought || part.calls);
        meter.came(said.length);
        said.forEach((part) => painter.add(part));
        for (const { usage, timeInfo, finish: reason } of parts) {
          if (usage) meter.settle(usage, timeInfo);
          finish = reason ?? finish;
        }
      }
      if (finish === "length") note = "cut at the length limit";
    } catch (error) {
      if (error.name === "AbortError") note = "stopped";
      else problem = error;
    }
    painter.flush();
    this.speed.show(meter, this.model.price);
    if (!view.isEmpty) this.messages.push(view.message);
    if (finish === "tool_calls") this.results = view.askForResults();
    // Calls that broke off have no end that a server would take.
    else if (view.calls.size) this.messages.pop();
    return { meter, note, problem };
  }
}
