// Limits as they stand, and what they refused.

import { make, nothing } from "./dom.js";
import { count, stretch, time } from "./figures.js";
import { meterBar } from "./meter_bar.js";
import { ifAllowed, keysOf, projects } from "./organisation.js";
import { tierTable } from "./price_table.js";
import { read, readAll, requireSession } from "./session.js";
import { table } from "./table.js";
import { byId } from "./view.js";

const EVERY_MS = 5_000;
const WHOSE = { organisation: "organisation", key: "this key" };

const state = { keys: [], asked: 0 };

/** "tokens-minute-uncached" in words. */
function inWords(name) {
  const [unit, span, uncached] = name.split("-");
  const words = uncached ? "uncached tokens" : unit;
  return `${words[0].toUpperCase()}${words.slice(1)} a ${span}`;
}

async function refresh() {
  const key = state.keys.find(({ id }) => id === byId("key").value);
  if (!key) return;
  const number = ++state.asked;
  const found = await read(`/projects/${key.project.id}/api_keys/${key.id}/limits`);
  if (number !== state.asked) return;
  byId("problem").textContent = "";
  showStandings(found);
  showRefusals(found.refusals);
}

function showStandings(found) {
  byId("standings").replaceChildren(
    ...found.models.map(({ model, limits }) =>
      make(
        "section",
        {},
        make("h2", {}, model),
        table(
          `Limits for ${model}`,
          [
            { name: "Limit", main: true, cell: (limit) => [inWords(limit.name), make("small", {}, `of the ${WHOSE[limit.whose] ?? limit.whose}`.replace("the this", "this"))] },
            { name: "Used", wide: true, cell: (limit) => meterBar(`${inWords(limit.name)}, ${model}`, limit.used, limit.limit, count) },
            { name: "Left", figures: true, cell: (limit) => count(limit.remaining) },
            { name: "All of it again", figures: true, cell: (limit) => (limit.reset_s > 0 ? `in ${stretch(limit.reset_s)}` : "now") },
          ],
          limits,
          "No limits hold this key for this model.",
        ),
      ),
    ),
  );
  if (found.models.length === 0) byId("standings").replaceChildren(nothing("This key may use no model that is served here."));
}

/** A refusal as a sentence. */
function reason(refusal) {
  return `${refusal.bucket} of the ${refusal.whose}: ${count(refusal.used)} of ${count(refusal.limit)} used, ${count(refusal.requested)} asked for`;
}

function showRefusals(refusals) {
  byId("refusals-part").hidden = false;
  byId("refusals").replaceChildren(
    table(
      "Last refusals",
      [
        { name: "When", main: true, cell: (refusal) => time(refusal.refused_at) },
        { name: "Model", cell: (refusal) => refusal.model },
        { name: "Why", wide: true, cell: reason },
        { name: "Again after", figures: true, cell: (refusal) => stretch(refusal.wait_s) },
      ],
      refusals,
      "Nothing was refused since the server started.",
    ),
  );
}

async function show() {
  const session = await requireSession();
  const [tiers, keys] = await Promise.all([
    readAll("/tiers"),
    ifAllowed(projects().then(keysOf), []),
  ]);
  byId("tiers").replaceChildren(tierTable(tiers, session.organization.tier));
  state.keys = keys;
  if (keys.length === 0) {
    const link = make("a", { href: "/console/keys" }, "Make one");
    byId("standings").replaceChildren(nothing("No keys whose limits you may see. ", link, "."));
    return;
  }
  byId("key").replaceChildren(...keys.map(({ id, name }) => new Option(name, id)));
  const wanted = new URLSearchParams(location.search).get("key");
  if (keys.some(({ id }) => id === wanted)) byId("key").value = wanted;
  byId("key-field").hidden = false;
  byId("refresh").hidden = false;
  const again = () => refresh().catch(fail);
  byId("key").addEventListener("change", again);
  byId("refresh").addEventListener("click", again);
  setInterval(() => {
    // Whoever reads a table by keyboard keeps his place.
    const reads = document.activeElement?.closest(".table");
    if (!document.hidden && !reads) again();
  }, EVERY_MS);
  await refresh();
}

function fail(error) {
  byId("problem").textContent = error.message;
}

show().catch(fail);
