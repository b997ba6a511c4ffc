// How fast an answer comes, as this page sees it.
//
// First token: asked to first text. Speed: (tokens - 1) / (last - first token). A text event counts
// as one token until the server says how many there were.

const SLICE_MS = 40; // one point of the pace curve

export class Meter {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.asked = now();
    this.first = null;
    this.last = null;
    this.tokens = 0;
    this.slices = [];
  }

  /** A token has come. */
  token() {
    this.last = this.now();
    this.first ??= this.last;
    this.tokens += 1;
    const slice = Math.floor((this.last - this.first) / SLICE_MS);
    while (this.slices.length <= slice) this.slices.push(0);
    this.slices[slice] += 1;
  }

  /** The server's own count. */
  settle(usage) {
    this.tokens = usage.completion_tokens;
  }

  get ttftMs() {
    return this.first === null ? null : this.first - this.asked;
  }

  /** Tokens per second, or null before the second token. */
  get speed() {
    const elapsed = this.last - this.first;
    return elapsed > 0 ? ((this.tokens - 1) / elapsed) * 1000 : null;
  }

  /** Points of the pace curve, 0..1, oldest first; an unfinished last slice is left out. */
  get pace() {
    const full = this.slices.slice(0, -1);
    const top = Math.max(...full, 1);
    return full.map((count) => count / top);
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
