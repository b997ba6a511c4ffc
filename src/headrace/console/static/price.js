// What tokens cost: integers, rounded once and half up, as the ledger does it.

const MICROS = 1_000_000; // of a dollar; and tokens of a price

/** A model's price from `GET /v1/models?format=openrouter`: micro-dollars for a million tokens. */
export function priceOf(pricing) {
  const micros = (dollars) => Math.round(Number(dollars ?? 0) * MICROS * MICROS);
  return {
    input: micros(pricing?.prompt),
    cached: micros(pricing?.input_cache_read),
    output: micros(pricing?.completion),
  };
}

export function isFree(price) {
  return !price.input && !price.cached && !price.output;
}

/** Micro-dollars for the usage of an answer, as the API tells it. */
export function amount(price, usage) {
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const whole =
    (usage.prompt_tokens - cached) * price.input +
    cached * price.cached +
    usage.completion_tokens * price.output;
  return Math.floor((2 * whole + MICROS) / (2 * MICROS));
}

/** Micro-dollars in words, exact. */
export function formatMicros(micros) {
  if (!micros) return "$0";
  const text = (micros / MICROS).toFixed(6);
  return `$${text.replace(/0+$/, "").replace(/\.$/, "")}`;
}

/** A price for a million tokens. */
export function formatPerMillion(micros) {
  return micros ? `$${(micros / MICROS).toLocaleString("en", { maximumFractionDigits: 6 })}` : "free";
}
