// Figures as people read them. Money is whole micro-dollars; times are Unix seconds.

const DAY_S = 86_400;
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const TIME = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});
const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** Dollars: cents where that is all there is, else to the micro-dollar, so that columns line up. */
export function money(micros) {
  const [whole, rest] = (Math.abs(micros) / 1e6).toFixed(6).split(".");
  const part = rest.replace(/0000$/, "");
  return `${micros < 0 ? "−" : ""}$${Number(whole).toLocaleString("en")}.${part}`;
}

/** Micro-dollars of a figure that somebody typed; NaN for none. */
export function micros(text) {
  const figure = text.trim().replace(/^(-?)\$/, "$1");
  return /^-?\d+(\.\d{1,6})?$/.test(figure) ? Math.round(Number(figure) * 1e6) : Number.NaN;
}

export const count = (number) => number.toLocaleString("en");

/** A figure of an axis: 1.2M, 30k. */
export function short(number) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number);
}

export const date = (unix) => DATE.format(unix * 1e3);
export const time = (unix) => TIME.format(unix * 1e3);
export const utcDay = (unix) => UTC_DAY.format(unix * 1e3);

/** A stretch of time in its largest whole unit. */
export function stretch(seconds) {
  const units = [
    [DAY_S, "day"],
    [3_600, "hour"],
    [60, "minute"],
  ];
  for (const [length, name] of units) {
    if (seconds >= length) {
      const number = Math.round(seconds / length);
      return `${number} ${name}${number === 1 ? "" : "s"}`;
    }
  }
  return seconds < 10 ? `${Math.ceil(seconds * 10) / 10} s` : `${Math.ceil(seconds)} s`;
}

/** How long ago, to the minute as the server notes it. */
export function ago(unix) {
  const seconds = Date.now() / 1e3 - unix;
  return seconds < 120 ? "just now" : `${stretch(seconds)} ago`;
}
