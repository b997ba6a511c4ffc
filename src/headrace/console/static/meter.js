// How fast an answer comes, as this page sees it.
//
// First token: asked to first text. Speed: (tokens - 1) / (last - first token). A text event counts
// as one token until the server says how many there were.

const TOKENS_PER_POINT = 4; // of the pace curve, on average
const MAX_POINTS = 60;

export class Meter {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.asked = now();
    this.first = null;
    this.last = null;
    this.tokens = 0;
    this.arrivals = []; // ms after the first token
    this.engineSpeed = null; // as the server timed itself
  }

  /** A token has come. */
  token() {
    this.last = this.now();
    this.first ??= this.last;
    this.tokens += 1;
    this.arrivals.push(this.last - this.first);
  }

  /** The server's own count, and its own clock. */
  settle(usage, timeInfo) {
    this.tokens = usage.completion_tokens;
    const elapsed = timeInfo?.completion_time;
    this.engineSpeed = elapsed > 0 ? (this.tokens - 1) / elapsed : null;
  }

  get ttftMs() {
    return this.first === null ? null : this.first - this.asked;
  }

  /** Tokens per second, or null before the second token. */
  get speed() {
    const elapsed = this.last - this.first;
    return elapsed > 0 ? ((this.tokens - 1) / elapsed) * 1000 : null;
  }

  /** Points of the pace curve, 0..1, oldest first: tokens that came in equal stretches of time. */
  get pace() {
    const elapsed = this.last - this.first;
    const points = Math.min(MAX_POINTS, Math.floor(this.arrivals.length / TOKENS_PER_POINT));
    if (points < 2 || elapsed <= 0) return [];
    const counts = new Array(points).fill(0);
    for (const at of this.arrivals) counts[Math.min(points - 1, Math.floor((at / elapsed) * points))] += 1;
    const top = Math.max(...counts);
    return counts.map((count) => count / top);
  }
}

export function formatSpeed(speed) {
  if (speed === null) return "–";
  return speed < 10 ? speed.toFixed(1) : Math.round(speed).toLocaleString("en");
}

export function formatMs(ms) {
  if (ms === null) return "–";
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
