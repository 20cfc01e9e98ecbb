// The samples: a run has one picture of all its steps, of which a block is shown.

const pictures = byId("pictures").textContent;
const addresses = new Map();
function bytes({ from, to }) {
  const binary = atob(pictures.slice(from, to)), found = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) found[i] = binary.charCodeAt(i);
  return found;
}
// A picture's address in this page, made when it is first shown.
function address(held) {
  if (!addresses.has(held.from)) {
    addresses.set(held.from, URL.createObjectURL(new Blob([bytes(held)], { type: held.kind })));
  }
  return addresses.get(held.from);
}

// The run whose samples stand for a setting: the chosen seed, or the best, median or worst one.
function runNumber(setting) {
  if (state.seed === "mean") return setting.roles[state.pick];
  return setting.runs.find((r) => data.runs[r].seed === state.seed);
}

// What of a setting is shown at the step: its picture and the place of the block, or why not.
function block(setting, step) {
  const number = runNumber(setting);
  if (number === undefined) return { why: `seed ${state.seed} has no result` };
  const run = data.runs[number], held = data.pictures[number].sprite;
  const place = run.steps.indexOf(step);
  if (place < 0) return { why: `step ${step} was not recorded` };
  if (held) return { held, place, count: run.steps.length };
  return { why: run.sampled ? `left out: seed ${run.seed}` : "the run has no pictures" };
}

// A square that shows a setting's samples, and what brings it to a step.
function samples(setting, more = "") {
  const image = el("div", { class: `samples ${more}`, role: "img" }), blank = el("p", { class: "blank", hidden: true });
  const name = fullName(setting);
  let shownHeld = null;
  const update = (now) => {
    const { why, held, place, count } = block(setting, now);
    if (image.hidden !== Boolean(why)) {
      image.hidden = Boolean(why);
      blank.hidden = !why;
    }
    if (why) {
      blank.textContent = why;
      return;
    }
    const columns = Math.ceil(Math.sqrt(count)), rows = Math.ceil(count / columns);
    if (held !== shownHeld) {
      image.style.backgroundImage = `url(${address(held)})`;
      image.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
      image.style.aspectRatio = held.width / columns / (held.height / rows);
      shownHeld = held;
    }
    const along = (i, n) => (n > 1 ? (100 * i) / (n - 1) : 0);
    image.style.backgroundPosition =
      `${along(place % columns, columns)}% ${along(Math.floor(place / columns), rows)}%`;
    image.ariaLabel = `Samples of ${name} after ${stepWord(now)}`;
  };
  return { nodes: [image, blank], update };
}

function caption(setting, now) {
  const run = data.runs[runNumber(setting)];
  if (!run) return `seed ${state.seed} has no result`;
  const place = run.steps.indexOf(now);
  return `FCD ${format(place >= 0 ? run.values.fcd[place] : null)}, seed ${run.seed}`;
}
const fullName = (s) =>
  [s.family, `latent dimension ${s.dim}`, s.chain, label(s, ["family", "dim", "sampler", "norm", "scale"])]
    .filter(Boolean).join(", ");

function drawCompare() {
  const place = byId("compare");
  forget(place);
  place.hidden = state.a === null;
  if (state.a === null) return;
  keepFocus(place, () => {
    const a = data.settings[state.a], b = state.b === null ? null : data.settings[state.b];
    if (!b) {
      place.replaceChildren(el("p", {}, el("strong", {}, "A: "), fullName(a), ". Pin another to compare."));
      return;
    }
    const views = ["A", "B", "difference"].map((view) => el("button", {
      type: "button", id: `flip-${view}`, "aria-pressed": String(state.flip === view),
      onclick: () => set({ flip: view }),
    }, view === "difference" ? "Difference" : view));
    const both = state.flip === "difference";
    const layers = both ? [samples(a), samples(b, "over")] : [samples(state.flip === "A" ? a : b)];
    const words = [a, b].map((s) => el("span", {}));
    place.replaceChildren(
      el("div", { class: "bar" }, views,
        el("button", { type: "button", id: "unpin", onclick: () => set({ a: null, b: null }) }, "Unpin both")),
      el("ul", { class: "ab" }, [a, b].map((s, i) =>
        el("li", {}, el("strong", {}, `${"AB"[i]} `), `${fullName(s)}: `, words[i]))),
      follow(el("div", { class: `stack ${both ? "difference" : ""}` }, layers.flatMap((layer) => layer.nodes)), (now) => {
        for (const layer of layers) layer.update(now);
        [a, b].forEach((s, i) => { words[i].textContent = caption(s, now); });
      }));
  });
}

let zoomed = null;
function openZoom(number) {
  zoomed = number;
  drawZoom();
  byId("zoom").showModal();
}
function drawZoom() {
  if (zoomed === null) return;
  const setting = data.settings[zoomed], now = stepNow(), large = samples(setting, "large");
  const steps = stepsShown(), place = steps.indexOf(now);
  const middle = data.pictures[setting.roles.median];
  const drawn = setting.runs.map((r) => data.pictures[r].drawn).find(Boolean);
  const move = (by, name) => el("button", {
    type: "button", id: `zoom-${name}`, disabled: steps[place + by] === undefined,
    onclick: () => set({ step: steps[place + by] }),
  }, by < 0 ? "Step back" : "Step on");
  const picture = (held, words, alt) => (held
    ? el("figure", {}, el("figcaption", {}, words), el("img", { src: address(held), alt })) : null);
  large.update(now);
  keepFocus(byId("zoom"), () => byId("zoom").replaceChildren(
    el("div", { class: "bar" },
      el("h2", { id: "zoom-title" }, `${fullName(setting)}, ${stepWord(now)}`),
      move(-1, "back"), move(1, "on"),
      el("button", { type: "button", id: "zoom-close", onclick: () => byId("zoom").close() }, "Close")),
    el("p", {}, `${caption(setting, now)}. Over the seeds: ${setting.words}`),
    el("div", { class: "zoomed" },
      large.nodes,
      middle.latent ? latent(middle.latent, now, data.runs[setting.roles.median].seed) : null,
      picture(middle.strip,
        `One chain a row, from one z0 each, step by step (seed ${data.runs[setting.roles.median].seed})`,
        "The same chains at each recorded step"),
      picture(drawn, "Between two images, through the latent space, after some steps of the chain",
        "Interpolations after some steps of the chain"))));
}

// z of the chains at step 0 and now among the codes of images, in the plane of the codes.
const LATENT = 300, DOT = 2.2; // px
function latent(held, now, seed) {
  const canvas = el("canvas", { width: LATENT, height: LATENT, role: "img" }), pen = canvas.getContext("2d");
  const points = bytes(held), place = held.steps.indexOf(now);
  const style = getComputedStyle(document.documentElement);
  const draw = (from, count, color, open) => {
    pen.fillStyle = pen.strokeStyle = style.getPropertyValue(color);
    for (let i = from; i < from + count; i += 2) {
      pen.beginPath();
      pen.arc(8 + (points[i] / 255) * (LATENT - 16), LATENT - 8 - (points[i + 1] / 255) * (LATENT - 16), DOT, 0, 7);
      if (open) pen.stroke(); else pen.fill();
    }
  };
  draw(0, held.codes, "--soft");
  const chains = (at, color, open) => draw(held.codes + at * held.chains, held.chains, color, open);
  chains(0, "--c0", true);
  if (place >= 0) chains(place, "--c1");
  canvas.ariaLabel = `Latent space: ${held.codes / 2} codes of images, ${held.chains / 2} chains after ${stepWord(now)}`;
  const share = held.explained < 0.995 ? `, the codes' two main axes, ${Math.round(100 * held.explained)} % of the variance` : "";
  return el("figure", { class: "latent" },
    el("figcaption", {}, `Latent space (seed ${seed})${share}`), canvas,
    el("p", { class: "hint" }, "Grey: codes of images. Rings: the chains at step 0. " +
      (place >= 0 ? `Dots: after ${stepWord(now)}.` : `Step ${now} was not recorded.`)));
}
