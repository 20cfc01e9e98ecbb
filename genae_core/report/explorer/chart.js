// Curves against the MCMC step, drawn as SVG, with one panel per latent dimension.

const W = 340, H = 224, LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 34;
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "12 4", "1 4", "4 2 1 2 1 2"];
const color = (family) => `c${families.indexOf(family) % 14}`;
const MAX_BANDS = 12; // a panel with more lines has no bands and dots, which would hide the lines
const REFERENCE = {
  fcd: "fcd_floor", fcd_ratio: 1,
  ...Object.fromEntries(Object.keys(data.ownMetrics).map((k) => [k, `${k}_floor`])),
};

// The step axis is log(1 + step), so that the first steps, where most happens, have room.
function horizontal(steps) {
  const last = Math.log1p(steps[steps.length - 1] || 1);
  return (k) => LEFT + 8 + (Math.log1p(k) / last) * (W - LEFT - RIGHT - 16);
}

// Math.min accepts only a limited number of arguments, and a thousand runs have more values.
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
  const marks = [];
  for (let i = Math.ceil(low / unit); i * unit <= high; i += 1) marks.push(i * unit);
  return marks;
}

function logTicks(low, high) {
  const marks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const m of [1, 2, 5]) marks.push(m * 10 ** e);
  }
  const inside = marks.filter((v) => v >= low && v <= high);
  return inside.length > 1 ? inside : ticks(low, high).filter((v) => v > 0);
}

const tickLabel = (v) => String(Number(v.toPrecision(3))).replace("-", "−");

function reference(settings, metric) {
  const kind = REFERENCE[metric];
  return typeof kind === "string" ? meanOf(settings.flatMap((s) => scalar(s, kind))) : kind ?? null;
}

// The choices that change the curves and the sentences. The step changes only a marker and numbers.
const choices = () => JSON.stringify(
  ["scale", "off", "seed", "metric", "y", ...Object.keys(FACETS)].map((key) => state[key]));
let drawnChoices = null;

function drawCharts() {
  const some = selectedSettings(), metric = state.metric;
  if (drawnChoices === choices()) return;
  drawnChoices = choices();
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
  const lines = state.seed === "mean"
    ? "Each line is the mean over seeds, and its band is the 95 % confidence interval of the mean (Student's t). " +
      `A single seed has no band, and a panel with more than ${MAX_BANDS} lines has no bands.`
    : `Each line is seed ${state.seed}.`;
  const scale = state.y !== "log" ? "." : log ? ", and so is the value axis."
    : ". The value axis is linear, because some values are not positive.";
  byId("chart-title").textContent = `${metricName(metric) || "Metrics"} against the MCMC step`;
  byId("chart-hint").textContent = `${better}${lines} The step axis is logarithmic, as log(1 + step)${scale} ` +
    `${data.stepsDefinition[0].toUpperCase()}${data.stepsDefinition.slice(1)}. ` +
    `A ring marks the recommended step${floor === null ? "" : ", and the grey dashed line is the value of real images"}.`;
  drawDashes(some);
  if (!values.length) {
    place.append(el("p", { class: "state" }, some.length
      ? `The settings shown have no finite value of ${metricName(metric)}. Choose another metric.`
      : NOTHING));
    return;
  }
  // All panels have the same value axis, so that they can be compared.
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
  const kinds = once("kinds", () => distinct(selectedSettings().map(rest)));
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
      `There are ${kinds.length} kinds of lines and only ${DASHES.length} dash patterns. Narrow the choices to tell the lines apart.`));
  }
}

// The panel of a latent dimension, and a function that moves it to a step.
function panel(dim, settings, { metric, x, y, marks, steps, floor, log }) {
  const title = `Latent dimension ${dim}`;
  const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
  // The marker of the step is outside the drawing, which would otherwise be drawn again at each step.
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
  const banded = settings.length <= MAX_BANDS;
  for (const s of settings) svg.append(...line(s, metric, x, y, log, bottom, banded));
  const [list, update] = readings(settings, metric);
  const move = (now) => {
    here.style.transform = `translateX(${(100 * x(now)) / W}%)`;
    update(now);
    const values = settings.slice(0, 12)
      .map((s) => `${s.family} ${rest(s)}: ${withInterval(at(s, metric, now))}`);
    svg.setAttribute("aria-label", `${title}, ${metricName(metric)} after ${stepWord(now)}. ${values.join("; ")}`);
  };
  return [el("figure", {}, el("figcaption", {}, title), el("div", { class: "plot" }, svg, here), list), move];
}

function line(setting, metric, x, y, log, bottom, withBand) {
  const points = setting.steps.map((k) => [k, ...at(setting, metric, k)]);
  const known = points.filter((p) => p[1] !== null && (!log || p[1] > 0));
  const named = `${setting.family} ${label(setting, ["family"])}`.trim();
  const group = el("g", { class: color(setting.family), "data-family": setting.family }, el("title", {}, named));
  // A log scale has no place for values below 0, so such an end of a band is at the panel's foot.
  const foot = (v) => (log && v <= 0 ? bottom : Math.min(y(v), bottom));
  // A step without an interval interrupts the band.
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
  // A step without a value interrupts the line.
  let path = "", open = false;
  for (const p of points) {
    if (!known.includes(p)) { open = false; continue; }
    path += `${open ? "L" : "M"}${x(p[0])},${y(p[1])}`;
    open = true;
  }
  group.append(el("path", { class: "line", d: path, "stroke-dasharray": dashOf(setting) }));
  const recommended = recommendedOf(setting);
  for (const p of known) {
    if (!withBand && p[0] !== recommended) continue;
    const text = `${named}, ${stepWord(p[0])}: ${withInterval(p.slice(1))}, n = ${p[4]}`;
    if (withBand) group.append(el("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.2, class: "dot" }, el("title", {}, text)));
    if (p[0] === recommended) {
      group.append(el("circle", { cx: x(p[0]), cy: y(p[1]), r: 5.5, class: "ring" },
        el("title", {}, `${named}: recommended step ${recommended}`)));
    }
  }
  return [group];
}

// The values at a step below their panel, best first. Only the texts change from step to step.
const MAX_READINGS = 8; // lines below a panel
function readings(settings, metric) {
  const high = metricBetter(metric) === "high";
  const lines = settings.slice(0, MAX_READINGS).map(() => {
    const parts = ["who", "value", "n"].map((name) => el("span", { class: name }));
    return [el("li", {}, el("span", { class: "swatch", "aria-hidden": "true" }), parts), ...parts];
  });
  const list = el("ul", { class: "readings" }, lines.map(([line]) => line),
    settings.length > MAX_READINGS ? el("li", { class: "hint" }, `and ${settings.length - MAX_READINGS} more`) : null);
  const names = new Map(settings.map((s) => [s, `${s.family} ${rest(s)}`.trim()]));
  const update = (now) => {
    const rows = settings.map((s) => [s, at(s, metric, now)])
      .sort((a, b) => (a[1][0] === null) - (b[1][0] === null) || (high ? -1 : 1) * (a[1][0] - b[1][0]));
    lines.forEach(([line, who, value, n], i) => {
      const [s, reading] = rows[i];
      const reason = reading[0] === null ? (s.steps.includes(now) ? "not finite" : "not recorded") : null;
      line.className = color(s.family);
      say(who, names.get(s));
      say(value, reason ?? withInterval(reading));
      say(n, reason ? "" : `n = ${reading[3]}`);
    });
  };
  return [list, update];
}
