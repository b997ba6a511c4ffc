// The page's state, and what each control does to it.

import { ApiError, listModels, streamChat } from "./api.js";
import { Meter } from "./meter.js";
import { asCurl, asPython } from "./snippets.js";
import { AnswerView, byId, copy, element, plural, showModel, showSpeed } from "./view.js";

const KEY_NAME = "headrace-key";
const STARTERS = [
  "What is a headrace?",
  "Tell me a short story about a river.",
  "What is a KV cache?",
];

const state = {
  key: sessionStorage.getItem(KEY_NAME) ?? "",
  models: [],
  messages: [],
  running: null, // AbortController of the answer that is coming
  temperatureSet: false,
};

const conversation = byId("conversation");
const prompt = byId("prompt");
const scroller = document.querySelector("main");

// Models and key

async function loadModels() {
  try {
    state.models = await listModels(state.key);
  } catch (error) {
    showDoor(error);
    return;
  }
  const select = byId("model");
  select.replaceChildren(...state.models.map((model) => new Option(model.id, model.id)));
  select.disabled = false;
  byId("key-form").hidden = true;
  byId("welcome").hidden = false;
  byId("forget-key").hidden = !state.key;
  showModel(currentModel());
  setReady(true);
  prompt.focus({ preventScroll: true });
}

function currentModel() {
  return state.models.find((model) => model.id === byId("model").value) ?? state.models[0];
}

/** No models: ask for a key, or say why not. */
function showDoor(error) {
  setReady(false);
  if (error.status === 401) {
    byId("welcome").hidden = true;
    byId("key-form").hidden = false;
    byId("key-problem").textContent = state.key ? error.message : "";
    byId("key").focus();
    return;
  }
  byId("welcome-facts").textContent = error.message;
}

function setReady(ready) {
  prompt.disabled = !ready;
  byId("send").disabled = !ready;
}

function rememberKey(key) {
  state.key = key;
  if (key) sessionStorage.setItem(KEY_NAME, key);
  else sessionStorage.removeItem(KEY_NAME);
}

// Asking

function requestBody() {
  const system = byId("system").value.trim();
  const messages = system ? [{ role: "system", content: system }] : [];
  const body = { model: currentModel().id, messages: [...messages, ...state.messages] };
  if (state.temperatureSet) body.temperature = Number(byId("temperature").value);
  const bound = Number.parseInt(byId("max-tokens").value, 10);
  if (bound > 0) body.max_tokens = bound;
  return body;
}

async function ask(text) {
  byId("welcome").hidden = true;
  state.messages.push({ role: "user", content: text });
  conversation.append(element("div", "turn user", text));
  await answer();
}

async function answer() {
  const view = new AnswerView(conversation);
  const meter = new Meter();
  const aborter = new AbortController();
  setRunning(aborter);
  follow(true);
  const painter = new Painter(view, meter);
  let note = "";
  let problem = null;
  try {
    for await (const part of streamChat(requestBody(), state.key, aborter.signal)) {
      if (part.text) {
        meter.token();
        painter.add(part.text);
      }
      if (part.usage) meter.settle(part.usage, part.timeInfo);
      if (part.finish === "length") note = "cut at the length limit";
    }
  } catch (error) {
    if (error.name === "AbortError") note = "stopped";
    else problem = error;
  }
  painter.end();
  setRunning(null);
  if (painter.text) state.messages.push({ role: "assistant", content: painter.text });
  if (problem) fail(view, problem, painter.text);
  else settle(view, meter, note);
  follow();
}

function settle(view, meter, note) {
  view.finish(meter, note);
  showSpeed(meter);
  byId("announcer").textContent = `Answer ended, ${plural(meter.tokens, "token")}.`;
}

function fail(view, problem, partial) {
  if (!(problem instanceof ApiError)) console.error(problem);
  const message = problem instanceof ApiError ? problem.message : "The page failed on this answer.";
  view.problem(message, () => {
    view.turn.remove();
    if (partial) state.messages.pop();
    answer();
  });
  byId("announcer").textContent = message;
  if (problem.status === 401) showDoor(problem);
}

/** Puts tokens on the page once a frame, however fast they come. */
class Painter {
  constructor(view, meter) {
    this.view = view;
    this.meter = meter;
    this.text = "";
    this.fresh = "";
    this.frame = 0;
  }

  add(text) {
    this.text += text;
    this.fresh += text;
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = 0;
    if (!this.fresh) return;
    const atEnd = isAtEnd();
    this.view.append(this.fresh);
    this.fresh = "";
    showSpeed(this.meter);
    follow(atEnd);
  }

  end() {
    cancelAnimationFrame(this.frame);
    this.paint();
  }
}

function setRunning(aborter) {
  state.running = aborter;
  byId("send").hidden = aborter !== null;
  byId("stop").hidden = aborter === null;
}

function isAtEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
}

function follow(wanted = isAtEnd()) {
  if (wanted) scroller.scrollTop = scroller.scrollHeight;
}

function newChat() {
  state.running?.abort();
  state.messages = [];
  conversation.replaceChildren();
  byId("welcome").hidden = state.models.length === 0;
  showSpeed(null);
  openPanel(false);
  prompt.focus();
}

function openPanel(open) {
  document.querySelector(".layout").classList.toggle("panel-open", open);
  byId("toggle-panel").setAttribute("aria-expanded", String(open));
}

function fitPrompt() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

// Controls

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value.trim();
  if (!text || state.running || state.models.length === 0) return;
  prompt.value = "";
  fitPrompt();
  ask(text);
});

prompt.addEventListener("input", fitPrompt);
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});

byId("stop").addEventListener("click", () => state.running?.abort());
byId("new-chat").addEventListener("click", newChat);
byId("model").addEventListener("change", () => showModel(currentModel()));
byId("toggle-panel").addEventListener("click", () => {
  openPanel(byId("toggle-panel").getAttribute("aria-expanded") !== "true");
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") state.running?.abort();
  if (event.key.toLowerCase() === "n" && event.altKey) {
    event.preventDefault();
    newChat();
  }
});

function setTemperature(isSet) {
  const slider = byId("temperature");
  if (!isSet) slider.value = slider.defaultValue;
  state.temperatureSet = isSet;
  byId("temperature-shown").textContent = isSet ? Number(slider.value).toFixed(1) : "model’s own";
  byId("temperature-reset").hidden = !isSet;
}

byId("temperature").addEventListener("input", () => setTemperature(true));
byId("temperature-reset").addEventListener("click", () => setTemperature(false));

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rememberKey(byId("key").value.trim());
  byId("key").value = "";
  loadModels();
});

byId("forget-key").addEventListener("click", () => {
  rememberKey("");
  newChat();
  loadModels();
});

for (const [id, write] of [["copy-curl", asCurl], ["copy-python", asPython]]) {
  byId(id).addEventListener("click", async () => {
    if (state.models.length === 0) return;
    const body = { ...requestBody(), stream: true };
    if (state.messages.length === 0) body.messages.push({ role: "user", content: STARTERS[0] });
    const done = await copy(write(location.origin, body));
    byId("copied").textContent = done ? "Copied, with a place for your key." : "The browser refused.";
  });
}

byId("starters").append(
  ...STARTERS.map((text) => {
    const item = element("li");
    const button = element("button", "", text);
    button.type = "button";
    button.addEventListener("click", () => {
      if (!state.running && state.models.length) ask(text);
    });
    item.append(button);
    return item;
  }),
);

setReady(false);
loadModels();
