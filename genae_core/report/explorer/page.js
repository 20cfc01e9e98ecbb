// The controls, and what is drawn when one of them moves.

// Drawing anew takes the focus away from what was there: give it back by its id.
function keepFocus(place, draw) {
  const held = place.contains(document.activeElement) ? document.activeElement.id : "";
  draw();
  const again = held && byId(held);
  if (again) (again.disabled ? place.querySelector("button:enabled") : again)?.focus({ preventScroll: true });
}

// A browser takes only so many addresses a second: a step waits until the slider rests.
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

// What is the same for all settings, and then each of them.
let sorting = null;
function drawStep() {
  const steps = stepsShown(), now = stepNow(), range = byId("step"), place = steps.indexOf(now);
  range.value = Math.max(0, place);
  range.setAttribute("aria-valuetext", stepWord(now));
  byId("step-now").textContent = now;
  [...byId("marks").children].forEach((mark, i) => mark.classList.toggle("here", i === place));
  for (const node of document.querySelectorAll(".step-word")) node.textContent = stepWord(now);
  follows();
  drawZoom();
  clearTimeout(sorting);
  if (state.sort === "now") sorting = setTimeout(drawTable, 150);
}

function drawControls() {
  const steps = stepsShown();
  byId("step").max = Math.max(0, steps.length - 1);
  // As many figures as there is room for, the last among them.
  const every = Math.ceil(steps.length / 20), last = steps.length - 1;
  const told = (i) => i === last || (i % every === 0 && last - i >= every);
  byId("marks").replaceChildren(...steps.map((k, i) => {
    const mark = el("span", {}, told(i) ? k : "");
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
      choice("y", "Scale", OPTIONS.y),
    ].filter(Boolean),
    el("button", { type: "button", id: "reset", onclick: () => set(opening()) }, "Reset")));
}

let told = null;
function drawFound() {
  if (told === choices()) return;
  told = choices();
  const scale = data.scales[Number(state.scale)];
  const some = shown();
  byId("found").replaceChildren(
    ...(scale ? scale.found.map((text) => el("p", {}, text)) : [el("p", { class: "state" },
      data.unread.length
        ? "No run of this sweep has a result yet: what each of them says is below."
        : "This sweep has no runs.")]),
    some.length ? el("details", { ontoggle: (event) => event.target.lastChild.replaceChildren(
      ...some.map((s) => el("li", {}, el("strong", {}, `${fullName(s)}: `), s.words))) },
      el("summary", {}, some.length === 1 ? "The one setting that is shown" : `Each of the ${some.length} settings that are shown`), el("ul", {})) : "");
}

function drawRest() {
  const { shown: held, chosen, all, broken } = data.left;
  const place = byId("rest");
  const lines = [];
  lines.push(all === 0 ? "The runs have no pictures."
    : `${held} of the runs' ${all} pictures are in this file` +
      (chosen < all ? ", of the best, median and worst seed of each setting" : "") +
      (held + broken < chosen
        ? `; ${chosen - held - broken} more of these were left out for its size, the samples of the median seed being the last to go` : "") +
      (broken ? `; ${broken} could not be read` : "") + ".");
  const blanks = Object.entries(data.blanks);
  if (blanks.length) {
    lines.push("Values that are not finite, or that a step is too early for, are in no mean: " +
      `${blanks.map(([name, n]) => `${metricName(name)} ${n}`).join(", ")}.`);
  }
  const groups = new Map();
  for (const run of data.unread) groups.set(run.status, [...(groups.get(run.status) ?? []), run]);
  const words = {
    RUNNING: "still running", FAILED: "failed", KILLED: "stopped before their end",
    FINISHED: "finished, but without what this page needs", SCHEDULED: "waiting",
  };
  place.replaceChildren(
    ...lines.map((text) => el("p", {}, text)),
    ...(groups.size ? [...groups].map(([status, runs]) => el("details", { open: status === "FAILED" },
      el("summary", {}, `${runs.length} ${runs.length === 1 ? "run" : "runs"} ${words[status] ?? status.toLowerCase()}`),
      el("ul", {}, runs.map((run) => el("li", {}, el("strong", {}, run.name), run.reason ? `: ${run.reason}` : ""))))) :
      [el("p", {}, "Every run of the sweep has a result.")]),
    el("p", { class: "hint" }, `Made ${data.made} from ${data.store}; code ${data.commits.join(", ") || "unknown"}.`));
}

function draw() {
  kept.clear();
  drawControls();
  drawFound();
  drawCharts();
  drawMatrix();
  drawHeat();
  drawTable();
  drawStep();
  drawNotice();
}

function drawNotice() {
  const total = inScale().length, some = shown();
  const only = Object.keys(FACETS).filter((k) => state[k] !== ALL).map((k) => state[k]);
  byId("notice").textContent = [
    ...notices,
    `${some.length} of ${total} settings${only.length ? ` (${only.join(", ")})` : ""}, after ${stepWord(stepNow())}.`,
  ].join(" ");
}

let notices = [];
function open() {
  const [found, unknown] = fromHash(location.hash);
  state = found;
  notices = unknown.length ? [`This page has no ${unknown.join(", ")}: the link was made for another.`] : [];
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
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(location.href.split("#")[0] + toHash());
  } catch {
    said = "Copy it from the address bar"; // a browser may refuse it to a page from a file
  }
  byId("copy").textContent = said;
  setTimeout(() => { byId("copy").textContent = "Copy link"; }, 2000);
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("zoom").addEventListener("close", () => { zoomed = null; });
// The arrows move the step wherever they have nothing else to do.
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
// Followed, its fragment would take the place of the state.
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("page").focus(); });

const counted = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
byId("about").textContent =
  `${counted(data.runs.length, "finished run")}, ${counted(data.settings.length, "setting")}` +
  `${data.unread.length ? `, ${counted(data.unread.length, "run")} without a result` : ""}` +
  `${data.scales.length === 1 ? `; ${data.scales[0].name}` : ""}.`;
drawRest();
open();
