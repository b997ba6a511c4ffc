// Sign in and sign up: two forms that begin the same session.

import { onSubmit } from "./form.js";
import { send, serverState } from "./session.js";
import { byId, element } from "./view.js";

const asked = new URLSearchParams(location.search);

/** Where to go once signed in: a page of ours, whatever the address says. */
function next() {
  const wanted = new URL(asked.get("next") ?? "/console/keys", location.origin);
  const isOurs = wanted.origin === location.origin && wanted.pathname.startsWith("/console");
  return isOurs ? wanted.pathname + wanted.search : "/console/keys";
}

function say(text) {
  byId("says").textContent = text;
  byId("says").hidden = false;
}

function otherWay(text, link, page) {
  const way = element("a", "", link);
  way.href = page + location.search;
  byId("other-way").replaceChildren(`${text} `, way);
  byId("other-way").hidden = false;
}

function showProvider() {
  const way = element("a", "outline", "Continue with your organisation’s account");
  way.href = "/console/api/oidc/login";
  byId("provider").replaceChildren(way);
  byId("provider").hidden = false;
}

function showSignIn(form, state) {
  form.hidden = false;
  if (state.identity_provider) showProvider();
  if (state.sign_up === "open") otherWay("No account yet?", "Sign up", "/console/sign-up");
  if (state.sign_up === "invitation") otherWay("Invited?", "Use the invitation", "/console/sign-up");
  onSubmit(form, async ({ email, password }) => {
    await send("POST", "/console/api/login", { email: email.trim(), password });
    location.assign(next());
  });
}

function showSignUp(form, state) {
  otherWay("Have an account?", "Sign in", "/console/sign-in");
  if (state.sign_up === "closed") {
    say("Nobody can sign up here. Whoever runs this server makes the accounts.");
    return;
  }
  const { email, invite } = form.elements;
  invite.value = asked.get("invite") ?? "";
  // An invitation opens an open server, too: into the organisation that made it.
  const byInvitation = state.sign_up === "invitation" || invite.value !== "";
  say(
    byInvitation
      ? "You need an invitation. It says which organisation you join, and under which e-mail address."
      : "You get an organisation of your own, of the free tier.",
  );
  byId("invite-field").hidden = !byInvitation;
  byId("email-field").hidden = byInvitation;
  invite.required = byInvitation;
  email.required = !byInvitation;
  form.hidden = false;
  onSubmit(form, async ({ name, password }) => {
    const who = byInvitation ? { invite: invite.value.trim() } : { email: email.value.trim() };
    await send("POST", "/console/api/signup", { ...who, name: name.trim(), password });
    location.assign(next());
  });
}

async function show() {
  const state = await serverState();
  const signIn = byId("sign-in-form");
  if (!state.accounts) {
    say("This server has no accounts: everybody who reaches it may use it.");
  } else if (state.session) {
    location.replace(next());
  } else if (signIn) {
    showSignIn(signIn, state);
  } else {
    showSignUp(byId("sign-up-form"), state);
  }
}

show().catch((error) => say(error.message));
