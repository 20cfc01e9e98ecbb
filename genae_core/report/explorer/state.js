// The data, the choices, and the address that holds the choices.

const byId = (id) => document.getElementById(id);
// The bytes of a text in base64.
function bytesOf(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
if (!("DecompressionStream" in window)) {
  byId("notice").textContent = "This page needs a newer browser, from 2023 or later.";
}
const compressed = new Blob([bytesOf(byId("data").textContent)]);
const data = await new Response(compressed.stream().pipeThrough(new DecompressionStream("gzip"))).json();

// An element with attributes and children. A string child becomes text, never markup.
function el(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "circle", "text", "title", "g", "rect"].includes(name);
  const node = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, String(value));
  }
  node.append(...children.flat().filter((child) => child != null).map((c) => c.nodeType ? c : String(c)));
  return node;
}

// Set the text of an element only if it differs, because setting it always causes a new layout.
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const METRICS = {
  fcd: ["FCD", "low"], fcd_ratio: ["FCD / real", "low"], fcd_val: ["FCD on validation", "low"],
  kid: ["KID", "low"], precision: ["precision", "high"], recall: ["recall", "high"],
  density: ["density", "high"], coverage: ["coverage", "high"],
  parzen: ["Parzen log-likelihood", "high"],
  z_posterior_mmd: ["MMD² of z from the aggregated posterior", "low"],
  z_posterior_w2: ["sliced W₂ of z from the aggregated posterior", "low"],
  z_prior_mmd: ["MMD² of z from the prior", "low"],
  z_prior_w2: ["sliced W₂ of z from the prior", "low"],
  rhat: ["largest R-hat", "low"], rhat_nested: ["largest nested R-hat", "low"],
  ess_per_call: ["effective samples per call", "high"], accepted: ["accepted proposals", ""],
  // The user's own metrics, with "lower" or "higher".
  ...Object.fromEntries(Object.entries(data.ownMetrics)
    .map(([name, better]) => [name, [name, { lower: "low", higher: "high" }[better]]])),
};
const metricName = (key) => (METRICS[key] || [key])[0];
const metricBetter = (key) => (METRICS[key] || [key, ""])[1];

// The distinct values, numbers in order of size.
function distinct(values) {
  const number = (v) => (v !== "" && Number.isFinite(Number(v)) ? Number(v) : Infinity);
  return [...new Set(values)].sort((a, b) => number(a) - number(b) || String(a).localeCompare(b));
}

const FACETS = {
  dim: "Latent dimension", prior: "Prior", noise: "Noise", sampler: "Sampler",
  norm: "Normalisation", rest: "Other coordinates",
};
const AXES = { family: "family", ...Object.fromEntries(Object.entries(FACETS).map(([k, v]) => [k, v.toLowerCase()])) };
const ALL = "all";
const families = distinct(data.settings.map((s) => s.family));
const metrics = [...new Set(data.settings.flatMap((s) => Object.keys(s.bands)))];
const SEEDS = distinct(data.runs.map((run) => run.seed));

// Every choice with its options. A page opens with the first option of each.
function optionsOf() {
  const options = { scale: data.scales.map((_, i) => String(i)) };
  for (const key of Object.keys(FACETS)) {
    options[key] = [ALL, ...distinct(data.settings.map((s) => s[key]))];
  }
  // If there are several chains, the page opens with the one that the study is about, not with all,
  // unless that would hide a family: one without an encoder has draws from its prior only.
  const preferred = (key, value) => {
    const chosen = data.settings.filter((s) => s[key] === value);
    const everywhere = families.every((f) => chosen.some((s) => s.family === f));
    if (options[key].length > 2 && everywhere) {
      options[key] = [value, ...options[key].filter((v) => v !== value)];
    }
  };
  preferred("sampler", "encode decode");
  preferred("norm", "batch");
  options.seed = ["mean", ...SEEDS];
  options.metric = metrics.includes("fcd") ? ["fcd", ...metrics.filter((m) => m !== "fcd")] : metrics;
  options.y = ["log", "linear"];
  options.pick = ["median", "best", "worst"];
  options.flip = ["A", "B", "difference"];
  // The axes that tell settings apart come first. A noise study has a single latent dimension. If
  // only the denoising families have noise, the noise tells no more than the family.
  const varied = (axes) => {
    const several = (some, a) => new Set(some.map((s) => s[a])).size > 1;
    const within = (a) => families.some((f) => several(data.settings.filter((s) => s.family === f), a));
    const differ = (a) => (a === "family" ? families.length > 1 : options[a][0] === ALL && within(a));
    return [...axes.filter(differ), ...axes.filter((a) => !differ(a))];
  };
  options.cols = varied([...Object.keys(FACETS), "family"]);
  const [first] = options.cols;
  options.rows = [...varied(["family", ...Object.keys(FACETS)]).filter((a) => a !== first), first];
  return options;
}
const OPTIONS = optionsOf();
const NOTHING = data.settings.length
  ? "No setting matches these choices. Widen one of them." : "No run has a result yet.";
const opening = () => ({
  ...Object.fromEntries(Object.entries(OPTIONS).map(([key, values]) => [key, values[0] ?? ""])),
  off: [], step: null, a: null, b: null, sort: "best", down: false,
});
let state = opening();

const agrees = (s) =>
  s.scale === Number(state.scale) && !state.off.includes(s.family) &&
  Object.keys(FACETS).every((key) => state[key] === ALL || s[key] === state[key]) &&
  (state.seed === "mean" || s.runs.some((r) => data.runs[r].seed === state.seed));
// Results that depend on the choices and not on the step are cached until a choice changes, because
// a page of a thousand runs needs them often.
const cache = new Map();
function once(key, compute) {
  if (!cache.has(key)) cache.set(key, compute());
  return cache.get(key);
}
const selectedSettings = () => once("settings", () => data.settings.filter(agrees));
const inScale = () => data.settings.filter((s) => s.scale === Number(state.scale));
const runOfSeed = (s) => s.runs.map((r) => data.runs[r]).find((run) => run.seed === state.seed);

const stepsShown = () => once("steps", () => {
  const some = selectedSettings();
  return [...new Set((some.length ? some : inScale()).flatMap((s) => s.steps))].sort((a, b) => a - b);
});
// The recorded step at the slider: the chosen one, or the nearest recorded step below it.
function stepNow() {
  const steps = stepsShown();
  if (!steps.length) return 0;
  const wish = state.step ?? steps[0];
  return steps.filter((k) => k <= wish).pop() ?? steps[0];
}

// [mean, low, high, n] of a setting at a step, for the chosen seed or over all seeds.
function at(setting, metric, step) {
  if (state.seed === "mean") {
    const place = setting.steps.indexOf(step);
    return Object.hasOwn(setting.bands, metric) && place >= 0 ? setting.bands[metric][place] : [null, null, null, 0];
  }
  const run = runOfSeed(setting);
  const place = run ? run.steps.indexOf(step) : -1;
  const value = place >= 0 && run.values[metric] ? run.values[metric][place] : null;
  return [value, null, null, value === null ? 0 : 1];
}

function format(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 10 ? 1 : size === 0 || size >= 0.1 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(size)));
  return value.toFixed(digits).replace("-", "−");
}
const withInterval = ([mean, low, high]) =>
  low === null || low === undefined ? format(mean) : `${format(mean)} (${format(low)} to ${format(high)})`;
const stepWord = (k) => (k === 0 ? "0 steps (no MCMC)" : k === 1 ? "1 step" : `${k} steps`);
const median = (values) => {
  const known = values.filter((v) => Number.isFinite(v)).sort((a, b) => a - b);
  return known.length ? known[(known.length - 1) >> 1] : null;
};
// The recommended step of the chosen seed, or of all seeds.
const recommendedOf = (s) =>
  state.seed === "mean" ? s.recommendedStep : scalar(s, "fcd_recommended_step")[0] ?? null;
const scalar = (setting, name) =>
  (state.seed === "mean" ? setting.runs.map((r) => data.runs[r]) : [runOfSeed(setting)])
    .map((run) => run && run.scalars[name]);
const counted = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const meanOf = (values) => {
  const known = values.filter((v) => Number.isFinite(v));
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
};

// The coordinates in which some shown settings differ although they agree in the given axes.
const telling = (without) => once(`telling ${without}`, () => {
  const some = selectedSettings(), place = (s) => without.map((axis) => s[axis]).join("\n");
  return Object.keys(AXES).filter((key) => {
    const last = new Map();
    return !without.includes(key) && some.some((s) => {
      const before = last.get(place(s));
      last.set(place(s), s[key]);
      return before !== undefined && before !== s[key];
    });
  });
});

// What tells a setting from the other settings shown, without the axes that are named already.
function label(setting, without = []) {
  const words = {
    dim: (v) => `latent dimension ${v}`, prior: (v) => `${v} prior`, noise: (v) => `noise ${v}`,
    norm: (v) => `${v} statistics`,
  };
  return telling(without).map((key) => (words[key] ? words[key](setting[key]) : setting[key])).join(", ");
}

function toHash() {
  const opened = opening();
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (JSON.stringify(value) !== JSON.stringify(opened[key])) {
      for (const one of [value].flat()) query.append(key, one);
    }
  }
  return `#${query}`;
}

// The state that an address holds, and the parts of it that this page does not know.
function fromHash(hash) {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const parsed = opening();
  const unknown = [];
  for (const key of new Set(query.keys())) {
    const value = query.get(key);
    if (key === "off") parsed.off = query.getAll("off").filter((f) => families.includes(f));
    else if (key === "step" && /^\d{1,9}$/.test(value)) parsed.step = Number(value);
    else if ((key === "a" || key === "b") && /^\d{1,9}$/.test(value) && data.settings[value]) parsed[key] = Number(value);
    else if (key === "sort" && /^[a-z0-9]{1,20}$/i.test(value)) parsed.sort = value;
    else if (key === "down") parsed.down = value === "true";
    else if (Object.hasOwn(OPTIONS, key) && OPTIONS[key].includes(value)) parsed[key] = value;
    else unknown.push(`${key}=${value}`);
  }
  return [parsed, unknown];
}
