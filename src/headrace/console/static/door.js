// Pages that need a key where there is no session: they ask for one, and go on with it.

import { make } from "./dom.js";

const KEY_NAME = "headrace-key";

/** The key of this tab; "": none. */
export const apiKey = () => sessionStorage.getItem(KEY_NAME) ?? "";

/**
 * Run `load`; where it is refused for want of a right key, ask for one in `host` and run it again.
 * Other errors stand there in words. Gives whether it went through.
 */
export async function behindKey(host, load) {
  try {
    await load();
    host.replaceChildren();
    return true;
  } catch (error) {
    if (error.status === 401) ask(host, load, apiKey() ? error.message : "");
    else host.replaceChildren(make("p", { class: "problem" }, error.message));
    return false;
  }
}

function ask(host, load, problem) {
  if (host.querySelector("form")) {
    host.querySelector(".problem").textContent = problem;
    return;
  }
  const key = make("input", {
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "hr-…",
    required: true,
    "aria-label": "API key",
  });
  const form = make(
    "form",
    { class: "card door-form" },
    make("h2", {}, "This server asks for a key"),
    make("p", { class: "soft" }, "It stays in this tab and is forgotten when the tab closes. Or "),
    make("div", { class: "row" }, key, make("button", { class: "primary", type: "submit" }, "Use key")),
    make("p", { class: "problem", role: "alert" }, problem),
  );
  form.children[1].append(make("a", { href: "/console/sign-in" }, "sign in"), ".");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY_NAME, key.value.trim());
    behindKey(host, load);
  });
  host.replaceChildren(form);
  key.focus();
}
