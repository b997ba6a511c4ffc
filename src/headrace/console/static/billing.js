// Money: what there is, where it went, what things cost.

import { make } from "./dom.js";
import { count, money, time } from "./figures.js";
import { meterBar } from "./meter_bar.js";
import { keysOf, namer, projects } from "./organisation.js";
import { priceTable } from "./price_table.js";
import { read, readAll, requireSession } from "./session.js";
import { table } from "./table.js";
import { byId } from "./view.js";

const MONTHS = 12;
const KINDS = { top_up: "payment", grant: "grant", correction: "correction" };
const PAYS = {
  none: "Your tier pays nothing.",
  credit: "Your tier pays from credit: what a request can cost is set aside while it runs.",
  invoice: "Your tier pays afterwards, by invoice.",
};
const MONTH_NAME = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

const state = { keys: [], nameOfKey: (id) => id, nameOfProject: (id) => id };

function months() {
  const now = new Date();
  return Array.from({ length: MONTHS }, (_, back) => {
    const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1));
    return [month.toISOString().slice(0, 7), MONTH_NAME.format(month)];
  });
}

function tiles(host, found) {
  host.replaceChildren(
    ...found.map(([name, figure, note = ""]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, figure), note ? make("dd", { class: "note" }, note) : null),
    ),
  );
  host.hidden = false;
}

function showCredit(credit, tier) {
  const { balance_micros: balance, leased_micros: leased } = credit;
  tiles(byId("totals"), [
    ["Credit", money(balance), balance < 0 ? "overdrawn" : ""],
    ["Set aside for what runs", money(leased)],
    ["Tier", tier],
  ]);
}

async function showStatement() {
  const month = byId("month").value;
  const found = await read(`/statements/${month}`);
  if (month !== byId("month").value) return;
  tiles(byId("statement-totals"), [
    ["At the start", money(found.opening_micros)],
    ["Paid in", money(found.paid_micros)],
    ["Used", money(found.usage_micros)],
    ["At the end", money(found.closing_micros)],
  ]);
  const figure = (name, of) => ({ name, figures: true, cell: (line) => count(line[of]) });
  byId("statement").replaceChildren(
    table(
      "Lines of the statement",
      [
        { name: "Key", main: true, cell: (line) => [state.nameOfKey(line.api_key_id), make("small", {}, state.nameOfProject(line.project_id))] },
        { name: "Model", wide: true, cell: (line) => [line.model, make("small", {}, `price ${line.price_version}`)] },
        figure("Requests", "num_model_requests"),
        figure("Read", "input_tokens"),
        figure("of them cached", "input_cached_tokens"),
        figure("Written", "output_tokens"),
        { name: "Amount", figures: true, cell: (line) => money(line.micros) },
      ],
      found.lines,
      "Nothing was used in this month.",
    ),
  );
  return found;
}

function showBudgets(statement) {
  const held = state.keys.filter((key) => key.limits.budget_micros !== null);
  byId("budgets-part").hidden = held.length === 0;
  const spent = (key) =>
    statement.lines.filter((line) => line.api_key_id === key.id).reduce((sum, line) => sum + line.micros, 0);
  byId("budgets").replaceChildren(
    table(
      "Budgets",
      [
        { name: "Key", main: true, cell: (key) => key.name },
        { name: "Spent", wide: true, cell: (key) => meterBar(`Budget of ${key.name}`, spent(key), key.limits.budget_micros, money) },
      ],
      held,
      "",
    ),
  );
}

function showPayments(payments) {
  byId("payments-part").hidden = false;
  byId("payments").replaceChildren(
    table(
      "Payments",
      [
        { name: "When", main: true, cell: (entry) => time(entry.created_at) },
        { name: "Kind", cell: (entry) => KINDS[entry.kind] ?? entry.kind },
        { name: "Reference", cell: (entry) => (entry.reference === entry.id ? "–" : entry.reference) },
        { name: "Note", wide: true, cell: (entry) => entry.note || "–" },
        { name: "Amount", figures: true, cell: (entry) => money(entry.amount_micros) },
      ],
      payments,
      "Nothing was paid in yet.",
    ),
  );
}

async function showMoney(session) {
  const [credit, payments] = await Promise.all([read("/credit"), readAll("/credit/entries")]);
  showCredit(credit, session.organization.tier);
  byId("statement-part").hidden = false;
  byId("month").replaceChildren(...months().map(([month, name]) => new Option(name, month)));
  byId("month").addEventListener("change", () => showStatement().catch(fail));
  showBudgets(await showStatement());
  showPayments(payments);
}

async function show() {
  const session = await requireSession();
  const [found, prices, tiers] = await Promise.all([projects(), readAll("/prices"), readAll("/tiers")]);
  const tier = tiers.find(({ id }) => id === session.organization.tier);
  byId("says").textContent = PAYS[tier?.billing] ?? "";
  byId("prices").replaceChildren(priceTable(prices));
  state.keys = await keysOf(found);
  state.nameOfKey = namer(state.keys);
  state.nameOfProject = namer(found);
  if (session.permissions.includes("credit_read")) await showMoney(session);
  else byId("says").textContent = "Credit and statements are for owners, administrators and whoever does the billing.";
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
