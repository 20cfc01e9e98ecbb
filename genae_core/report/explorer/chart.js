// Curves against the MCMC step: a panel a latent dimension, drawn as SVG.

const W = 340, H = 224, LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 34;
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "1 4", "4 2 1 2 1 2"];
const color = (family) => `c${families.indexOf(family) % 14}`;
const BANDED = 12; // lines in a panel beyond which bands and dots would hide them
const REFERENCE = { fcd: "fcd_floor", fcd_ratio: 1 };

// Steps lie evenly in log(1 + step), so that the first ones, where most happens, have room.
function horizontal(steps) {
  const last = Math.log1p(steps[steps.length - 1] || 1);
  return (k) => LEFT + 8 + (Math.log1p(k) / last) * (W - LEFT - RIGHT - 16);
}

// Math.min takes only so many arguments: a thousand runs have more values.
const lowest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);

function vertical(values, log) {
  const scale = log ? Math.log10 : (v) => v;
  let low = scale(lowest(values)), high = scale(-lowest(values.map((v) => -v)));
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  low -= room; high += room;
  const y = (v) => TOP + ((high - scale(v)) / (high - low)) * (H - TOP - BOTTOM);
  return [y, log ? logTicks(10 ** low, 10 ** high) : ticks(low, high)];
}

function ticks(low, high) {
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const unit = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / unit); i * unit <= high; i += 1) found.push(i * unit);
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const m of [1, 2, 5]) found.push(m * 10 ** e);
  }
  const inside = found.filter((v) => v >= low && v <= high);
  return inside.length > 1 ? inside : ticks(low, high).filter((v) => v > 0);
}

const tickLabel = (v) => String(Number(v.toPrecision(3))).replace("-", "−");

function reference(settings, metric) {
  const kind = REFERENCE[metric];
  return typeof kind === "string" ? meanOf(settings.flatMap((s) => scalar(s, kind))) : kind ?? null;
}

// The choices that change curves and words; the step moves a line and the figures beneath.
const choices = () => JSON.stringify(
  ["scale", "off", "seed", "metric", "y", ...Object.keys(FACETS)].map((key) => state[key]));
let charted = null;

function drawCharts() {
  const some = shown(), metric = state.metric;
  if (charted === choices()) return;
  charted = choices();
  const place = byId("charts");
  forget(place);
  place.replaceChildren();
  const better = { low: "Lower is better. ", high: "Higher is better. ", "": "" }[metricBetter(metric)];
  const values = some.flatMap((s) => s.steps.flatMap((k) => at(s, metric, k).slice(0, 3)))
    .filter((v) => v !== null);
  const floor = reference(some, metric);
  const means = some.flatMap((s) => s.steps.map((k) => at(s, metric, k)[0])).filter((v) => v !== null);
  const least = lowest(means);
  const log = state.y === "log" && means.length > 0 && least > 0;
  const bandWord = state.seed === "mean"
    ? `Lines are means over seeds, bands 95 % intervals of the mean (Student's t; none for one seed, nor in a panel of more than ${BANDED} lines).`
    : `Seed ${state.seed} alone.`;
  byId("chart-title").textContent = `${metricName(metric) || "Metrics"} against the MCMC step`;
  byId("chart-hint").textContent = `${better}${bandWord} Steps on a log(1 + step) scale` +
    `${state.y === "log" ? (log ? ", values on a log scale" : ", values on a linear one, for some are not positive") : ""}. ` +
    `A ring marks the recommended step${floor === null ? "" : ", the dashed line real images"}.`;
  drawDashes(some);
  if (!values.length) {
    place.append(el("p", { class: "state" }, some.length
      ? `No finite value of ${metricName(metric)} is in what is shown: choose another metric.`
      : NOTHING));
    return;
  }
  // One bound for all panels, or they could not be compared.
  const bounds = [...values.filter((v) => !log || v >= least / 2), ...(floor > 0 || !log ? [floor].filter((v) => v !== null) : [])];
  const [y, marks] = vertical(bounds, log);
  const steps = stepsShown(), x = horizontal(steps);
  for (const dim of distinct(some.map((s) => s.dim))) {
    const inside = some.filter((s) => s.dim === dim);
    place.append(follow(...panel(dim, inside, { metric, x, y, marks, steps, floor, log })));
  }
}

function rest(setting) {
  return label(setting, ["family", "dim"]);
}
function dashOf(setting) {
  const kinds = once("kinds", () => distinct(shown().map(rest)));
  return DASHES[kinds.indexOf(rest(setting)) % DASHES.length];
}
function drawDashes(some) {
  const kinds = distinct(some.map(rest)).filter((kind) => kind !== "");
  byId("dashes").hidden = kinds.length < 2;
  byId("dashes").replaceChildren(...kinds.slice(0, 24).map((kind, i) => el("li", {},
    el("svg", { width: 34, height: 8, "aria-hidden": "true" },
      el("line", { x1: 0, x2: 34, y1: 4, y2: 4, class: "key", "stroke-dasharray": DASHES[i % DASHES.length] })),
    kind)));
  if (kinds.length > DASHES.length) {
    byId("dashes").append(el("li", { class: "hint" },
      `${kinds.length} kinds share ${DASHES.length} dashes: narrow the choices to tell them apart.`));
  }
}

// The panel of a latent dimension, and what moves it to a step.
function panel(dim, settings, { metric, x, y, marks, steps, floor, log }) {
  const title = `Latent dimension ${dim}`;
  const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  // Not in the drawing, which would have to be drawn again with each step.
  const here = el("div", { class: "now" });
  for (const v of marks) {
    svg.append(
      el("line", { x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v), class: "grid" }),
      el("text", { x: LEFT - 5, y: y(v) + 3.5, class: "tick end" }, tickLabel(v)));
  }
  const half = (k) => 3.2 * String(k).length + 2, last = steps[steps.length - 1];
  let free = -Infinity;
  for (const k of steps) {
    svg.append(el("line", { x1: x(k), x2: x(k), y1: H - BOTTOM, y2: H - BOTTOM + 3, class: "axis" }));
    if (k === last || (x(k) - half(k) > free && x(k) + half(k) < x(last) - half(last))) {
      svg.append(el("text", { x: x(k), y: H - BOTTOM + 14, class: "tick middle" }, k));
      free = x(k) + half(k);
    }
  }
  svg.append(
    el("line", { x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM, class: "axis" }),
    el("text", { x: x(0) - 8, y: H - 6, class: "tick" }, "no MCMC"),
    el("text", { x: W - RIGHT, y: H - 6, class: "tick end" }, "MCMC step"));
  if (floor !== null && (floor > 0 || !log)) {
    svg.append(
      el("line", { x1: LEFT, x2: W - RIGHT, y1: y(floor), y2: y(floor), class: "floor" }),
      el("text", { x: W - RIGHT, y: y(floor) - 4, class: "tick end" }, "real images"));
  }
  const bottom = H - BOTTOM;
  const banded = settings.length <= BANDED;
  for (const s of settings) svg.append(...line(s, metric, x, y, log, bottom, banded));
  const [list, update] = readings(settings, metric);
  const move = (now) => {
    here.style.transform = `translateX(${(100 * x(now)) / W}%)`;
    update(now);
    const told = settings.slice(0, 12)
      .map((s) => `${s.family} ${rest(s)}: ${withInterval(at(s, metric, now))}`);
    svg.setAttribute("aria-label", `${title}, ${metricName(metric)} after ${stepWord(now)}. ${told.join("; ")}`);
  };
  return [el("figure", {}, el("figcaption", {}, title), el("div", { class: "plot" }, svg, here), list), move];
}

function line(setting, metric, x, y, log, bottom, withBand) {
  const points = setting.steps.map((k) => [k, ...at(setting, metric, k)]);
  const known = points.filter((p) => p[1] !== null && (!log || p[1] > 0));
  const named = `${setting.family} ${label(setting, ["family"])}`.trim();
  const group = el("g", { class: color(setting.family), "data-family": setting.family }, el("title", {}, named));
  // An end of a band that a log scale does not have is drawn at the panel's foot.
  const foot = (v) => (log && v <= 0 ? bottom : Math.min(y(v), bottom));
  // A step without an interval ends a piece of the band.
  const pieces = [[]];
  for (const p of points) {
    if (known.includes(p) && p[2] !== null) pieces.at(-1).push(p);
    else pieces.push([]);
  }
  for (const piece of withBand ? pieces.filter((some) => some.length > 1) : []) {
    const up = piece.map((p) => `${x(p[0])},${y(p[3])}`);
    const down = piece.map((p) => `${x(p[0])},${foot(p[2])}`).reverse();
    group.append(el("path", { class: "band", d: `M${up.join("L")}L${down.join("L")}Z` }));
  }
  // A step without a value is a gap, not a line across it.
  let path = "", open = false;
  for (const p of points) {
    if (!known.includes(p)) { open = false; continue; }
    path += `${open ? "L" : "M"}${x(p[0])},${y(p[1])}`;
    open = true;
  }
  group.append(el("path", { class: "line", d: path, "stroke-dasharray": dashOf(setting) }));
  const recommended = median(scalar(setting, "fcd_recommended_step"));
  for (const p of known) {
    if (!withBand && p[0] !== recommended) continue;
    const told = `${named}, ${stepWord(p[0])}: ${withInterval(p.slice(1))}, n = ${p[4]}`;
    if (withBand) group.append(el("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.2, class: "dot" }, el("title", {}, told)));
    if (p[0] === recommended) {
      group.append(el("circle", { cx: x(p[0]), cy: y(p[1]), r: 5.5, class: "ring" },
        el("title", {}, `${named}: recommended step ${recommended}`)));
    }
  }
  return [group];
}

// The figures at a step, best first, beneath their panel. The lines stay: only words change.
const READ = 8; // lines
function readings(settings, metric) {
  const high = metricBetter(metric) === "high";
  const lines = settings.slice(0, READ).map(() => {
    const parts = ["who", "value", "n"].map((name) => el("span", { class: name }));
    return [el("li", {}, el("span", { class: "swatch", "aria-hidden": "true" }), parts), ...parts];
  });
  const list = el("ul", { class: "readings" }, lines.map(([line]) => line),
    settings.length > READ ? el("li", { class: "hint" }, `and ${settings.length - READ} more`) : null);
  const names = new Map(settings.map((s) => [s, `${s.family} ${rest(s)}`.trim()]));
  const update = (now) => {
    const rows = settings.map((s) => [s, at(s, metric, now)])
      .sort((a, b) => (a[1][0] === null) - (b[1][0] === null) || (high ? -1 : 1) * (a[1][0] - b[1][0]));
    lines.forEach(([line, who, value, n], i) => {
      const [s, found] = rows[i];
      const gone = found[0] === null ? (s.steps.includes(now) ? "not finite" : "not recorded") : null;
      line.className = color(s.family);
      say(who, names.get(s));
      say(value, gone ?? withInterval(found));
      say(n, gone ? "" : `n = ${found[3]}`);
    });
  };
  return [list, update];
}
