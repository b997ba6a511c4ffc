// How fast an answer comes, as this page sees it.
//
// First token: asked to first text or thought. Speed: (tokens - 1) / (last - first token). A text event counts
// as one token until the server says how many there were.

const MAX_POINTS = 60; // of the pace curve
const FIRST_POINT_MS = 8; // what a point stands for, doubled whenever there are too many

export class Meter {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.asked = now();
    this.first = null;
    this.last = null;
    this.tokens = 0;
    this.usage = null; // as the server counted
    this.counts = []; // tokens of each stretch of time since the first one
    this.stretch = FIRST_POINT_MS;
    this.engineSpeed = null; // as the server timed itself
  }

  /** `count` tokens have come together: since the ones before them, one after the other. */
  came(count) {
    if (!count) return;
    const before = this.last;
    this.last = this.now();
    this.first ??= this.last;
    this.tokens += count;
    const apart = before === null ? 0 : (this.last - before) / count;
    for (let left = count - 1; left >= 0; left -= 1) this.mark(this.last - left * apart);
  }

  /** A token in the curve. */
  mark(time) {
    let point = Math.floor((time - this.first) / this.stretch);
    while (point >= MAX_POINTS) {
      this.widen();
      point = Math.floor((time - this.first) / this.stretch);
    }
    while (this.counts.length <= point) this.counts.push(0);
    this.counts[point] += 1;
  }

  /** The server's own count, and its own clock. */
  settle(usage, timeInfo) {
    this.usage = usage;
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
    const whole = this.counts.slice(0, -1); // the last stretch is not over
    const top = Math.max(...whole);
    return whole.length > 1 && top > 0 ? whole.map((count) => count / top) : [];
  }

  widen() {
    const pairs = Math.ceil(this.counts.length / 2);
    this.counts = Array.from(
      { length: pairs },
      (_, n) => this.counts[2 * n] + (this.counts[2 * n + 1] ?? 0),
    );
    this.stretch *= 2;
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
