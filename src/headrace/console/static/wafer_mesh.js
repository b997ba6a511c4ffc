// The mesh as a picture: regions and their fill once, and over them what moves now.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draws a replay on a canvas. */
export class MeshView {
  constructor(canvas) {
    this.canvas = canvas;
    this.replay = null;
  }

  /** Takes another replay; the next `draw` shows it. */
  show(replay) {
    this.replay = replay;
    this.resize();
  }

  /** Fits the canvas to its place, sharp on any screen. */
  resize() {
    if (!this.replay) return;
    const { columns, rows } = this.replay;
    const width = this.canvas.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    this.cell = (width * ratio) / columns;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(this.cell * rows);
    this.ratio = ratio;
    this.colours = Object.fromEntries(
      ["--accent", "--ink", "--raised", "--line", "--relays", "--hops", "--issue"].map((name) => [
        name.slice(2),
        colour(name),
      ]),
    );
    this.base = this.drawBase();
  }

  /** What stays: cores, regions, names. */
  drawBase() {
    const base = document.createElement("canvas");
    base.width = this.canvas.width;
    base.height = this.canvas.height;
    const pen = base.getContext("2d");
    const { cell, colours } = this;
    for (const region of this.replay.regions) {
      const { x, y, columns, rows } = region.rectangle;
      pen.globalAlpha = 0.08 + 0.6 * region.fill;
      pen.fillStyle = colours.accent;
      pen.fillRect(x * cell, y * cell, columns * cell, rows * cell);
    }
    if (cell > 4 * this.ratio) this.drawGrid(pen);
    pen.globalAlpha = 1;
    for (const region of this.replay.regions) this.drawEdge(pen, region);
    return base;
  }

  drawGrid(pen) {
    const { columns, rows } = this.replay;
    pen.globalAlpha = 0.55;
    pen.strokeStyle = this.colours.raised;
    pen.lineWidth = this.ratio;
    pen.beginPath();
    for (let x = 1; x < columns; x += 1) {
      pen.moveTo(x * this.cell, 0);
      pen.lineTo(x * this.cell, rows * this.cell);
    }
    for (let y = 1; y < rows; y += 1) {
      pen.moveTo(0, y * this.cell);
      pen.lineTo(columns * this.cell, y * this.cell);
    }
    pen.stroke();
  }

  drawEdge(pen, region) {
    const { x, y, columns, rows } = region.rectangle;
    pen.strokeStyle = this.colours.raised;
    pen.lineWidth = 3 * this.ratio;
    pen.strokeRect(x * this.cell, y * this.cell, columns * this.cell, rows * this.cell);
  }

  drawName(pen, region) {
    const { x, y, columns, rows } = region.rectangle;
    const { cell, ratio } = this;
    pen.fillStyle = this.colours.ink;
    pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    const names = region.stages;
    const title = names.length > 2 ? `${names[0]} to ${names.at(-1)}` : names.join(", ");
    const room = columns * cell - 12 * ratio;
    pen.fillText(title, x * cell + 7 * ratio, y * cell + 7 * ratio, room);
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    const sizes = `${columns} x ${rows} cores, ${Math.round(100 * region.fill)} % full`;
    pen.fillText(sizes, x * cell + 7 * ratio, y * cell + 23 * ratio, room);
  }

  /** The mesh while `step` is `part` (0 to 1) done; `before`: the region it comes from. */
  draw(step, part, before) {
    const pen = this.canvas.getContext("2d");
    pen.globalAlpha = 1;
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.base, 0, 0);
    const region = this.replay.regions[step.region].rectangle;
    pen.strokeStyle = this.colours.ink;
    pen.lineWidth = 2 * this.ratio;
    pen.strokeRect(
      region.x * this.cell,
      region.y * this.cell,
      region.columns * this.cell,
      region.rows * this.cell,
    );
    if (step.kind === "vectors") this.drawVectors(pen, region, part);
    if (step.kind === "reduction") this.drawReduction(pen, region, step, part);
    if (step.kind === "multicast") this.drawSweep(pen, region, step.axis, 0, part);
    if (step.kind === "passage") this.drawPassage(pen, region, before, part);
    pen.globalAlpha = 1;
    for (const each of this.replay.regions) this.drawName(pen, each);
  }

  /** Every core at work on its own tile. */
  drawVectors(pen, region, part) {
    const size = this.cell * (0.15 + 0.75 * part);
    const inset = (this.cell - size) / 2;
    pen.fillStyle = this.colours.issue;
    pen.globalAlpha = 0.75;
    for (let y = region.y; y < region.y + region.rows; y += 1) {
      for (let x = region.x; x < region.x + region.columns; x += 1) {
        pen.fillRect(x * this.cell + inset, y * this.cell + inset, size, size);
      }
    }
  }

  /** Chains within groups, chains between their middles, then the result outwards. */
  drawReduction(pen, region, step, part) {
    const length = step.axis === "x" ? region.columns : region.rows;
    const groups = dealt(length, step.groups);
    const middles = groups.map(([start, end]) => start + Math.floor((end - start) / 2));
    const root = middles[Math.floor(middles.length / 2)];
    const longest = Math.max(...groups.map(([start, end]) => end - start));
    const within = Math.floor(longest / 2);
    const between = Math.floor(groups.length / 2);
    const all = within + between + 1 || 1;
    const [first, second] = [within / all, (within + between) / all];
    if (part < first) {
      const done = part / first;
      for (const [i, [start, end]] of groups.entries()) {
        this.drawFront(pen, region, step.axis, start, middles[i], done);
        this.drawFront(pen, region, step.axis, end - 1, middles[i], done);
      }
    } else if (part < second) {
      const done = (part - first) / (second - first);
      for (const middle of middles) this.drawLine(pen, region, step.axis, middle, 0.35, "relays");
      this.drawFront(pen, region, step.axis, middles[0], root, done);
      this.drawFront(pen, region, step.axis, middles.at(-1), root, done);
    } else {
      this.drawSweep(pen, region, step.axis, root, (part - second) / (1 - second));
    }
  }

  /** What moves from one place of a line to another, with its trail. */
  drawFront(pen, region, axis, from, to, done) {
    const at = from + (to - from) * done;
    for (let trail = 0; trail < 4; trail += 1) {
      const place = Math.round(at - Math.sign(to - from) * trail);
      if ((place - from) * Math.sign(to - from) < 0) break;
      this.drawLine(pen, region, axis, place, 0.95 - 0.22 * trail, "relays");
    }
  }

  /** A result that spreads from `root` both ways. */
  drawSweep(pen, region, axis, root, part) {
    const length = axis === "x" ? region.columns : region.rows;
    const reach = part * Math.max(root, length - 1 - root);
    for (let place = 0; place < length; place += 1) {
      const distance = Math.abs(place - root);
      if (distance <= reach) {
        this.drawLine(pen, region, axis, place, distance > reach - 2 ? 0.95 : 0.4, "hops");
      }
    }
  }

  /** All cores at one place of the lines along an axis. */
  drawLine(pen, region, axis, place, alpha, name) {
    pen.globalAlpha = alpha;
    pen.fillStyle = this.colours[name];
    const { cell } = this;
    if (axis === "x") {
      pen.fillRect((region.x + place) * cell, region.y * cell, cell, region.rows * cell);
    } else {
      pen.fillRect(region.x * cell, (region.y + place) * cell, region.columns * cell, cell);
    }
  }

  /** The vector on its way from region to region. */
  drawPassage(pen, region, before, part) {
    const middle = (r) => [r.x + r.columns / 2, r.y + r.rows / 2];
    const [fromX, fromY] = middle(before ?? region);
    const [toX, toY] = middle(region);
    pen.fillStyle = this.colours.hops;
    for (let trail = 0; trail < 7; trail += 1) {
      const at = Math.min(1, Math.max(0, part - trail * 0.035));
      pen.globalAlpha = 0.95 - 0.12 * trail;
      pen.beginPath();
      const radius = Math.max(5 * this.ratio, this.cell) * (1 - trail * 0.08);
      pen.arc(
        (fromX + (toX - fromX) * at) * this.cell,
        (fromY + (toY - fromY) * at) * this.cell,
        radius,
        0,
        2 * Math.PI,
      );
      pen.fill();
    }
  }
}

/** A line of `length` cut into groups as the kernels cut it: [start, end) of each. */
function dealt(length, groups) {
  const cuts = Array.from({ length: groups + 1 }, (_, i) => Math.floor((i * length) / groups));
  return cuts.slice(1).map((end, i) => [cuts[i], end]);
}
