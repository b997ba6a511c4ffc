// Tables that more than one page shows: prices and tiers.

import { make } from "./dom.js";
import { count, date, money } from "./figures.js";
import { table } from "./table.js";

const PAYS = { none: "nothing to pay", credit: "from credit", invoice: "by invoice" };
const LIMITS = [
  ["requests_per_minute", "Requests/min"],
  ["requests_per_day", "Requests/day"],
  ["tokens_per_minute", "Tokens/min"],
  ["tokens_per_day", "Tokens/day"],
  ["concurrent_requests", "At a time"],
  ["context_tokens", "Context"],
];

/** The prices of models, for a million tokens. */
export function priceTable(prices) {
  const dollars = (name, of) => ({ name, figures: true, cell: (price) => money(price[of]) });
  return table(
    "Prices",
    [
      { name: "Model", main: true, cell: (price) => price.model },
      dollars("Read", "input_micros"),
      dollars("Read from the cache", "cached_input_micros"),
      dollars("Written", "output_micros"),
      { name: "Since", cell: (price) => (price.valid_from ? date(price.valid_from) : "the start") },
    ],
    prices,
    "No model has a price: all of them are free.",
  );
}

/** What the tiers allow; `own` is marked. */
export function tierTable(tiers, own) {
  const limit = ([name, title]) => ({
    name: title,
    figures: true,
    cell: (tier) => (tier.limits[name] === null ? "–" : count(tier.limits[name])),
  });
  const name = (tier) =>
    tier.id === own ? [tier.id, make("small", {}, "your organisation’s")] : tier.id;
  return table(
    "Tiers",
    [
      { name: "Tier", main: true, cell: name },
      ...LIMITS.map(limit),
      { name: "Pays", cell: (tier) => PAYS[tier.billing] ?? tier.billing },
    ],
    tiers,
    "No tiers.",
  );
}
