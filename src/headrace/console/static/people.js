// The people of an organisation, and one's own password.

import { confirm, openDialog, openForm } from "./dialog.js";
import { button, choice, field, make } from "./dom.js";
import { date } from "./figures.js";
import { change, readAll, requireSession, send } from "./session.js";
import { table } from "./table.js";
import { byId, copy } from "./view.js";

const ROLES = ["owner", "admin", "member", "billing", "viewer"].map((role) => [role, role]);

const state = { session: null };

const may = (permission) => state.session.permissions.includes(permission);

async function showUsers() {
  const [users, invites] = await Promise.all([
    readAll("/users"),
    may("invites_read") ? readAll("/invites") : [],
  ]);
  byId("users").replaceChildren(
    table(
      "Users",
      [
        { name: "Name", main: true, cell: (user) => user.name },
        { name: "E-mail", cell: (user) => user.email },
        { name: "Role", cell: (user) => user.role },
        { name: "Since", date: true, cell: (user) => date(user.added_at) },
        ...(may("users_write") ? [{ name: "", actions: true, cell: userActions }] : []),
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
      await showUsers();
    },
  });
}

function remove(user) {
  confirm(`Remove ${user.name}?`, "Keys and sessions end with the user. This cannot be taken back.", "Remove", async () => {
    await change("DELETE", `/users/${user.id}`);
    await showUsers();
  });
}

function withdraw(invite) {
  confirm(`Withdraw the invitation of ${invite.email}?`, "It opens nothing any more.", "Withdraw", async () => {
    await change("DELETE", `/invites/${invite.id}`);
    await showUsers();
  });
}

function invite() {
  const email = make("input", { name: "email", type: "email", required: true, maxlength: "254", autocomplete: "off" });
  openForm("Invite somebody", [field("E-mail", email), field("Role", choice("role", ROLES, "member"))], {
    submit: "Make invitation",
    work: async (values) => {
      const made = await change("POST", "/invites", { email: values.email.trim(), role: values.role });
      showUsers().catch(fail);
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

function showYou() {
  const { user, organization } = state.session;
  const facts = [
    ["Name", user.name],
    ["E-mail", user.email],
    ["Role", user.role],
    ["Organisation", organization.name],
  ];
  byId("you").replaceChildren(
    ...facts.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))),
  );
  byId("password").hidden = false;
  byId("password").addEventListener("click", changePassword);
}

function changePassword() {
  const secret = (name, autocomplete, least) =>
    make("input", { name, type: "password", autocomplete, required: true, minlength: least, maxlength: "256" });
  const parts = [
    field("The old one", secret("old_password", "current-password", "1")),
    field("The new one", secret("new_password", "new-password", "12"), "12 characters or more. All other sessions end."),
  ];
  openForm("Another password", parts, {
    submit: "Change",
    work: (values) => send("POST", "/console/api/password", values),
    after: () => location.reload(), // the session is another one
  });
}

async function show() {
  state.session = await requireSession();
  showYou();
  if (!may("users_read")) return;
  byId("users-part").hidden = false;
  byId("invite").hidden = !may("invites_write");
  byId("invite").addEventListener("click", invite);
  await showUsers();
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
