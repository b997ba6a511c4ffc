// Who is signed in, and the calls that a session makes: its cookie goes by itself, its token with
// every change.

import { ApiError, call } from "./api.js";

const ROOT = "/v1/organization";

let asked = null; // the one question of a page

/**
 * What the server says of itself and of whoever looks:
 * { accounts, sign_up, identity_provider, session } with session null for a stranger.
 */
export function serverState() {
  asked ??= call("/console/api/state", {}).then((response) => response.json());
  return asked;
}

/** The session, or away to the sign-in page, to come back here after. Never resolves then. */
export async function requireSession() {
  const { session } = await serverState();
  if (session) return session;
  const back = encodeURIComponent(location.pathname + location.search);
  location.replace(`/console/sign-in?next=${back}`);
  return new Promise(() => {});
}

/** Read something of the organisation; `path` follows /v1/organization. Throws ApiError. */
export async function read(path, query = {}) {
  const asking = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined) asking.append(name, one);
  }
  const mark = asking.size ? "?" : "";
  return (await call(ROOT + path + mark + asking, {})).json();
}

/** All of a list, however many pages it has. */
export async function readAll(path) {
  const found = [];
  for (let after; ; ) {
    const page = await read(path, { limit: 100, after });
    found.push(...page.data);
    if (!page.has_more) return found;
    after = page.last_id;
  }
}

/** Make, change or end something of the organisation. Throws ApiError. */
export async function change(method, path, body) {
  return send(method, ROOT + path, body);
}

/** A call that changes something, at any address of ours. */
export async function send(method, path, body) {
  const { session } = await serverState();
  const headers = {
    ...(session && { "x-csrf-token": session.csrf_token }),
    ...(body && { "content-type": "application/json" }),
  };
  const response = await call(path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return response.json();
}

export { ApiError };
