// For those who run the server: organisations, tiers, prices, credit, who did what.

import { openForm } from "./dialog.js";
import { button, choice, field, make } from "./dom.js";
import { date, micros, money, time } from "./figures.js";
import { priceTable, tierTable } from "./price_table.js";
import { change, read, readAll, requireSession } from "./session.js";
import { table } from "./table.js";
import { byId } from "./view.js";

const KINDS = [
  ["top_up", "a payment"],
  ["grant", "a grant"],
  ["correction", "a correction"],
];
const PAGE = 20;

const state = { session: null, tiers: [], names: new Map(), audit: [] };

// Organisations and their money

async function showOrganisations() {
  const found = await readAll("/organizations");
  state.names = new Map(found.map(({ id, name }) => [id, name]));
  byId("organisations").replaceChildren(
    table(
      "Organisations",
      [
        { name: "Organisation", main: true, cell: (each) => [each.name, make("small", {}, each.id)] },
        { name: "Tier", cell: (each) => each.tier },
        { name: "Since", date: true, cell: (each) => date(each.created_at) },
        { name: "Set aside", figures: true, cell: (each) => money(each.leased_micros) },
        { name: "Credit", figures: true, cell: (each) => money(each.balance_micros) },
        { name: "", actions: true, cell: organisationActions },
      ],
      found,
      "No organisations.",
    ),
  );
}

function organisationActions(each) {
  return make(
    "div",
    { class: "row-actions" },
    button("quiet", "Tier", () => changeTier(each), { "aria-label": `Tier of ${each.name}` }),
    button("quiet", "Credit", () => addCredit(each), { "aria-label": `Credit of ${each.name}` }),
  );
}

function changeTier(each) {
  const tiers = state.tiers.map(({ id }) => [id, id]);
  openForm(`Tier of ${each.name}`, [field("From its next request on", choice("tier", tiers, each.tier))], {
    submit: "Change",
    work: async ({ tier }) => {
      await change("POST", `/organizations/${each.id}`, { tier });
      await refresh();
    },
  });
}

function addCredit(each) {
  const parts = [
    make("p", { class: "soft" }, `${each.name} has ${money(each.balance_micros)}.`),
    field("Kind", choice("kind", KINDS, "top_up")),
    field("Amount, $", make("input", { name: "amount_micros", inputmode: "decimal", required: true, autocomplete: "off", placeholder: "10" }), "A correction may be less than nothing."),
    field("Reference", make("input", { name: "reference", maxlength: "200", autocomplete: "off" }), "Of a payment: the same one counts once."),
    field("Note", make("input", { name: "note", maxlength: "500", autocomplete: "off" })),
  ];
  openForm(`Credit of ${each.name}`, parts, {
    submit: "Add",
    work: async (values) => {
      const amount = micros(values.amount_micros);
      if (Number.isNaN(amount)) throw Object.assign(new Error("An amount in dollars, such as 10 or 0.50."), { param: "amount_micros" });
      const { kind, reference, note } = values;
      await change("POST", "/credit/entries", { amount_micros: amount, kind, organization_id: each.id, reference: reference.trim(), note: note.trim() });
      await refresh();
    },
  });
}

// The audit log

async function refresh() {
  await showOrganisations(); // their names stand in the log
  await showAudit();
}

async function showAudit(after) {
  const page = await read("/server/audit_logs", { limit: PAGE, after });
  state.audit = after ? [...state.audit, ...page.data] : page.data;
  byId("older").hidden = !page.has_more;
  byId("audit").replaceChildren(
    table(
      "Audit log",
      [
        { name: "When", date: true, main: true, cell: (row) => time(row.effective_at) },
        { name: "Who", cell: (row) => [row.actor.name, row.actor.ip_address ? make("small", {}, row.actor.ip_address) : ""] },
        { name: "Where", cell: (row) => state.names.get(row.organization_id) ?? row.organization_id },
        { name: "What", cell: (row) => row.type },
        { name: "Of", wide: true, cell: (row) => [row[row.type].id, make("small", {}, details(row[row.type]))] },
      ],
      state.audit,
      "Nothing yet.",
    ),
  );
}

/** What is special about a row, as `name: value`. */
function details({ id, ...rest }) {
  return Object.entries(rest)
    .filter(([, value]) => value !== null && value !== "" && value !== "{}")
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}

async function show() {
  state.session = await requireSession();
  if (!state.session.runs_server) {
    byId("says").textContent = "This page is for administrators of the organisation that runs the server.";
    return;
  }
  const [tiers, prices] = await Promise.all([readAll("/tiers"), readAll("/prices")]);
  state.tiers = tiers;
  byId("tiers").replaceChildren(tierTable(tiers, state.session.organization.tier));
  byId("prices").replaceChildren(priceTable(prices));
  byId("older").addEventListener("click", () => showAudit(state.audit.at(-1).id).catch(fail));
  await refresh();
  byId("admin").hidden = false;
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
