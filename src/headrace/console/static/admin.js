// For those who run the server: organisations, users, tiers, prices, credit, who did what.

import { confirm, openDialog, openForm } from "./dialog.js";
import { button, choice, field, make } from "./dom.js";
import { date, micros, money, time } from "./figures.js";
import { priceTable, tierTable } from "./price_table.js";
import { change, read, readAll, requireSession } from "./session.js";
import { table } from "./table.js";
import { byId, copy } from "./view.js";

const ROLES = ["owner", "admin", "member", "billing", "viewer"].map((role) => [role, role]);
const KINDS = [
  ["top_up", "a payment"],
  ["grant", "a grant"],
  ["correction", "a correction"],
];
const PAGE = 20;

const state = { session: null, tiers: [], audit: [] };

// Organisations and their money

async function showOrganisations() {
  const found = await readAll("/organizations");
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
      await Promise.all([showOrganisations(), showAudit()]);
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
      await Promise.all([showOrganisations(), showAudit()]);
    },
  });
}

// Users of the server's own organisation

async function showUsers() {
  const [users, invites] = await Promise.all([readAll("/users"), readAll("/invites")]);
  byId("users").replaceChildren(
    table(
      "Users",
      [
        { name: "Name", main: true, cell: (user) => user.name },
        { name: "E-mail", cell: (user) => user.email },
        { name: "Role", cell: (user) => user.role },
        { name: "Since", date: true, cell: (user) => date(user.added_at) },
        { name: "", actions: true, cell: userActions },
      ],
      users,
      "No users.",
    ),
  );
  const open = invites.filter(({ status }) => status === "pending");
  byId("invites").hidden = open.length === 0;
  byId("invites").replaceChildren(
    table(
      "Open invitations",
      [
        { name: "Invited", main: true, cell: (invite) => invite.email },
        { name: "Role", cell: (invite) => invite.role },
        { name: "Opens until", date: true, cell: (invite) => date(invite.expires_at) },
        { name: "", actions: true, cell: (invite) => make("div", { class: "row-actions" }, button("quiet", "Withdraw", () => withdraw(invite), { "aria-label": `Withdraw the invitation of ${invite.email}` })) },
      ],
      open,
      "No open invitations.",
    ),
  );
}

function userActions(user) {
  if (user.id === state.session.user.id) return make("span", { class: "soft" }, "you");
  return make(
    "div",
    { class: "row-actions" },
    button("quiet", "Role", () => changeRole(user), { "aria-label": `Role of ${user.name}` }),
    button("quiet", "Remove", () => remove(user), { "aria-label": `Remove ${user.name}` }),
  );
}

function changeRole(user) {
  openForm(`Role of ${user.name}`, [field("From the next request on", choice("role", ROLES, user.role))], {
    submit: "Change",
    work: async ({ role }) => {
      await change("POST", `/users/${user.id}`, { role });
      await Promise.all([showUsers(), showAudit()]);
    },
  });
}

function remove(user) {
  confirm(`Remove ${user.name}?`, "Keys and sessions end with the user. This cannot be taken back.", "Remove", async () => {
    await change("DELETE", `/users/${user.id}`);
    await Promise.all([showUsers(), showAudit()]);
  });
}

function withdraw(invite) {
  confirm(`Withdraw the invitation of ${invite.email}?`, "It opens nothing any more.", "Withdraw", async () => {
    await change("DELETE", `/invites/${invite.id}`);
    await Promise.all([showUsers(), showAudit()]);
  });
}

function invite() {
  const email = make("input", { name: "email", type: "email", required: true, maxlength: "254", autocomplete: "off" });
  openForm("Invite somebody", [field("E-mail", email), field("Role", choice("role", ROLES, "member"))], {
    submit: "Make invitation",
    work: async (values) => {
      const made = await change("POST", "/invites", { email: values.email.trim(), role: values.role });
      Promise.all([showUsers(), showAudit()]).catch(fail);
      return made;
    },
    after: revealInvite,
  });
}

/** The one time an invitation's secret is seen: as the link that it opens with. */
function revealInvite(made) {
  const link = `${location.origin}/console/sign-up?invite=${encodeURIComponent(made.secret)}`;
  const value = make("input", { class: "secret", readonly: true, value: link, "aria-label": "The invitation", spellcheck: "false" });
  value.addEventListener("focus", () => value.select());
  const said = make("span", { role: "status" }, "Copy");
  const copying = button("primary", said, async () => {
    said.textContent = (await copy(link)) ? "Copied" : "Not allowed: select it";
  });
  const dialog = openDialog(
    `Invitation for ${made.email}`,
    make("p", {}, "Send this link. It is not shown again, and opens once."),
    make("div", { class: "row" }, value, copying),
    make("div", { class: "choices" }, button("outline", "Done", () => dialog.close())),
  );
  copying.focus();
}

// The audit log

async function showAudit(after) {
  const page = await read("/audit_logs", { limit: PAGE, after });
  state.audit = after ? [...state.audit, ...page.data] : page.data;
  byId("older").hidden = !page.has_more;
  byId("audit").replaceChildren(
    table(
      "Audit log",
      [
        { name: "When", date: true, main: true, cell: (row) => time(row.effective_at) },
        { name: "Who", cell: (row) => [row.actor.name, row.actor.ip_address ? make("small", {}, row.actor.ip_address) : ""] },
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
  byId("invite").addEventListener("click", invite);
  byId("older").addEventListener("click", () => showAudit(state.audit.at(-1).id).catch(fail));
  await Promise.all([showOrganisations(), showUsers(), showAudit()]);
  byId("admin").hidden = false;
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
