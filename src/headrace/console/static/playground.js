// The playground's state, and what each control does to it.

import { ApiError, listModels, listPrices } from "./api.js";
import { AnswerView } from "./answer_view.js";
import { Lane } from "./lane.js";
import { formatMs, formatSpeed } from "./meter.js";
import { formatPerMillion, isFree, priceOf } from "./price.js";
import { requestFields, SCHEMA_EXAMPLE, SettingError, TOOLS_EXAMPLE } from "./request.js";
import { serverState } from "./session.js";
import { asCurl, asPython, asTypeScript } from "./snippets.js";
import { SpeedView } from "./speed_view.js";
import { byId, copy, element, plural, short } from "./view.js";

const KEY_NAME = "headrace-key";
const STARTERS = [
  "What is a headrace?",
  "Tell me a short story about a river.",
  "What is a KV cache?",
];
const LANGUAGES = { python: asPython, typescript: asTypeScript, curl: asCurl };

const state = {
  key: sessionStorage.getItem(KEY_NAME) ?? "",
  models: [],
  running: null, // AbortController of the answers that are coming
  chosen: { temperature: false, "top-p": false }, // sliders that were moved
  language: "python",
  sent: null, // the last request, as it went out
};

const conversation = byId("conversation");
const prompt = byId("prompt");
const scroller = document.querySelector("main");
const first = new Lane(new SpeedView(document.querySelector(".speed")));
let second = null; // there while two models answer

const lanes = () => (second ? [first, second] : [first]);

// Models and key

async function loadModels() {
  try {
    const [models, prices] = await Promise.all([listModels(state.key), listPrices(state.key)]);
    state.models = models.map((model) => ({
      ...model,
      price: priceOf(prices.get(model.id)?.pricing),
      thinks: prices.get(model.id)?.supported_features.includes("reasoning") ?? false,
    }));
  } catch (error) {
    showDoor(error);
    return;
  }
  for (const id of ["model", "other-model"]) {
    byId(id).replaceChildren(...state.models.map((model) => new Option(model.id, model.id)));
  }
  const wanted = new URLSearchParams(location.search).get("model");
  if (state.models.some((model) => model.id === wanted)) byId("model").value = wanted;
  byId("model").disabled = false;
  byId("other-model").value = (state.models[1] ?? state.models[0]).id;
  byId("key-form").hidden = true;
  byId("welcome").hidden = false;
  byId("forget-key").hidden = !state.key;
  chooseModels();
  setReady(true);
  prompt.focus({ preventScroll: true });
}

function chooseModels() {
  const named = (id) => state.models.find((model) => model.id === byId(id).value);
  first.model = named("model") ?? state.models[0];
  if (second) second.model = named("other-model") ?? state.models[0];
  first.speed.title(second ? first.model.id : "");
  second?.speed.title(second.model.id);
  byId("effort-row").hidden = !lanes().some((lane) => lane.model.thinks);
  showModel(first.model);
  showCode();
}

function showModel(model) {
  const { price } = model;
  const facts = [
    ["Parameters", short(model.parameters)],
    ["Context", plural(model.context_length, "token")],
    ["Backend", model.backend],
    ["Price, million tokens", priceInWords(price)],
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
    `${plural(model.context_length, "token")} of context, on the ${model.backend} backend.`;
}

function priceInWords(price) {
  if (isFree(price)) return "free";
  return `${formatPerMillion(price.input)} in, ${formatPerMillion(price.output)} out`;
}

/** No models: ask for a key, or say why not. */
function showDoor(error) {
  setReady(false);
  if (error.status === 401) {
    byId("welcome").hidden = true;
    byId("key-form").hidden = false;
    byId("key-problem").textContent = state.key ? error.message : "";
    byId("keys-link").href = "/console/keys";
    serverState().then(({ session }) => {
      byId("keys-page").hidden = session === null;
    });
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

// What is asked

/** The fields of the settings, or null with what is wrong on the page. */
function readSettings() {
  const problem = byId("settings-problem");
  try {
    problem.textContent = "";
    return requestFields({
      temperature: state.chosen.temperature ? Number(byId("temperature").value) : null,
      topP: state.chosen["top-p"] ? Number(byId("top-p").value) : null,
      maxTokens: numberOf("max-tokens"),
      seed: numberOf("seed"),
      frequencyPenalty: numberOf("frequency-penalty"),
      presencePenalty: numberOf("presence-penalty"),
      stop: byId("stop-at").value,
      effort: byId("effort-row").hidden ? "" : byId("effort").value,
      tools: byId("tools").value,
      toolChoice: byId("tool-choice").value,
      form: byId("form").value,
      schema: byId("schema").value,
    });
  } catch (error) {
    if (!(error instanceof SettingError)) throw error;
    problem.textContent = error.message;
    return null;
  }
}

function numberOf(id) {
  const text = byId(id).value.trim();
  return text === "" ? null : Number(text);
}

function bodyFor(lane, fields, messages = lane.messages) {
  const system = byId("system").value.trim();
  return {
    model: lane.model.id,
    stream: true,
    ...fields,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...messages],
  };
}

/** The request that would go out now, or the last one that did. */
function shownRequest() {
  if (state.sent) return state.sent;
  const fields = readSettings();
  if (!fields || !first.model) return null;
  const text = prompt.value.trim() || STARTERS[0];
  return bodyFor(first, fields, [{ role: "user", content: text }]);
}

function showCode() {
  const body = shownRequest();
  byId("code").textContent = body ? LANGUAGES[state.language](location.origin, body) : "";
}

// Asking

async function ask(text) {
  const fields = readSettings();
  if (!fields) {
    openPanel(true);
    byId("settings-problem").scrollIntoView({ block: "nearest" });
    return false;
  }
  byId("welcome").hidden = true;
  for (const lane of lanes()) lane.say(text);
  if (text) conversation.append(element("div", "turn user", text));
  const row = element("div", second ? "answers two" : "answers");
  conversation.append(row);
  answerAll(row, fields);
  return true;
}

async function answerAll(row, fields) {
  const aborter = new AbortController();
  setRunning(aborter);
  state.sent = bodyFor(first, fields);
  showCode();
  const asked = lanes();
  const places = asked.map(() => row.appendChild(element("div", "answer")));
  const done = await Promise.all(
    asked.map((lane, n) => answer(lane, places[n], fields, aborter)),
  );
  setRunning(null);
  if (done.length === 2 && done.every(({ problem }) => !problem)) {
    row.after(element("p", "verdict", compared(asked, done)));
  }
  const [{ meter }] = done;
  byId("announcer").textContent = `Answer ended, ${plural(meter.tokens, "token")}.`;
  follow();
}

async function answer(lane, place, fields, aborter) {
  const view = new AnswerView(place, second ? lane.model.id : "");
  follow(true);
  const page = { isAtEnd, painted: follow };
  const body = bodyFor(lane, fields);
  const told = lane.messages.length;
  const done = await lane.answer(body, view, state.key, aborter.signal, page);
  if (done.problem) {
    fail(view, done.problem, () => {
      if (state.running) return;
      lane.messages.length = told;
      view.turn.remove();
      const again = new AbortController();
      setRunning(again);
      answer(lane, place, fields, again).then(() => setRunning(null));
    });
  } else {
    view.finish(done.meter, lane.model.price, done.note);
  }
  follow();
  return { ...done, view };
}

/** How two answers to one prompt differ, in words. */
function compared([one, other], [a, b]) {
  const said = [];
  if (a.meter.speed && b.meter.speed) {
    const [fast, slow, name] =
      a.meter.speed >= b.meter.speed ? [a, b, one.model.id] : [b, a, other.model.id];
    const ratio = (fast.meter.speed / slow.meter.speed).toFixed(2);
    const which = one.model.id === other.model.id ? (fast === a ? "The first" : "The second") : name;
    said.push(
      `${which} wrote ${ratio} times as fast (${formatSpeed(fast.meter.speed)} and ` +
        `${formatSpeed(slow.meter.speed)} tokens/s)`,
    );
  }
  const gap = Math.abs(a.meter.ttftMs - b.meter.ttftMs);
  if (a.meter.first !== null && b.meter.first !== null) {
    said.push(`first tokens came ${formatMs(gap)} apart`);
  }
  const same = commonStart(a.view.said.text, b.view.said.text);
  if (a.view.said.text === b.view.said.text) said.push("the answers are the same, letter by letter");
  else said.push(`the same text for ${plural(same, "character")}`);
  return `${said.join("; ")}.`;
}

function commonStart(one, other) {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at += 1;
  return at;
}

function fail(view, problem, retry) {
  if (!(problem instanceof ApiError)) console.error(problem);
  const message = problem instanceof ApiError ? problem.message : "The page failed on this answer.";
  view.problem(message, retry);
  byId("announcer").textContent = message;
  if (problem.status === 401) showDoor(problem);
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
  state.sent = null;
  for (const lane of lanes()) lane.clear();
  conversation.replaceChildren();
  byId("welcome").hidden = state.models.length === 0;
  openPanel(false);
  showCode();
  prompt.focus();
}

function compare(wanted) {
  if (state.running || state.models.length === 0) return;
  byId("compare").setAttribute("aria-pressed", String(wanted));
  byId("other-picker").hidden = !wanted;
  document.body.classList.toggle("comparing", wanted);
  if (wanted) {
    second = new Lane(first.speed.another());
    second.messages = [...first.messages]; // the dialogue so far is both's
    second.results = first.results;
    second.speed.show(null, null);
  } else {
    second.speed.section.remove();
    second = null;
  }
  chooseModels();
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
  const mayBeEmpty = first.results !== null; // the results of calls are enough
  if ((!text && !mayBeEmpty) || state.running || state.models.length === 0) return;
  ask(text).then((went) => {
    if (!went) return;
    prompt.value = "";
    fitPrompt();
  });
});

prompt.addEventListener("input", () => {
  fitPrompt();
  if (!state.sent) showCode();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("composer").requestSubmit();
});

byId("stop").addEventListener("click", () => state.running?.abort());
byId("new-chat").addEventListener("click", newChat);
byId("model").addEventListener("change", chooseModels);
byId("other-model").addEventListener("change", chooseModels);
byId("compare").addEventListener("click", () => compare(second === null));
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

function setSlider(id, isChosen) {
  const slider = byId(id);
  if (!isChosen) slider.value = slider.defaultValue;
  state.chosen[id] = isChosen;
  const digits = id === "top-p" ? 2 : 1;
  byId(`${id}-shown`).textContent = isChosen ? Number(slider.value).toFixed(digits) : "model’s own";
  byId(`${id}-reset`).hidden = !isChosen;
}

for (const id of ["temperature", "top-p"]) {
  byId(id).addEventListener("input", () => setSlider(id, true));
  byId(`${id}-reset`).addEventListener("click", () => {
    setSlider(id, false);
    settingsChanged();
  });
}

function settingsChanged() {
  byId("tool-choice-row").hidden = !byId("tools").value.trim();
  byId("schema-row").hidden = byId("form").value !== "json_schema";
  state.sent = null; // the code is that of the request to come
  readSettings();
  showCode();
}

for (const id of ["settings", "tools", "tool-choice", "form", "schema"]) {
  byId(id).addEventListener("input", settingsChanged);
}

function example(id, value) {
  byId(`${id}-example`).addEventListener("click", () => {
    byId(id).value = JSON.stringify(value, null, 2);
    byId(id).rows = 8;
    settingsChanged();
  });
}

example("tools", TOOLS_EXAMPLE);
example("schema", SCHEMA_EXAMPLE);

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

const tabs = document.querySelectorAll("[data-language]");
for (const tab of tabs) {
  tab.addEventListener("click", () => {
    state.language = tab.dataset.language;
    for (const other of tabs) other.setAttribute("aria-pressed", String(other === tab));
    showCode();
  });
}

byId("copy-code").addEventListener("click", async () => {
  const done = await copy(byId("code").textContent);
  byId("copied").textContent = done ? "Copied, with a place for your key." : "The browser refused.";
});

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
