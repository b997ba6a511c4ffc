// The frame around every page: the menu of a narrow screen, and who is signed in.

import { send, serverState } from "./session.js";
import { byId } from "./view.js";

const menu = byId("shell-menu");

function openMenu(open) {
  document.body.classList.toggle("menu-open", open);
  menu.setAttribute("aria-expanded", String(open));
}

menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || menu.getAttribute("aria-expanded") !== "true") return;
  openMenu(false);
  menu.focus();
});

byId("sign-out").addEventListener("click", async () => {
  await send("POST", "/console/api/logout").catch(() => {}); // gone already is as good
  sessionStorage.clear(); // the playground's key too
  location.assign("/console/sign-in");
});

function showLinks(kind) {
  for (const item of document.querySelectorAll(`[data-shown-to="${kind}"]`)) item.hidden = false;
}

async function show() {
  const { accounts, session } = await serverState();
  if (!accounts) return;
  byId("sign-in").hidden = session !== null;
  byId("who").hidden = session === null;
  if (!session) return;
  showLinks("accounts");
  if (session.runs_server) showLinks("operators");
  byId("who-name").textContent = session.user.name;
  byId("who-name").title = session.user.email;
  byId("who-organisation").textContent = session.organization.name;
}

show().catch(() => {}); // a server that does not answer is the page's to report
