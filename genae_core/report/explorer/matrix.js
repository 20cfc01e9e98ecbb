// Settings by two axes: a matrix of their samples at the slider's step, and two heat maps.

const MAX_BESIDE = 5; // columns of the matrix of samples beside the curves
const MAX_TILES = 3; // settings shown in one cell of the matrix of samples
const MAX_VALUES = 12; // settings shown in one cell of a heat map

function choice(key, name, values, words = (v) => v) {
  const select = el("select", {
    id: `choose-${key}`,
    onchange: (event) => set({ [key]: event.target.value }),
  }, values.map((v) => el("option", { value: v }, words(v))));
  select.value = state[key];
  return el("label", { class: "choice" }, el("span", {}, name), select);
}

function drawMatrix() {
  const some = selectedSettings();
  keepFocus(byId("matrix-bar"), () => {
    byId("matrix-bar").replaceChildren(
      choice("rows", "Rows", OPTIONS.rows, (a) => AXES[a]),
      choice("cols", "Columns", OPTIONS.cols, (a) => AXES[a]),
      state.seed === "mean"
        ? choice("pick", "Seed, ranked by FCD", OPTIONS.pick)
        : el("span", { class: "hint" }, `The samples are those of seed ${state.seed}.`),
      el("span", { class: "hint" }, "Pin two settings to compare their samples."));
  });
  // Many columns need the whole width of the page, and few have room beside the curves.
  const columns = distinct(some.map((s) => s[state.cols])).length;
  byId("views").classList.toggle("stacked", columns > MAX_BESIDE);
  byId("matrix").style.setProperty("--columns", columns);
  forget(byId("matrix"));
  keepFocus(byId("matrix"), () => byId("matrix").replaceChildren(some.length
    ? grid(some, MAX_TILES, tile)
    : el("p", { class: "state" }, NOTHING)));
  drawCompare();
}

// A table of the settings by the two chosen axes, with at most `most` settings in a cell.
// one(setting) returns a node, and a function that brings it to a step.
function grid(some, most, one) {
  const rows = distinct(some.map((s) => s[state.rows]));
  const cols = distinct(some.map((s) => s[state.cols]));
  const inside = new Map();
  for (const s of some) {
    const key = JSON.stringify([s[state.rows], s[state.cols]]);
    inside.set(key, [...(inside.get(key) ?? []), s]);
  }
  const named = (axis, v) => (["family", "sampler", "rest"].includes(axis) ? v || "–" : `${AXES[axis]} ${v}`);
  const row = (r) => {
    const updates = [];
    const cell = (c) => {
      const members = inside.get(JSON.stringify([r, c]));
      if (!members) return el("td", {}, el("span", { class: "hint" }, "–"));
      const made = members.slice(0, most).map(one);
      updates.push(...made.map(({ update }) => update));
      return el("td", {}, made.map(({ node }) => node), members.length > most
        ? el("p", { class: "hint" }, `and ${members.length - most} more. Narrow the choices to see them.`) : null);
    };
    const line = el("tr", {}, el("th", { scope: "row" }, named(state.rows, r)), cols.map(cell));
    return follow(line, (now) => { for (const update of updates) update(now); });
  };
  return el("table", { class: "grid-table" },
    el("thead", {}, el("tr", {}, el("td", {}), cols.map((c) => el("th", { scope: "col" }, named(state.cols, c))))),
    el("tbody", {}, rows.map(row)));
}

function tile(setting) {
  const number = data.settings.indexOf(setting), name = fullName(setting), { nodes, update } = samples(setting);
  const value = el("span", { class: "value" }), apart = label(setting, [state.rows, state.cols]);
  const pins = el("button", {
    type: "button", class: "pin", id: `pin-${number}`, "aria-label": `Pin ${name}`, onclick: () => pin(number),
  });
  const [image, blank] = nodes;
  const open = el("button", {
    type: "button", class: "open", id: `open-${number}`, "aria-label": `Enlarge the samples of ${name}`,
    onclick: () => openZoom(number),
  }, image);
  const node = el("figure", { class: "tile", "data-setting": number }, open, blank,
    el("figcaption", {}, value, apart ? el("span", { class: "hint" }, apart) : null, pins));
  return {
    node,
    update: (now) => {
      update(now);
      open.hidden = image.hidden;
      say(value, caption(setting, now));
      const pinned = state.a === number ? "A" : state.b === number ? "B" : null;
      pins.ariaPressed = String(pinned !== null);
      say(pins, pinned ? `Pin ${pinned}` : "Pin");
    },
  };
}

function pin(number) {
  if (state.a === number) set({ a: state.b, b: null });
  else if (state.b === number) set({ b: null });
  else if (state.a === null) set({ a: number });
  else set({ b: number });
}

// The metric at the step, and the recommended steps.
function drawHeat() {
  const some = selectedSettings(), place = byId("heat");
  forget(place);
  if (!some.length) {
    place.replaceChildren(el("p", { class: "state" }, NOTHING));
    return;
  }
  place.replaceChildren(
    heat(some, () => metricName(state.metric), (now) => ` after ${stepWord(now)}`,
      (s, now) => at(s, state.metric, now)[0], metricBetter(state.metric) !== "high", format),
    heat(some, () => `Recommended step (${state.seed === "mean" ? "of all seeds, the median" : `seed ${state.seed}`})`, () => "",
      recommendedOf, true, String));
}
function heat(some, name, when, value, low, words) {
  let known = null; // the fractions of the values at one step
  const fractions = (now) => {
    if (known?.now === now) return known;
    const values = some.map((s) => value(s, now)).filter((v) => Number.isFinite(v));
    const least = Math.min(...values), most = Math.max(...values), log = least > 0 ? Math.log : (v) => v;
    const of = (v) => (most > least ? (log(v) - log(least)) / (log(most) - log(least)) : 0);
    known = { now, of };
    return known;
  };
  const one = (s) => {
    const cell = el("div", { class: "heat-cell", title: fullName(s) });
    const apart = label(s, [state.rows, state.cols]);
    const node = apart ? el("div", { class: "heat-pair" }, cell, el("span", { class: "hint" }, apart)) : cell;
    const update = (now) => {
      const v = value(s, now), finite = Number.isFinite(v), fraction = finite ? fractions(now).of(v) : 0;
      say(cell, finite ? words(v) : "–");
      cell.style.setProperty("--heat", finite ? `${Math.round(60 * (low ? 1 - fraction : fraction))}%` : "0%");
    };
    return { node, update };
  };
  const title = el("figcaption", {}), wide = el("div", { class: "wide", tabindex: 0, role: "region" }, grid(some, MAX_VALUES, one));
  follow(title, (now) => {
    wide.ariaLabel = `${name()}${when(now)}`;
    title.textContent = `${wide.ariaLabel}. A stronger colour is a ${low ? "lower" : "higher"} value.`;
  });
  return el("figure", { class: "heat" }, title, wide);
}
