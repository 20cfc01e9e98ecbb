// The controls, and what is drawn when one of them changes.

// Drawing anew removes the focused element, so the focus returns to the new element with its id.
function keepFocus(place, draw) {
  const id = place.contains(document.activeElement) ? document.activeElement.id : "";
  draw();
  const target = id && byId(id);
  if (target) (target.disabled ? place.querySelector("button:enabled") : target)?.focus({ preventScroll: true });
}

// A browser limits how often the address may change, so a step waits until the slider rests.
let remembering = null;
function remember(wait) {
  clearTimeout(remembering);
  remembering = setTimeout(() => history.replaceState(null, "", toHash()), wait);
}

const PINS = ["a", "b", "flip"];
function set(changes) {
  state = { ...state, ...changes };
  const light = Object.keys(changes).every((key) => ["step", ...PINS].includes(key));
  if (light) {
    if (PINS.some((key) => key in changes)) drawCompare();
    drawStep();
    remember(200);
  } else {
    draw();
    remember(0);
  }
}

// First the parts that are common to all settings, then those of each setting.
let sorting = null;
function drawStep() {
  const steps = stepsShown(), now = stepNow(), range = byId("step"), place = steps.indexOf(now);
  range.value = Math.max(0, place);
  range.setAttribute("aria-valuetext", stepWord(now));
  byId("step-now").textContent = now;
  [...byId("marks").children].forEach((mark, i) => mark.classList.toggle("here", i === place));
  for (const node of document.querySelectorAll(".step-word")) node.textContent = stepWord(now);
  refreshAll();
  drawZoom();
  clearTimeout(sorting);
  if (state.sort === "now") sorting = setTimeout(drawTable, 150);
}

function drawControls() {
  const steps = stepsShown();
  byId("step").max = Math.max(0, steps.length - 1);
  // There is room for about 20 numbers. The last step always has one.
  const every = Math.ceil(steps.length / 20), last = steps.length - 1;
  const marked = (i) => i === last || (i % every === 0 && last - i >= every);
  byId("marks").replaceChildren(...steps.map((k, i) => {
    const mark = el("span", {}, marked(i) ? k : "");
    mark.style.setProperty("--at", steps.length > 1 ? i / (steps.length - 1) : 0);
    return mark;
  }));
  byId("play").disabled = steps.length < 2;
  keepFocus(byId("families"), () => byId("families").replaceChildren(
    el("legend", {}, "Family"),
    ...families.map((family, i) => el("label", { class: `chip ${color(family)}` },
      el("input", {
        type: "checkbox", id: `family-${i}`, checked: !state.off.includes(family),
        onchange: (event) => set({
          off: event.target.checked ? state.off.filter((f) => f !== family) : [...state.off, family],
        }),
      }), el("span", { class: "swatch", "aria-hidden": "true" }), family))));
  const several = (key) => OPTIONS[key].filter((v) => v !== ALL).length > 1;
  const first = (values) => [...values].sort((a, b) => (b === ALL) - (a === ALL));
  keepFocus(byId("choices"), () => byId("choices").replaceChildren(
    ...[
      several("scale") ? choice("scale", "Dataset", OPTIONS.scale, (i) => data.scales[i].name) : null,
      metrics.length ? choice("metric", "Metric", metrics, metricName) : null,
      ...Object.keys(FACETS).filter(several).map((key) => choice(key, FACETS[key], first(OPTIONS[key]))),
      choice("seed", "Seed", OPTIONS.seed, (s) => (s === "mean" ? "mean over seeds" : `seed ${s}`)),
      choice("y", "Value axis", OPTIONS.y),
    ].filter(Boolean),
    el("button", { type: "button", id: "reset", onclick: () => set(opening()) }, "Reset")));
}

const LEADING = 3; // findings that the page shows at once, so that curves and samples follow soon
let describedChoices = null;
function drawFindings() {
  if (describedChoices === choices()) return;
  describedChoices = choices();
  const scale = data.scales[Number(state.scale)];
  const some = selectedSettings(), said = (texts) => texts.map((text) => el("p", {}, text));
  const more = scale ? scale.findings.slice(LEADING) : [];
  byId("findings").replaceChildren(
    ...(scale ? said(scale.findings.slice(0, LEADING)) : [el("p", { class: "state" },
      data.withoutResult.length
        ? "No run of this sweep has a result yet. The last section lists the runs."
        : "This sweep has no runs.")]),
    more.length ? el("details", { id: "more-findings" }, el("summary", {}, "More findings, and what they rest on"), said(more)) : "",
    some.length ? el("details", { ontoggle: (event) => event.target.lastChild.replaceChildren(
      ...some.map((s) => el("li", {}, el("strong", {}, `${fullName(s)}: `), s.words))) },
      el("summary", {}, some.length === 1 ? "The result of the setting shown" : `The result of each of the ${some.length} settings shown`), el("ul", {})) : "");
}

function pictureSentences({ embedded, candidates, all, broken }) {
  if (all === 0) return ["The runs have no pictures."];
  if (embedded === all) return [`This file holds all ${all} pictures of the runs.`];
  const omitted = candidates - embedded - broken;
  return [
    `This file holds ${embedded} of the ${all} pictures of the runs.`,
    candidates < all ? "Only those of the best, the median and the worst seed of each setting are selected for the page." : "",
    omitted > 0 ? `${counted(omitted, "picture")} of this selection ${omitted === 1 ? "is" : "are"} left out to keep the file small. The samples of the median seed are left out last.` : "",
    broken > 0 ? `${counted(broken, "picture")} could not be read.` : "",
  ].filter(Boolean);
}

function statusWords(status, n) {
  const verb = n === 1 ? "is" : "are", past = n === 1 ? "was" : "were";
  return {
    RUNNING: `${verb} still running`, FAILED: "failed", KILLED: `${past} stopped before the end`,
    FINISHED: `finished without everything that this page needs`, SCHEDULED: `${verb} waiting to start`,
  }[status] ?? `${n === 1 ? "has" : "have"} the status ${status.toLowerCase()}`;
}

function drawRest() {
  const lines = [pictureSentences(data.pictureCounts).join(" ")];
  const missing = Object.entries(data.missingValues);
  if (missing.length) {
    lines.push("The means leave out values that are missing, because they are not finite or because the metric needs more steps. " +
      `Missing values: ${missing.map(([name, n]) => `${metricName(name)} ${n}`).join(", ")}.`);
  }
  const commits = data.commits.filter((commit) => commit !== "unknown");
  const groups = new Map();
  for (const run of data.withoutResult) groups.set(run.status, [...(groups.get(run.status) ?? []), run]);
  byId("rest").replaceChildren(
    ...lines.map((text) => el("p", {}, text)),
    ...(groups.size ? [...groups].map(([status, runs]) => el("details", { open: status === "FAILED" },
      el("summary", {}, `${counted(runs.length, "run")} ${statusWords(status, runs.length)}`),
      el("ul", {}, runs.map((run) => el("li", {}, el("strong", {}, run.name), run.reason ? `: ${run.reason}` : ""))))) :
      [el("p", {}, "Every run of the sweep has a result.")]),
    el("p", { class: "hint" }, `This page was made at ${data.made} from the store ${data.store}. ` +
      (commits.length ? `The runs used the code of commit ${commits.join(", ")}.` : "The commit of the code is unknown.")));
}

function draw() {
  cache.clear();
  drawControls();
  drawFindings();
  drawCharts();
  drawMatrix();
  drawHeat();
  drawTable();
  drawStep();
  drawNotice();
}

function drawNotice() {
  const total = inScale().length, some = selectedSettings();
  const only = Object.keys(FACETS).filter((k) => state[k] !== ALL).map((k) => state[k]);
  byId("notice").textContent = [
    ...notices,
    `The page shows ${some.length} of ${counted(total, "setting")}${only.length ? ` (${only.join(", ")})` : ""} after ${stepWord(stepNow())}.`,
  ].join(" ");
}

let notices = [];
function open() {
  const [parsed, unknown] = fromHash(location.hash);
  state = parsed;
  notices = unknown.length ? [`This page has no ${unknown.join(", ")}. The link was made for another page.`] : [];
  draw();
}

let timer = null;
function stop() {
  if (timer === null) return;
  clearInterval(timer);
  timer = null;
  byId("play").textContent = "Play";
  byId("play").setAttribute("aria-pressed", "false");
}
function move(by, around = false) {
  const steps = stepsShown();
  let next = steps.indexOf(stepNow()) + by;
  if (around) next %= steps.length;
  if (steps[next] !== undefined) set({ step: steps[next] });
}

byId("step").addEventListener("input", (event) => { stop(); set({ step: stepsShown()[Number(event.target.value)] }); });
byId("play").addEventListener("click", () => {
  if (timer !== null) return stop();
  timer = setInterval(() => move(1, true), 800);
  byId("play").textContent = "Pause";
  byId("play").setAttribute("aria-pressed", "true");
});
byId("copy").addEventListener("click", async () => {
  let text = "Copied";
  try {
    await navigator.clipboard.writeText(location.href.split("#")[0] + toHash());
  } catch {
    text = "Copy it from the address bar"; // a browser may forbid copying to a page from a file
  }
  byId("copy").textContent = text;
  setTimeout(() => { byId("copy").textContent = "Copy link"; }, 2000);
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("zoom").addEventListener("close", () => { zoomed = null; });
// The arrow keys move the step, unless the focused element needs them.
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, select, textarea, .wide");
  if (busy || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    stop();
    move(event.key === "ArrowRight" ? 1 : -1);
    event.preventDefault();
  }
});
window.addEventListener("hashchange", open);
// If the browser followed this link, the link's fragment would replace the state in the address.
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("page").focus(); });

byId("about").textContent =
  `This page shows ${counted(data.runs.length, "finished run")} in ${counted(data.settings.length, "setting")}` +
  `${data.scales.length === 1 ? ` on ${data.scales[0].name}` : ""}. ` +
  "The runs of a setting differ only by their seed." +
  `${data.withoutResult.length ? ` ${counted(data.withoutResult.length, "more run")} ${data.withoutResult.length === 1 ? "has" : "have"} no result.` : ""}`;
drawRest();
open();
