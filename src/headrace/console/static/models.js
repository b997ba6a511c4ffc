// The models that are served: context, price, and the speed that was measured here.

import { knownModels, serviceStatus } from "./api.js";
import { apiKey, behindKey } from "./door.js";
import { make } from "./dom.js";
import { formatMs, formatSpeed } from "./meter.js";
import { formatPerMillion, priceOf } from "./price.js";
import { table } from "./table.js";
import { byId, short } from "./view.js";

const COLUMNS = [
  { name: "Model", main: true, cell: named },
  { name: "Context, tokens", figures: true, cell: ({ context }) => whole(context) },
  { name: "In, million tokens", figures: true, cell: ({ price }) => formatPerMillion(price.input) },
  { name: "Cached", figures: true, cell: ({ price }) => formatPerMillion(price.cached) },
  { name: "Out", figures: true, cell: ({ price }) => formatPerMillion(price.output) },
  { name: "Speed of a stream", figures: true, cell: speed },
  { name: "First token", figures: true, cell: firstToken },
  { name: "", actions: true, cell: tryIt },
];

const whole = (count) => (count ? count.toLocaleString("en") : "–");

function named({ id, facts, measured }) {
  const about = [
    facts.parameters && `${short(facts.parameters)} parameters`,
    facts.quantization,
    measured && `on ${measured.backend}`,
    facts.root && facts.root !== id && `another name of ${facts.root}`,
  ].filter(Boolean);
  const parts = [id, make("small", {}, about.join(", "))];
  const isOurs = facts.description?.endsWith(", served by Headrace"); // says nothing new here
  if (facts.description && !isOurs) parts.push(make("small", {}, facts.description));
  return make("span", {}, parts);
}

function speed({ measured }) {
  const rate = measured?.last_30_days.tokens_per_second;
  if (!rate?.p50) return "not yet measured";
  return make(
    "span",
    {},
    `${formatSpeed(rate.p50)} tokens/s`,
    make("small", {}, `99 % above ${formatSpeed(rate.p1)}`),
  );
}

function firstToken({ measured }) {
  const wait = measured?.last_30_days.time_to_first_token_s;
  if (!wait?.p50) return "not yet measured";
  return make(
    "span",
    {},
    formatMs(1e3 * wait.p50),
    make("small", {}, `99 % within ${formatMs(1e3 * wait.p99)}`),
  );
}

function tryIt({ id }) {
  return make(
    "a",
    { class: "outline", href: `/console?model=${encodeURIComponent(id)}`, "aria-label": `Try ${id}` },
    "Try",
  );
}

async function load() {
  const [status, models] = await Promise.all([serviceStatus(apiKey()), knownModels(apiKey())]);
  const measured = new Map(status.models.map((model) => [model.id, model]));
  const rows = models.map((facts) => ({
    id: facts.id,
    facts,
    context: facts.context_length,
    price: priceOf(facts.pricing),
    measured: measured.get(facts.root ?? facts.id),
  }));
  byId("models").replaceChildren(table("Models", COLUMNS, rows, "No model is served to you."));
}

behindKey(byId("door"), load);
