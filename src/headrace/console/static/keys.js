// API keys: made, shown once, changed, rotated, revoked.

import { confirm, openDialog, openForm } from "./dialog.js";
import { button, choice, field, make } from "./dom.js";
import { ago, count, date, micros, money, stretch, time } from "./figures.js";
import { keysOf, projects, publicModels } from "./organisation.js";
import { change, requireSession } from "./session.js";
import { table } from "./table.js";
import { byId, copy } from "./view.js";

const DAY_S = 86_400;
const ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/models"];
const LIMITS = [
  ["requests_per_minute", "Requests a minute", "requests/min"],
  ["requests_per_day", "Requests a day", "requests/day"],
  ["tokens_per_minute", "Tokens a minute", "tokens/min"],
  ["tokens_per_day", "Tokens a day", "tokens/day"],
  ["concurrent_requests", "Requests at a time", "at a time"],
];
const ENDS = [
  ["", "never"],
  [String(7 * DAY_S), "in 7 days"],
  [String(30 * DAY_S), "in 30 days"],
  [String(90 * DAY_S), "in 90 days"],
  [String(365 * DAY_S), "in a year"],
];
const OVERLAPS = [
  ["0", "at once"],
  ["3600", "in an hour"],
  [String(DAY_S), "in a day"],
  [String(7 * DAY_S), "in 7 days"],
  [String(30 * DAY_S), "in 30 days"],
];

const state = { session: null, projects: [], models: [] };

const may = (permission) => state.session.permissions.includes(permission);
const current = () => state.projects.find(({ id }) => id === byId("project").value);
const addressOf = (key) => `/projects/${key.project.id}/api_keys/${key.id}`;

async function refresh() {
  byId("problem").textContent = "";
  const keys = await keysOf([current()]);
  byId("keys").replaceChildren(
    table("Keys", columns(), keys, "No keys yet. Make one, and the first request is three lines away."),
  );
  byId("keys").removeAttribute("aria-busy");
}

function columns() {
  const found = [
    { name: "Name", main: true, cell: named },
    { name: "Key", cell: (key) => make("code", {}, key.redacted_value.replace("...", "…")) },
    { name: "Held to", wide: true, cell: heldTo },
    { name: "Last used", date: true, cell: (key) => (key.last_used_at === null ? "never" : ago(key.last_used_at)) },
    { name: "Ends", date: true, cell: ends },
  ];
  if (may("keys_write")) found.push({ name: "", actions: true, cell: actions });
  return found;
}

function named(key) {
  return [key.name, make("small", {}, `made ${date(key.created_at)}`)];
}

function ends(key) {
  if (key.expires_at === null) return "never";
  const left = key.expires_at - Date.now() / 1e3;
  const says = left <= 0 ? "ended" : left < 3 * DAY_S ? `in ${stretch(left)}` : date(key.expires_at);
  return make("span", { title: time(key.expires_at) }, says);
}

function heldTo(key) {
  const found = [...scopesOf(key), ...limitsOf(key)];
  if (found.length === 0) return make("span", { class: "soft" }, "what its organisation may");
  return make("ul", { class: "plain" }, found.map((text) => make("li", {}, text)));
}

function scopesOf(key) {
  const { models, routes, addresses } = key.scopes;
  return [
    models && (models.join(", ") || "no model"),
    routes && (routes.join(", ") || "no address of the API"),
    addresses && `from ${addresses.join(", ") || "nowhere"}`,
  ].filter(Boolean);
}

function limitsOf(key) {
  const found = LIMITS.filter(([name]) => key.limits[name] !== null).map(
    ([name, , unit]) => `${count(key.limits[name])} ${unit}`,
  );
  const budget = key.limits.budget_micros;
  return budget === null ? found : [...found, `${money(budget)} a month`];
}

function actions(key) {
  const label = (word) => ({ "aria-label": `${word} ${key.name}` });
  const found = [button("quiet", "Rotate", () => rotate(key), label("Rotate"))];
  if (may("keys_restrict")) found.unshift(button("quiet", "Edit", () => edit(key), label("Edit")));
  found.push(button("quiet", "Revoke", () => revoke(key), label("Revoke")));
  return make("div", { class: "row-actions" }, found);
}

// What a form asks for

function restrictions(key) {
  const { scopes, limits } = key ?? { scopes: {}, limits: {} };
  const shown = (list) => list?.join(", ") ?? "";
  const listed = { autocomplete: "off", spellcheck: "false" };
  const number = { type: "number", min: "0", step: "1", inputmode: "numeric", placeholder: "no limit" };
  const budget = limits.budget_micros ?? null;
  return [
    make(
      "details",
      { class: "more", open: key !== undefined },
      make("summary", {}, "What it may be used for"),
      field("Models", make("input", { name: "models", placeholder: "all", list: "models", value: shown(scopes.models), ...listed }), "Names, with commas between."),
      field("Addresses of the API", make("input", { name: "routes", placeholder: "all", list: "routes", value: shown(scopes.routes), ...listed })),
      field("From these networks", make("input", { name: "addresses", placeholder: "everywhere", value: shown(scopes.addresses), ...listed }), "Such as 10.0.0.0/8."),
      make("datalist", { id: "models" }, state.models.map((value) => make("option", { value }))),
      make("datalist", { id: "routes" }, ROUTES.map((value) => make("option", { value }))),
    ),
    make(
      "details",
      { class: "more", open: key !== undefined },
      make("summary", {}, "Limits of its own"),
      make(
        "div",
        { class: "pairs" },
        LIMITS.map(([name, label]) => field(label, make("input", { name, value: limits[name] ?? "", ...number }))),
        field("Budget a month, $", make("input", { name: "budget_micros", inputmode: "decimal", placeholder: "no limit", value: budget === null ? "" : String(budget / 1e6) })),
      ),
    ),
  ];
}

function asked(values) {
  const list = (text) => {
    const words = text.split(",").map((word) => word.trim()).filter(Boolean);
    return words.length ? words : null;
  };
  const number = (text) => (text.trim() === "" ? null : Number(text));
  const budget = values.budget_micros.trim() === "" ? null : micros(values.budget_micros);
  if (Number.isNaN(budget)) throw Object.assign(new Error("The budget is an amount in dollars, such as 5 or 0.50."), { param: "budget_micros" });
  return {
    scopes: { models: list(values.models), routes: list(values.routes), addresses: list(values.addresses) },
    limits: {
      ...Object.fromEntries(LIMITS.map(([name]) => [name, number(values[name])])),
      budget_micros: budget,
    },
  };
}

// What can be done

function create() {
  const name = make("input", { name: "name", required: true, maxlength: "64", autocomplete: "off", placeholder: "my app" });
  openForm("New key", [field("Name", name), field("Ends", choice("ends", ENDS, "")), ...restrictions()], {
    submit: "Make key",
    work: async (values) => {
      const end = values.ends ? { expires_at: Math.floor(Date.now() / 1e3) + Number(values.ends) } : {};
      const body = { name: values.name.trim(), ...asked(values), ...end };
      const made = await change("POST", `/projects/${current().id}/api_keys`, body);
      refresh().catch(fail);
      return made;
    },
    after: reveal,
  });
}

function edit(key) {
  openForm(`Edit ${key.name}`, restrictions(key), {
    submit: "Save",
    work: async (values) => {
      await change("POST", addressOf(key), asked(values));
      await refresh();
    },
  });
}

function rotate(key) {
  const text = "A new key takes this one’s place, with the same name and rights. The old one ends";
  openForm(`Rotate ${key.name}`, [field(text, choice("overlap", OVERLAPS, "0"))], {
    submit: "Rotate",
    work: async ({ overlap }) => {
      const body = { overlap_seconds: Number(overlap) };
      const made = await change("POST", `${addressOf(key)}/rotate`, body);
      refresh().catch(fail);
      return made;
    },
    after: reveal,
  });
}

function revoke(key) {
  confirm(
    `Revoke ${key.name}?`,
    "Its next request is refused, everywhere. This cannot be taken back.",
    "Revoke",
    async () => {
      await change("DELETE", addressOf(key));
      await refresh();
    },
  );
}

/** The one time a secret is seen. */
function reveal(made) {
  const value = make("input", { class: "secret", readonly: true, value: made.value, "aria-label": "The key", spellcheck: "false" });
  value.addEventListener("focus", () => value.select());
  const said = make("span", { role: "status" }, "Copy");
  const copying = button("primary", said, async () => {
    said.textContent = (await copy(made.value)) ? "Copied" : "Not allowed: select it";
  });
  const trying = button("outline", "Try it in the playground", () => {
    sessionStorage.setItem("headrace-key", made.value);
    location.assign("/console");
  });
  const dialog = openDialog(
    made.name,
    make("p", {}, "Keep it in a safe place: it is not shown again."),
    make("div", { class: "row" }, value, copying),
    make("div", { class: "choices" }, trying, button("outline", "Done", () => dialog.close())),
  );
  copying.focus();
}

async function show() {
  state.session = await requireSession();
  [state.projects, state.models] = await Promise.all([projects(), publicModels()]);
  byId("project").replaceChildren(...state.projects.map(({ id, name }) => new Option(name, id)));
  byId("project-field").hidden = state.projects.length < 2;
  byId("project").addEventListener("change", () => refresh().catch(fail));
  byId("new-key").hidden = !may("keys_write");
  byId("new-key").addEventListener("click", create);
  await refresh();
}

function fail(error) {
  byId("keys").removeAttribute("aria-busy");
  byId("problem").textContent = error.message;
}

show().catch(fail);
