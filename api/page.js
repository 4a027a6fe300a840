"use strict";
// The report of one plan. Everything that is drawn comes from the JSON in #data; nothing is fetched.

const GUTTER = 118, ROW = 18, LEAF = 16;
const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

async function load() {
  const packed = Uint8Array.from(atob($("data").textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// ---- numbers for people -------------------------------------------------------------------------------------------
function scaled(value, steps, unit) {
  const size = Math.abs(value);
  for (const [scale, prefix] of steps) if (size >= scale) return +(value / scale).toPrecision(4) + " " + prefix + unit;
  return value === 0 ? "0 " + unit : +(value / steps.at(-1)[0]).toPrecision(4) + " " + steps.at(-1)[1] + unit;
}
const bytes = n => scaled(n, [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]], "B");
const seconds = s => scaled(s, [[1, ""], [1e-3, "m"], [1e-6, "u"], [1e-9, "n"]], "s");
const rate = r => bytes(r) + "/s";
const escaped = text => text.replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" }[c]));

/** Index of the last element of a rising array that is at most `value`; -1 if there is none. */
function lastAtMost(rising, value) {
  let low = 0, high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] <= value) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/** Boxes over steps and bytes, found by place: a tree over boxes sorted by start and offset. */
class Boxes {
  constructor(order, start, stop, low, high) {
    Object.assign(this, { order, start, stop, low, high });
    this.levels = [];
    for (let n = Math.ceil(order.length / LEAF), below = null; n > 0; below = this.levels.at(-1), n = n > 1 ? Math.ceil(n / LEAF) : 0) {
      const level = [];
      for (let node = 0; node < n; node++) {
        const box = [Infinity, -Infinity, Infinity, -Infinity], last = Math.min((node + 1) * LEAF, below ? below.length : order.length);
        for (let i = node * LEAF; i < last; i++) {
          const of = below ? below[i] : [start[order[i]], stop[order[i]], low[order[i]], high[order[i]]];
          box[0] = Math.min(box[0], of[0]); box[1] = Math.max(box[1], of[1]);
          box[2] = Math.min(box[2], of[2]); box[3] = Math.max(box[3], of[3]);
        }
        level.push(box);
      }
      this.levels.push(level);
    }
  }

  /** Call `each(i)` for boxes that meet [x0, x1) x [y0, y1); where `coarse(box, i)` is true, not for those below it. */
  within(x0, x1, y0, y1, each, coarse = () => false) {
    const meets = box => box[0] < x1 && box[1] > x0 && box[2] < y1 && box[3] > y0;
    const walk = (level, node) => {
      const box = this.levels[level][node];
      if (!meets(box) || coarse(box, this.order[node * LEAF ** (level + 1)])) return;
      const last = Math.min((node + 1) * LEAF, level ? this.levels[level - 1].length : this.order.length);
      for (let i = node * LEAF; i < last; i++) {
        if (level) walk(level - 1, i);
        else {
          const r = this.order[i];
          if (this.start[r] < x1 && this.stop[r] > x0 && this.low[r] < y1 && this.high[r] > y0) each(r);
        }
      }
    };
    const top = this.levels.length - 1;
    if (top >= 0) for (let node = 0; node < this.levels[top].length; node++) walk(top, node);
  }
}

/** Bytes of a tier on a scale on which long stretches that nothing ever uses are short. */
class Folded {
  constructor(taken, capacity, kept) {
    taken = [...taken, ...(kept < capacity ? [[kept, capacity]] : [])].sort((a, b) => a[0] - b[0]);
    const runs = []; // what is used at some time, joined
    for (const [low, high] of taken) {
      if (runs.length && low <= runs.at(-1)[1]) runs.at(-1)[1] = Math.max(runs.at(-1)[1], high); else runs.push([low, high]);
    }
    const used = runs.reduce((sum, [low, high]) => sum + high - low, 0) || capacity;
    this.bytes = [0]; this.place = [0]; this.folds = [];
    const stretch = (until, isFree) => {
      const length = until - this.bytes.at(-1), folded = isFree && length > 0.3 * used;
      if (length <= 0) return;
      if (folded) this.folds.push([this.bytes.at(-1), until]);
      this.place.push(this.place.at(-1) + (folded ? 0.08 * used : length));
      this.bytes.push(until);
    };
    for (const [low, high] of runs) { stretch(low, true); stretch(high, false); }
    stretch(capacity, true);
    this.length = this.place.at(-1);
  }

  static between(value, from, to) {
    const i = Math.max(0, Math.min(from.length - 2, lastAtMost(from, value)));
    return to[i] + (value - from[i]) / (from[i + 1] - from[i]) * (to[i + 1] - to[i]);
  }

  /** From bytes to places on the scale, and back. */
  at(bytes) { return Folded.between(bytes, this.bytes, this.place); }
  bytesAt(place) { return Folded.between(place, this.place, this.bytes); }
}

/** Entries of each group, one behind the other: `of(g)` lists those of group g. */
function grouped(groups, n) {
  const at = new Uint32Array(n + 1);
  for (const g of groups) at[g + 1]++;
  for (let g = 0; g < n; g++) at[g + 1] += at[g];
  const entries = new Uint32Array(groups.length), next = at.slice();
  groups.forEach((g, i) => { entries[next[g]++] = i; });
  return { of: g => entries.subarray(at[g], at[g + 1]) };
}

function start(D) {
  const S = D.steps.name.length, R = D.res.tensor.length, T = D.time_s;
  const edges = [...D.steps.begin, T]; // when each step begins, and the end
  const res = D.res;
  res.end = res.offset.map((o, r) => o + Math.max(D.size[res.tensor[r]], 1e-9));
  const accessStep = new Uint32Array(D.access.tensor.length);
  for (let t = 0; t < S; t++) accessStep.fill(t, D.access.start[t], D.access.start[t + 1]);
  const ofTensor = { access: grouped(D.access.tensor, D.size.length), copy: grouped(D.copy.tensor, D.size.length), res: grouped(res.tensor, D.size.length) };
  const tiers = D.tiers.map((tier, k) => {
    const order = res.tier.flatMap((of, r) => of === k ? [r] : []);
    order.sort((a, b) => res.start[a] - res.start[b] || res.offset[a] - res.offset[b]);
    const load = new Float64Array(S + 1);
    for (const r of order) { load[res.start[r]] += D.size[res.tensor[r]]; load[res.stop[r]] -= D.size[res.tensor[r]]; }
    for (let t = 1; t <= S; t++) load[t] += load[t - 1];
    const scale = new Folded(order.map(r => [res.offset[r], res.end[r]]), tier.capacity, tier.usable - tier.reserved);
    return { ...tier, order, load, scale, y0: 0, y1: scale.length, boxes: new Boxes(order, res.start, res.stop, res.offset, res.end), used: order.length > 0 };
  });
  const view = { x0: 0, x1: T || 1, byTime: T > 0, marked: -1, step: -1 };
  if (!view.byTime) { view.x1 = S; $("by-time").disabled = true; }

  // ---- from steps and seconds to pixels ---------------------------------------------------------------------------
  const full = () => view.byTime ? T : S;
  const width = canvas => canvas.clientWidth - GUTTER;
  const ofStep = t => view.byTime ? edges[t] : t;
  const px = (canvas, x) => GUTTER + (x - view.x0) / (view.x1 - view.x0) * width(canvas);
  const stepAt = x => view.byTime ? Math.max(0, Math.min(S - 1, lastAtMost(edges, x))) : Math.max(0, Math.min(S - 1, Math.floor(x)));
  const xAt = (canvas, at) => view.x0 + (at - GUTTER) / width(canvas) * (view.x1 - view.x0);

  // ---- lanes ------------------------------------------------------------------------------------------------------
  const rows = [{ name: "compute", kind: "step" }];
  if (D.steps.wait.some(w => w > 0)) rows.push({ name: "stalls", kind: "stall" });
  D.links.forEach((link, j) => {
    const mine = D.copy.link.flatMap((of, i) => of === j ? [i] : []).sort((a, b) => D.copy.begin[a] - D.copy.begin[b]);
    const lanes = [];
    for (const i of mine) {
      let lane = lanes.find(l => l.until <= D.copy.begin[i] + 1e-12);
      if (!lane) { if (lanes.length < 8) lanes.push(lane = { items: [], until: 0 }); else lane = lanes.at(-1); }
      lane.items.push(i); lane.until = D.copy.end[i];
    }
    lanes.forEach((lane, n) => rows.push({ name: n ? "" : link.name, kind: "copy", items: lane.items, begins: lane.items.map(i => D.copy.begin[i]) }));
  });
  const lanes = [];
  const lane = (height, draw, at, tier = null) => {
    const canvas = document.createElement("canvas");
    canvas.style.height = height + "px";
    $("lanes").append(canvas);
    lanes.push({ canvas, height, draw, at, tier });
  };
  lane(rows.length * (ROW + 4) + 24, drawRows, rowAt);
  tiers.forEach(tier => lane(tier.used ? (tiers.filter(t => t.used).length > 2 ? 200 : 260) : 30, (c, g) => drawTier(tier, c, g), (c, x, y) => tierAt(tier, c, x, y), tier));
  tiers.forEach((tier, k) => { lanes[k + 1].canvas.dataset.tier = tier.name; });
  lanes[0].canvas.dataset.lane = "timeline";

  function limitColour(code) {
    return css(code === 0 ? "by-compute" : code <= tiers.length ? "by-tier" : "by-link");
  }

  function label(g, text, y, bold = false, colour = "text") {
    g.fillStyle = css(colour); g.font = (bold ? "600 " : "") + "12px system-ui, sans-serif"; g.textBaseline = "middle"; g.textAlign = "left";
    let shown = text;
    while (shown.length > 3 && g.measureText(shown).width > GUTTER - 12) shown = shown.slice(0, -2).trimEnd() + "\u2026";
    g.fillText(shown, 2, y);
  }

  function axis(canvas, g, y) {
    const n = Math.max(2, Math.floor(width(canvas) / 130));
    g.font = "11px system-ui, sans-serif"; g.fillStyle = css("soft"); g.textAlign = "center"; g.textBaseline = "top";
    for (let i = 0; i <= n; i++) {
      const x = view.x0 + (view.x1 - view.x0) * i / n, at = px(canvas, x);
      g.textAlign = i === 0 ? "left" : i === n ? "right" : "center";
      g.fillText(view.byTime ? seconds(x) : "step " + Math.round(x), at, y);
    }
  }

  function drawRows(canvas, g) {
    const first = stepAt(view.x0), last = stepAt(view.x1);
    const colours = new Map(), colour = code => colours.get(code) ?? (colours.set(code, limitColour(code)), colours.get(code));
    rows.forEach((row, n) => {
      const y = n * (ROW + 4), right = canvas.clientWidth;
      label(g, row.name, y + ROW / 2);
      g.fillStyle = css("free"); g.fillRect(GUTTER, y, right - GUTTER, ROW);
      if (row.kind === "copy") {
        let until = -1;
        for (const i of row.items) for (const [from, to] of spans(i)) {
          const a = Math.max(GUTTER, px(canvas, from)), b = Math.min(right, Math.max(px(canvas, to), a + 1));
          if (to < view.x0 || from > view.x1 || b <= until) continue;
          g.fillStyle = D.copy.tensor[i] === view.marked ? css("mark") : css(D.links[D.copy.link[i]].inward ? "fetch" : "evict");
          g.fillRect(a, y, Math.max(1, b - a - (b - a > 4 ? 1 : 0)), ROW); until = b;
          if (b - a > 60) inside(g, D.names[D.copy.tensor[i]], a, y, b - a, ROW);
        }
        return;
      }
      let until = -1;
      for (let t = first; t <= last; t++) {
        const begin = view.byTime ? D.steps.begin[t] : t, end = view.byTime ? D.steps.end[t] : t + 1;
        const stall = row.kind === "stall";
        if (stall && !D.steps.wait[t]) continue;
        const a = Math.max(GUTTER, px(canvas, stall && view.byTime ? begin - D.steps.wait[t] : begin)), b = Math.min(right, px(canvas, stall && view.byTime ? begin : end));
        if (b <= until && b - a < 1) continue;
        g.fillStyle = t === view.step ? css("mark") : stall ? css("stall") : colour(D.steps.limit[t]);
        const w = Math.max(stall ? 1 : 0.6, b - a - (b - a > 4 ? 1 : 0));
        g.fillRect(a, y, w, ROW); until = a + w;
        if (w > 60 && !stall) inside(g, D.steps.name[t], a, y, w, ROW);
      }
    });
    axis(canvas, g, rows.length * (ROW + 4) + 4);
  }

  /** Where a copy is on the axis: one span, or two if it goes on in the next turn. */
  function spans(i) {
    const [from, to] = view.byTime ? [D.copy.begin[i], D.copy.end[i]] : [D.copy.start[i], D.copy.done[i]];
    return to > full() ? [[from, full()], [0, to - full()]] : [[from, to]];
  }

  function inside(g, text, x, y, w, h) {
    g.save(); g.beginPath(); g.rect(x, y, w - 4, h); g.clip();
    g.fillStyle = "#fff"; g.font = "11px system-ui, sans-serif"; g.textBaseline = "middle"; g.textAlign = "left";
    g.fillText(text, x + 4, y + h / 2 + 0.5); g.restore();
  }

  const py = (tier, height, b) => height - (tier.scale.at(b) - tier.y0) / (tier.y1 - tier.y0) * height;

  function drawTier(tier, canvas, g) {
    const height = canvas.clientHeight, right = canvas.clientWidth;
    label(g, tier.name, 8, true);
    g.fillStyle = css("free"); g.fillRect(GUTTER, 0, right - GUTTER, height);
    if (!tier.used) {
      label(g, tier.reserved ? "by choices:" : "nothing lies here", 23, false, "soft");
      if (tier.reserved) { g.textAlign = "left"; g.fillText(bytes(tier.reserved) + " reserved by the alternatives that the plan takes, and nothing else", GUTTER + 6, height / 2); }
      return;
    }
    const peak = tier.load.reduce((most, b) => Math.max(most, b), 0) + tier.reserved;
    [bytes(tier.capacity), "peak " + bytes(peak), "(" + (100 * peak / tier.capacity).toPrecision(3) + "%)"].forEach((line, i) => label(g, line, 26 + 15 * i, false, "soft"));
    if (tier.reserved) label(g, "choices " + bytes(tier.reserved), 71, false, "soft");
    if (tier.y1 - tier.y0 < tier.scale.length * 0.999) {
      label(g, bytes(tier.scale.bytesAt(tier.y0)) + " to", height - 24, false, "soft"); label(g, bytes(tier.scale.bytesAt(tier.y1)), height - 9, false, "soft");
    }
    g.save(); g.beginPath(); g.rect(GUTTER, 0, right - GUTTER, height); g.clip();
    const kinds = D.kinds.map(kind => css(kind) || css("constant"));
    const box = (x0, x1, y0, y1) => [px(canvas, ofStep(x0)), px(canvas, ofStep(x1)), py(tier, height, y1), py(tier, height, y0)];
    const paint = r => {
      const [a, b, c, d] = box(res.start[r], res.stop[r], res.offset[r], res.end[r]);
      const left = Math.max(a, GUTTER - 2), w = Math.max(Math.min(b, right + 2) - left, 0.7), h = Math.max(d - c, 0.7), x = res.tensor[r];
      g.fillStyle = x === view.marked ? css("mark") : kinds[D.kind[x]];
      g.globalAlpha = x === view.marked ? 1 : x % 2 ? 1 : 0.84;
      const gap = w > 5 && h > 5 ? 0.6 : 0;
      g.fillRect(left, c, w - gap, h - gap);
      g.globalAlpha = 1;
      if (w > 70 && h > 13) inside(g, D.names[x], left, c, w, Math.min(h, 40));
    };
    const coarse = (bounds, first) => {
      const [a, b, c, d] = box(...bounds);
      if (b - a > 1.5 || d - c > 1.5) return false;
      g.fillStyle = kinds[D.kind[res.tensor[first]]]; g.fillRect(a, c, Math.max(b - a, 0.8), Math.max(d - c, 0.8));
      return true;
    };
    tier.boxes.within(stepAt(view.x0), stepAt(view.x1) + 1, tier.scale.bytesAt(tier.y0), tier.scale.bytesAt(tier.y1), paint, coarse);
    if (view.marked >= 0) for (const r of ofTensor.res.of(view.marked)) if (tiers[res.tier[r]] === tier) {
      paint(r);
      const [a, b, c, d] = box(res.start[r], res.stop[r], res.offset[r], res.end[r]);
      g.strokeStyle = css("mark"); g.lineWidth = 2; g.strokeRect(a, Math.min(c, height - 2), Math.max(b - a, 2), Math.max(d - c, 2));
    }
    for (const [low, high] of tier.scale.folds) {
      const c = py(tier, height, high), d = py(tier, height, low);
      if (d < 0 || c > height) continue;
      g.strokeStyle = css("line"); g.lineWidth = 1; g.beginPath();
      for (let x = GUTTER - 20; x < right; x += 9) { g.moveTo(x, d); g.lineTo(x + (d - c), c); }
      g.stroke();
      g.fillStyle = css("soft"); g.font = "11px system-ui, sans-serif"; g.textBaseline = "middle"; g.textAlign = "center";
      const text = bytes(high - low) + " that nothing ever uses", w = g.measureText(text).width + 16, middle = (GUTTER + right) / 2;
      g.clearRect(middle - w / 2, (c + d) / 2 - 8, w, 16); g.fillText(text, middle, (c + d) / 2);
    }
    const kept = [[tier.usable - tier.reserved, tier.usable, "choices"], [tier.usable, tier.capacity, "line"]];
    for (const [low, high, colour] of kept) if (high > low && tier.scale.at(high) > tier.y0) {
      g.fillStyle = css(colour); g.globalAlpha = 0.75;
      const c = py(tier, height, high), d = py(tier, height, low);
      g.fillRect(GUTTER, c, right - GUTTER, d - c); g.globalAlpha = 1;
      if (d - c > 14) inside(g, colour === "choices" ? "reserved by choices" : "kept for tiles of operations", GUTTER, c, 300, d - c);
    }
    g.restore();
  }

  // ---- what lies under the pointer --------------------------------------------------------------------------------
  function tierAt(tier, canvas, x, y) {
    const step = stepAt(xAt(canvas, x)), place = tier.y0 + (1 - y / canvas.clientHeight) * (tier.y1 - tier.y0), at = tier.scale.bytesAt(place);
    const near = tier.scale.bytesAt(place + (tier.y1 - tier.y0) / canvas.clientHeight) - at; // a pixel
    let found = -1, distance = Infinity;
    tier.boxes.within(step, step + 1, at - near, at + near, r => {
      const off = Math.max(res.offset[r] - at, at - res.end[r], 0);
      if (off < distance) { distance = off; found = r; }
    });
    if (found >= 0) return { tensor: res.tensor[found], html: residency(found) };
    if (!tier.used) return null;
    const free = tier.usable - tier.reserved - tier.load[step];
    return { tensor: -1, html: `<p><b>${escaped(tier.name)}</b> at step ${step} (${escaped(D.steps.name[step])})</p><p>${at > tier.usable ? "kept for tiles of operations" : at > tier.usable - tier.reserved ? "reserved by the alternatives that the plan takes" : "free here"}; ${bytes(tier.load[step] + tier.reserved)} in use, ${bytes(free)} free</p>` };
  }

  function rowAt(canvas, x, y) {
    const row = rows[Math.floor(y / (ROW + 4))];
    if (!row) return null;
    const at = xAt(canvas, x), pixel = (view.x1 - view.x0) / width(canvas);
    if (row.kind === "copy") {
      const here = row.items.filter(i => spans(i).some(([from, to]) => from - pixel <= at && at <= to + pixel));
      return here.length ? { tensor: D.copy.tensor[here[0]], html: copy(here[0]) } : null;
    }
    let step = stepAt(at);
    if (row.kind === "stall") { // the wait lies before the step
      for (const t of [step, step + 1]) if (t < S && D.steps.wait[t] > 0 && (!view.byTime || D.steps.begin[t] - D.steps.wait[t] - pixel <= at)) return { tensor: -1, step: t, html: aboutStep(t) };
      return null;
    }
    return { tensor: -1, step, html: aboutStep(step) };
  }

  const limitName = code => code === 0 ? "compute" : code <= tiers.length ? "tier " + tiers[code - 1].name : "link " + D.links[code - 1 - tiers.length].name;
  const stepName = t => t >= S ? "the end" : `step ${t} (${escaped(D.steps.name[t])})`;

  function aboutStep(t) {
    const wait = D.steps.wait[t], on = D.steps.waited[t], used = [];
    for (let a = D.access.start[t]; a < D.access.start[t + 1]; a++) used.push(`${escaped(D.names[D.access.tensor[a]])}: ${bytes(D.access.read[a] + D.access.write[a])} in ${escaped(tiers[D.access.tier[a]].name)}`);
    return `<p><b>${escaped(D.steps.name[t])}</b>, step ${t}</p><p>${seconds(D.steps.begin[t])} to ${seconds(D.steps.end[t])}: ${seconds(D.steps.end[t] - D.steps.begin[t])}, limited by ${escaped(limitName(D.steps.limit[t]))}</p>`
      + (wait > 0 ? `<p>waited ${seconds(wait)}${on >= 0 ? ` for ${escaped(D.names[D.copy.tensor[on]])} to come from ${escaped(tiers[D.copy.source[on]].name)}` : ""}</p>` : "")
      + `<p>${used.slice(0, 8).join("<br>")}${used.length > 8 ? `<br>and ${used.length - 8} more` : ""}</p>`;
  }

  function copy(i) {
    const size = D.size[D.copy.tensor[i]], took = D.copy.end[i] - D.copy.begin[i], done = D.copy.done[i];
    return `<p><b>${escaped(D.names[D.copy.tensor[i]])}</b>, ${bytes(size)}</p><p>copied from ${escaped(tiers[D.copy.source[i]].name)} to ${escaped(tiers[D.copy.target[i]].name)}: ${seconds(D.copy.begin[i])} to ${seconds(D.copy.end[i])}, ${seconds(took)}${took > 0 ? " at " + rate(size / took) : ""}</p><p>needed before ${done > S ? stepName(done - S) + " of the next turn" : stepName(done)}</p>`;
  }

  /** Why a tensor lies where it does, from the plan itself. */
  function residency(r) {
    const x = res.tensor[r], k = res.tier[r], tier = tiers[k], from = res.start[r], until = res.stop[r], copies = [...ofTensor.copy.of(x)];
    const came = copies.find(i => D.copy.target[i] === k && D.copy.start[i] % S === from % S);
    const went = copies.find(i => D.copy.source[i] === k && D.copy.start[i] >= from && D.copy.start[i] < until && D.copy.done[i] >= until);
    const uses = [...ofTensor.access.of(x)].filter(a => accessStep[a] >= from && accessStep[a] < until && D.access.tier[a] === k);
    const made = uses.find(a => accessStep[a] === from && D.access.mode[a] === 2);
    const read = uses.reduce((sum, a) => sum + D.access.read[a], 0), write = uses.reduce((sum, a) => sum + D.access.write[a], 0);
    const stream = other => read / other.read + write / other.write;
    const lines = [];
    lines.push(came !== undefined ? `came from ${escaped(tiers[D.copy.source[came]].name)}, for ${D.copy.done[came] > S ? "the next turn" : stepName(D.copy.done[came])}` : made !== undefined && from === 0 ? "made here by " + stepName(0) : from === 0 ? "lies here from the beginning" : made !== undefined ? "made here by " + stepName(from) : "here since " + stepName(from));
    lines.push(until >= S ? "stays to the end" : went !== undefined ? `goes to ${escaped(tiers[D.copy.target[went]].name)} during steps ${D.copy.start[went]} to ${D.copy.done[went]}` : "given up after its last use, before " + stepName(until));
    let why;
    if (uses.length) {
      why = `used ${uses.length} time${uses.length > 1 ? "s" : ""} here, ${bytes(read + write)} in ${seconds(stream(tier))} of bandwidth`;
      const slower = tiers.slice(k + 1).find(other => other.direct), faster = tiers.slice(0, k).filter(other => other.direct).at(-1);
      if (slower && stream(slower) > stream(tier)) why += `; from ${escaped(slower.name)} it would take ${seconds(stream(slower))}`;
      if (faster) {
        let least = Infinity;
        for (let t = from; t < Math.min(until, S); t++) least = Math.min(least, faster.usable - faster.reserved - faster.load[t]);
        why += `. ${escaped(faster.name)} would take ${seconds(stream(faster))}, but has ${least < D.size[x] ? "only " : ""}${bytes(Math.max(0, least))} free at its fullest meanwhile`;
      }
    } else why = tier.direct ? "no operation uses it here: it waits, or passes through" : "operations cannot use what lies here: it waits to be copied";
    return `<p><b>${escaped(D.names[x])}</b>, ${escaped(D.kinds[D.kind[x]])}, ${bytes(D.size[x])}</p>`
      + `<p>${escaped(tier.name)}, bytes ${res.offset[r].toLocaleString("en")} to ${(res.offset[r] + D.size[x]).toLocaleString("en")}<br>steps ${from} to ${until} of ${S}, ${seconds(edges[Math.min(until, S)] - edges[from])} (${seconds(edges[from])} to ${seconds(edges[Math.min(until, S)])})</p>`
      + `<p>${lines.join("; ")}</p><p>${why}</p>`;
  }

  // ---- drawing and moving -----------------------------------------------------------------------------------------
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const ratio = devicePixelRatio || 1;
      for (const { canvas, height, draw } of lanes) {
        canvas.width = canvas.clientWidth * ratio; canvas.height = height * ratio;
        const g = canvas.getContext("2d");
        g.scale(ratio, ratio);
        draw(canvas, g);
      }
      const shown = view.byTime ? `${seconds(view.x0)} to ${seconds(view.x1)} of ${seconds(T)}` : `steps ${Math.floor(view.x0)} to ${Math.ceil(view.x1)} of ${S}`;
      $("range").textContent = "showing " + shown;
    });
  }

  function zoom(about, factor) {
    const least = full() / Math.max(1e6, S * 50), x0 = about + (view.x0 - about) * factor, x1 = about + (view.x1 - about) * factor;
    if (x1 - x0 < least) return;
    show(x0, x1);
  }

  function show(x0, x1) {
    const span = Math.min(x1 - x0, full());
    view.x0 = Math.max(0, Math.min(x0, full() - span)); view.x1 = view.x0 + span;
    redraw();
  }

  function reset() {
    view.x0 = 0; view.x1 = full(); view.marked = view.step = -1;
    for (const tier of tiers) { tier.y0 = 0; tier.y1 = tier.scale.length; }
    mark(-1);
  }

  function mark(x) {
    view.marked = x;
    for (const row of document.querySelectorAll("#tensors tbody tr")) row.classList.toggle("on", +row.dataset.tensor === x);
    redraw();
  }

  let dragged = null;
  for (const { canvas, at, tier } of lanes) {
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      const delta = event.deltaY || event.deltaX, factor = Math.exp(Math.sign(delta) * Math.min(Math.abs(delta), 200) / 400);
      if (event.shiftKey && tier) {
        const about = tier.y0 + (1 - event.offsetY / canvas.clientHeight) * (tier.y1 - tier.y0), span = Math.min((tier.y1 - tier.y0) * factor, tier.scale.length);
        tier.y0 = Math.max(0, Math.min(tier.scale.length - span, about - (about - tier.y0) * span / (tier.y1 - tier.y0))); tier.y1 = tier.y0 + span;
        redraw();
      } else zoom(xAt(canvas, event.offsetX), factor);
      hide();
    }, { passive: false });
    canvas.addEventListener("pointerdown", event => {
      dragged = { canvas, tier, x: event.offsetX, y: event.offsetY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", event => {
      if (dragged?.canvas === canvas) {
        const dx = event.offsetX - dragged.x, dy = event.offsetY - dragged.y;
        if (dragged.moved || Math.abs(dx) + Math.abs(dy) > 3) {
          dragged.moved = true;
          const per = (view.x1 - view.x0) / width(canvas);
          show(view.x0 - dx * per, view.x1 - dx * per);
          if (tier && tier.y1 - tier.y0 < tier.scale.length) {
            const up = dy * (tier.y1 - tier.y0) / canvas.clientHeight, y0 = Math.max(0, Math.min(tier.y0 + up, tier.scale.length - (tier.y1 - tier.y0)));
            tier.y1 += y0 - tier.y0; tier.y0 = y0;
          }
          dragged.x = event.offsetX; dragged.y = event.offsetY;
          hide();
          return;
        }
      }
      const found = event.offsetX >= GUTTER ? at(canvas, event.offsetX, event.offsetY) : null;
      if (found) tip(found.html, event); else hide();
    });
    canvas.addEventListener("pointerup", event => {
      if (dragged && !dragged.moved && event.offsetX >= GUTTER) { const found = at(canvas, event.offsetX, event.offsetY); view.step = found?.step ?? -1; mark(found ? found.tensor : -1); }
      dragged = null;
    });
    canvas.addEventListener("pointerleave", hide);
    canvas.addEventListener("dblclick", reset);
  }

  function tip(html, event) {
    const box = $("tip");
    box.innerHTML = html; box.hidden = false;
    const x = event.clientX + 16, y = event.clientY + 16;
    box.style.left = Math.max(4, Math.min(x, innerWidth - box.offsetWidth - 8)) + "px";
    box.style.top = Math.max(4, y + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 12 : y) + "px";
  }
  function hide() { $("tip").hidden = true; }

  $("reset").addEventListener("click", reset);
  for (const [id, byTime] of [["by-time", true], ["by-step", false]]) $(id).addEventListener("click", () => {
    if (view.byTime === byTime) return;
    const to = byTime ? x => edges[Math.floor(x)] + (x % 1) * ((edges[Math.floor(x) + 1] ?? T) - edges[Math.floor(x)]) : x => { const t = stepAt(x); return t + Math.min(1, (x - edges[t]) / ((edges[t + 1] - edges[t]) || 1)); };
    const [x0, x1] = [to(view.x0), to(view.x1)];
    view.byTime = byTime;
    $("by-time").classList.toggle("on", byTime); $("by-step").classList.toggle("on", !byTime);
    show(x0, Math.max(x1, x0 + full() * 1e-6));
  });

  // ---- finding ----------------------------------------------------------------------------------------------------
  const find = $("find");
  find.addEventListener("input", () => {
    const text = find.value.toLowerCase();
    const hits = text.length < 2 ? [] : D.names.filter(name => name.toLowerCase().includes(text)).slice(0, 20);
    $("found").replaceChildren(...hits.map(name => Object.assign(document.createElement("option"), { value: name })));
    const x = D.names.indexOf(find.value);
    if (x >= 0) mark(x);
  });
  find.addEventListener("change", () => {
    const text = find.value.toLowerCase(), x = D.names.findIndex(name => name.toLowerCase().includes(text));
    if (!text) { mark(-1); return; }
    if (x >= 0) { mark(x); return; }
    const t = D.steps.name.findIndex(name => name.toLowerCase().includes(text));
    if (t >= 0) { view.step = t; const a = ofStep(t), span = Math.max((view.byTime ? edges[t + 1] - edges[t] : 1) * 20, full() / 500); show(a - span / 2, a + span / 2); }
  });

  // ---- table ------------------------------------------------------------------------------------------------------
  const tensors = D.names.map((name, x) => {
    const accesses = ofTensor.access.of(x), steps = new Map();
    for (const r of ofTensor.res.of(x)) steps.set(res.tier[r], (steps.get(res.tier[r]) ?? 0) + res.stop[r] - res.start[r]);
    let streamed = 0;
    for (const a of accesses) streamed += D.access.read[a] + D.access.write[a];
    return { x, name, kind: D.kinds[D.kind[x]], size: D.size[x], where: [...steps].sort((a, b) => a[0] - b[0]).map(([k, n]) => n >= S ? tiers[k].name : `${tiers[k].name} ${Math.round(100 * n / S)}%`).join(", ") || "nowhere", uses: accesses.length, streamed, copied: ofTensor.copy.of(x).length * D.size[x] };
  });
  const columns = [["name", "tensor", true], ["kind", "kind", true], ["size", "bytes", false, bytes], ["where", "lies in, share of the steps", true], ["uses", "uses", false], ["streamed", "streamed", false, bytes], ["copied", "copied", false, bytes]];
  let sorted = "size", falling = true;
  $("tensors").tHead.innerHTML = "<tr>" + columns.map(([key, title, text]) => `<th class="${text ? "text" : ""}" data-key="${key}" scope="col">${title}</th>`).join("") + "</tr>";
  function fill() {
    const text = $("filter").value.toLowerCase();
    const hits = tensors.filter(row => !text || row.name.toLowerCase().includes(text) || row.kind.includes(text));
    const order = (a, b) => (a[sorted] < b[sorted] ? -1 : a[sorted] > b[sorted] ? 1 : 0) * (falling ? -1 : 1) || a.x - b.x;
    const top = hits.sort(order).slice(0, 300);
    $("shown").textContent = top.length < hits.length ? `the first ${top.length} of ${hits.length}` : `${hits.length}`;
    $("tensors").tBodies[0].innerHTML = top.map(row => `<tr data-tensor="${row.x}"${row.x === view.marked ? ' class="on"' : ""}>` + columns.map(([key, , isText, shown], i) => `<td class="${isText ? "text" : ""}"${i ? "" : ` title="${escaped(row.name)}"`}>${escaped(shown ? shown(row[key]) : String(row[key]))}</td>`).join("") + "</tr>").join("");
    for (const head of $("tensors").tHead.rows[0].cells) head.setAttribute("aria-sort", head.dataset.key === sorted ? (falling ? "descending" : "ascending") : "none");
  }
  $("tensors").tHead.addEventListener("click", event => {
    const key = event.target.dataset?.key;
    if (!key) return;
    falling = key === sorted ? !falling : !["name", "kind", "where"].includes(key);
    sorted = key;
    fill();
  });
  $("tensors").tBodies[0].addEventListener("click", event => {
    const row = event.target.closest("tr");
    if (row) { mark(+row.dataset.tensor === view.marked ? -1 : +row.dataset.tensor); }
  });
  $("filter").addEventListener("input", fill);
  fill();

  // ---- legend -----------------------------------------------------------------------------------------------------
  const used = [...new Set(D.kind)].map(i => [D.kinds[i], D.kinds[i]]);
  const codes = new Set(D.steps.limit);
  const limits = [["compute", "by-compute", codes.has(0)], ["a tier", "by-tier", [...codes].some(c => c > 0 && c <= tiers.length)], ["a link", "by-link", [...codes].some(c => c > tiers.length)]].filter(l => l[2]);
  const key = (name, colour) => `<span><i style="background:var(--${colour})"></i>${escaped(name)}</span>`;
  $("legend").innerHTML = "<span>tensors:</span>" + used.map(([name, colour]) => key(name, colour)).join("") + "<span>steps limited by:</span>" + limits.map(([name, colour]) => key(name, colour)).join("") + (D.steps.wait.some(w => w > 0) ? key("stall: waiting for a copy", "stall") : "")
    + (D.copy.tensor.length ? "<span>copies:</span>" + [true, false].filter(inward => D.copy.link.some(j => D.links[j].inward === inward)).map(inward => inward ? key("towards compute", "fetch") : key("away", "evict")).join("") : "");

  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
}

load().then(start).catch(error => {
  $("trouble").textContent = "This report needs a browser of 2023 or newer: " + error;
  $("trouble").hidden = false;
  console.error(error);
});
