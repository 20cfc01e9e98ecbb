// The table: one row per setting, or per run if one seed is chosen. It can be sorted and saved as CSV.

const COLUMNS = [
  ["family", "family", (s) => s.family],
  ["dim", "latent dim", (s) => s.dim],
  ["prior", "prior", (s) => s.prior],
  ["noise", "noise", (s) => s.noise],
  ["sampler", "sampler", (s) => s.sampler],
  ["norm", "normalisation", (s) => s.norm],
  ["rest", "other", (s) => s.rest],
  ["seeds", "seeds", (s) => (state.seed === "mean" ? s.runs.length : 1)],
  ["now", "", (s) => at(s, state.metric, stepNow()), withInterval],
  ["start", "FCD without MCMC", (s) => (state.seed === "mean" ? s.start : one(s, "fcd_step0")), withInterval],
  ["best", "FCD at the best step", (s) => (state.seed === "mean" ? s.best : one(s, "fcd_best")), withInterval],
  ["bestStep", "best step", (s) => (state.seed === "mean" ? s.bestStep : one(s, "fcd_best_step")[0])],
  ["recommended", "recommended step", recommendedOf],
  ["change", "change", (s) => (state.seed === "mean" ? s.change : [gain(s), null, null]), withInterval],
  ["seconds", "training seconds", (s) => meanOf(scalar(s, "training_seconds")), (v) => (v === null ? "–" : v.toFixed(0))],
];
const ROWS_PER_PART = 20; // rows that follow the step together
const one = (s, name) => [scalar(s, name)[0], null, null];
// With a blind classifier no step is the best.
const gain = (s) => {
  const change = scalar(s, "fcd_best")[0] - scalar(s, "fcd_step0")[0];
  return Number.isFinite(change) ? change : null;
};
const runsOf = (s) => (state.seed === "mean" ? s.runs.map((r) => data.runs[r]) : [runOfSeed(s)]);
const plain = (value) => (Array.isArray(value) ? value[0] : value);

function columnsShown() {
  const some = selectedSettings();
  const always = ["family", "dim", "seeds", "now", "start", "best", "bestStep", "recommended", "change"];
  return COLUMNS.filter(([key, , get]) => always.includes(key) || new Set(some.map(get)).size > 1 ||
    (key === "seconds" && some.length && get(some[0]) !== null));
}
const headOf = ([key, name]) =>
  (key === "now" ? `${metricName(state.metric)} after ${stepWord(stepNow())}` : name);

function sorted() {
  const column = COLUMNS.find(([key]) => key === state.sort) ?? COLUMNS[10];
  const sign = state.down ? -1 : 1;
  const value = (s) => {
    const v = plain(column[2](s));
    return v === null || v === undefined || v === "" || !Number.isFinite(Number(v)) ? v : Number(v);
  };
  // Rows without a value come last in both orders.
  return [...selectedSettings()].sort((x, y) => {
    const [a, b] = [value(x), value(y)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  });
}

function drawTable() {
  const rows = sorted(), columns = columnsShown(), now = columns.findIndex(([key]) => key === "now");
  byId("table-bar").replaceChildren(
    el("button", { type: "button", id: "csv", disabled: !rows.length, onclick: saveCsv }, "Save as CSV"),
    el("span", { class: "hint" }, `${counted(rows.length, "setting")}. ${state.seed === "mean" ? "Values are means over seeds, with 95 % confidence intervals." : `Values are those of seed ${state.seed}.`} ` +
      (data.server ? "" : "This table has no links to the runs, because the store is a file. To get links, start an MLflow server on that file and build this page from the server's address.")));
  forget(byId("table"));
  if (!rows.length) {
    byId("table").replaceChildren(el("p", { class: "state" }, NOTHING));
    return;
  }
  const head = (column) => {
    const here = state.sort === column[0], name = el("span", {}, headOf(column));
    const cell = el("th", { scope: "col", "aria-sort": here ? (state.down ? "descending" : "ascending") : "none" },
      el("button", {
        type: "button", id: `sort-${column[0]}`,
        onclick: () => set({ sort: column[0], down: here ? !state.down : false }),
      }, name, el("span", { "aria-hidden": "true" }, here ? (state.down ? " ▼" : " ▲") : "")));
    return column[0] === "now" ? follow(cell, () => { name.textContent = headOf(column); }) : cell;
  };
  const row = (s) => {
    const cells = columns.map(([key, , get, show]) => {
      if (key === "now") return el("td", { class: "number" });
      const value = get(s);
      return el("td", { class: typeof plain(value) === "number" ? "number" : "" }, show ? show(value) : value);
    });
    const node = el("tr", { title: s.words }, cells, data.server ? el("td", {}, runsOf(s).map(link)) : null);
    return { node, update: () => say(cells[now], withInterval(columns[now][2](s))) };
  };
  const body = (some) => {
    const made = some.map(row);
    return follow(el("tbody", {}, made.map(({ node }) => node)), () => { for (const { update } of made) update(); });
  };
  const bodies = Array.from({ length: Math.ceil(rows.length / ROWS_PER_PART) }, (_, i) =>
    body(rows.slice(i * ROWS_PER_PART, (i + 1) * ROWS_PER_PART)));
  keepFocus(byId("table"), () => byId("table").replaceChildren(el("table", { class: "list" },
    el("thead", {}, el("tr", {}, columns.map(head), data.server ? el("th", { scope: "col" }, "runs") : null)),
    bodies)));
}

// The server's address is http or https, and comes from the person who built the page.
const link = (run) => el("a", {
  href: `${data.server}/#/experiments/${encodeURIComponent(run.experiment)}/runs/${encodeURIComponent(run.id)}`,
  rel: "noreferrer",
}, `seed ${run.seed}`);

function csvField(value) {
  const text = value === null || value === undefined ? "" : String(value);
  // A spreadsheet would evaluate a text that begins like a formula.
  const safe = typeof value === "string" && text !== "-" && !/^-?\d/.test(text) && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
function csv() {
  const head = COLUMNS.flatMap((column) =>
    (column[3] === withInterval ? [headOf(column), `${headOf(column)}, low`, `${headOf(column)}, high`] : [headOf(column)]));
  const rows = sorted().map((s) => [
    ...COLUMNS.flatMap(([, , get, show]) => (show === withInterval ? get(s).slice(0, 3) : [get(s)])),
    runsOf(s).map((run) => run.id).join(" "),
  ]);
  return [[...head, "run ids"], ...rows].map((row) => row.map(csvField).join(",")).join("\r\n");
}
function saveCsv() {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  el("a", { href: url, download: `${data.sweeps.join("+")}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
