// One answer on the page: what was thought, what was said, which tools were called, what it took.

import { formatMs, formatSpeed } from "./meter.js";
import { amount, formatMicros, isFree } from "./price.js";
import { copyButton, element, plural } from "./view.js";

const PART_CHARS = 2_000; // a part that is longer ends with its line: layout is done part by part

/** Text that grows without an end: in parts, so that the browser lays out the last one only. */
class GrowingText {
  constructor(parent, className) {
    this.element = element("div", className);
    parent.append(this.element);
    this.length = 0;
    this.begin();
  }

  begin() {
    this.node = document.createTextNode("");
    const part = element("div");
    part.append(this.node);
    this.element.append(part);
  }

  append(text) {
    this.length += text.length;
    let rest = text;
    while (this.node.length + rest.length > PART_CHARS) {
      const end = rest.indexOf("\n", Math.max(0, PART_CHARS - this.node.length)) + 1;
      if (!end) break;
      this.node.appendData(rest.slice(0, end));
      rest = rest.slice(end);
      this.begin();
    }
    this.node.appendData(rest);
  }

  get text() {
    return this.element.textContent;
  }
}

export class AnswerView {
  /** `title`: the model's name, where several answer. */
  constructor(parent, title = "") {
    this.turn = element("div", "turn assistant streaming waiting");
    if (title) this.turn.append(element("p", "answerer", title));
    this.body = element("div", "answer-body");
    this.turn.append(this.body);
    parent.append(this.turn);
    this.thought = null;
    this.said = new GrowingText(this.body, "text");
    this.calls = new Map(); // by index: { name, arguments, result }
  }

  /** What came since the last frame. */
  append({ thought, text, calls }) {
    this.turn.classList.remove("waiting");
    if (thought) this.think(thought);
    if (text) {
      // Reading goes on with the answer.
      if (this.thought && !this.said.length) this.thought.details.open = false;
      this.said.append(text);
    }
    for (const call of calls) this.call(call);
  }

  think(text) {
    if (!this.thought) {
      const details = element("details", "thought");
      details.open = true;
      details.append(element("summary", "", "Reasoning"));
      this.thought = { details, grown: new GrowingText(details, "thought-text") };
      this.said.element.before(details);
    }
    this.thought.grown.append(text);
  }

  call(delta) {
    let shown = this.calls.get(delta.index);
    if (!shown) {
      const card = element("div", "tool-call");
      shown = {
        id: delta.id,
        card,
        name: element("strong"),
        arguments: element("pre", "call-arguments"),
        result: null,
      };
      const head = element("p", "tool-name", "Calls ");
      head.append(shown.name);
      card.append(head, shown.arguments);
      this.body.append(card);
      this.calls.set(delta.index, shown);
    }
    shown.name.textContent += delta.function?.name ?? "";
    shown.arguments.textContent += delta.function?.arguments ?? "";
  }

  /** The answer as a message of the dialogue. */
  get message() {
    const calls = [...this.calls.values()].map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name.textContent, arguments: call.arguments.textContent },
    }));
    return {
      role: "assistant",
      content: calls.length && !this.said.length ? null : this.said.text,
      ...(this.thought && { reasoning: this.thought.grown.text }),
      ...(calls.length && { tool_calls: calls }),
    };
  }

  get isEmpty() {
    return !this.said.length && !this.calls.size;
  }

  /** Places for the results of the calls; what was written there, as messages. */
  askForResults() {
    for (const call of this.calls.values()) {
      const label = element("label", "stack", "Its result, sent with the next message");
      call.result = element("textarea");
      call.result.rows = 1;
      label.append(call.result);
      call.card.append(label);
    }
    return () =>
      [...this.calls.values()].map((call) => {
        call.result.readOnly = true;
        return { role: "tool", tool_call_id: call.id, content: call.result.value };
      });
  }

  /** The end, whatever it was: numbers, and a note such as "stopped". */
  finish(meter, price, note) {
    this.turn.classList.remove("streaming", "waiting");
    const stats = element("div", "stats");
    if (meter.tokens) {
      stats.append(
        element("strong", "", `${formatSpeed(meter.speed)} tokens/s`),
        element("span", "", `first token ${formatMs(meter.ttftMs)}`),
        element("span", "", plural(meter.tokens, "token")),
      );
    }
    if (meter.usage) stats.append(costOf(meter.usage, price));
    if (note) stats.append(element("span", "", note));
    if (this.said.length) stats.append(copyButton(this.said.text));
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

function costOf(usage, price) {
  const cost = element(
    "span",
    "cost",
    isFree(price) ? "no charge" : formatMicros(amount(price, usage)),
  );
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const thought = usage.completion_tokens_details?.reasoning_tokens ?? 0;
  cost.title =
    `${plural(usage.prompt_tokens, "token")} of prompt, ${cached} of them cached; ` +
    `${plural(usage.completion_tokens, "token")} of answer, ${thought} of them reasoning`;
  return cost;
}
