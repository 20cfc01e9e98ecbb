// The samples. A run has one picture with a block of samples per step, and the page shows one block.

const pictures = byId("pictures").textContent;
const addresses = new Map();
const bytes = ({ from, to }) => bytesOf(pictures.slice(from, to));
// The address of a picture inside this page. It is made when the picture is first shown.
function address(picture) {
  if (!addresses.has(picture.from)) {
    addresses.set(picture.from, URL.createObjectURL(new Blob([bytes(picture)], { type: picture.kind })));
  }
  return addresses.get(picture.from);
}

// The run whose samples a setting shows: the chosen seed, or its best, median or worst seed.
function runNumber(setting) {
  if (state.seed === "mean") return setting.roles[state.pick];
  return setting.runs.find((r) => data.runs[r].seed === state.seed);
}

// The picture of a setting and the place of the step's block in it, or why there is none.
function block(setting, step) {
  const number = runNumber(setting);
  if (number === undefined) return { why: `Seed ${state.seed} has no result.` };
  const run = data.runs[number], picture = data.pictures[number].sprite;
  const place = run.steps.indexOf(step);
  if (place < 0) return { why: `Step ${step} was not recorded.` };
  if (picture) return { picture, place, count: run.steps.length };
  return { why: run.sampled ? `The samples of seed ${run.seed} are left out to keep the file small.` : "The run has no pictures." };
}

const SHARP = 100; // px; a smaller block of samples is enlarged, and its pixels stay sharp

// A square that shows a setting's samples, and a function that brings it to a step.
function samples(setting, more = "") {
  const image = el("div", { class: `samples ${more}`, role: "img" }), blank = el("p", { class: "blank", hidden: true });
  const name = fullName(setting);
  let current = null;
  const update = (now) => {
    const { why, picture, place, count } = block(setting, now);
    if (image.hidden !== Boolean(why)) {
      image.hidden = Boolean(why);
      blank.hidden = !why;
    }
    if (why) {
      blank.textContent = why;
      return;
    }
    const columns = Math.ceil(Math.sqrt(count)), rows = Math.ceil(count / columns);
    if (picture !== current) {
      image.style.backgroundImage = `url(${address(picture)})`;
      image.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
      image.style.aspectRatio = picture.width / columns / (picture.height / rows);
      image.classList.toggle("sharp", picture.width / columns < SHARP);
      current = picture;
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
  if (!run) return `Seed ${state.seed} has no result.`;
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
      place.replaceChildren(el("p", {}, el("strong", {}, "A: "), fullName(a), ". Pin another setting to compare with it."));
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
  const medianParts = data.pictures[setting.roles.median];
  const drawn = setting.runs.map((r) => data.pictures[r].drawn).find(Boolean);
  const move = (by, name) => el("button", {
    type: "button", id: `zoom-${name}`, disabled: steps[place + by] === undefined,
    onclick: () => set({ step: steps[place + by] }),
  }, by < 0 ? "Previous step" : "Next step");
  const figure = (picture, words, alt) => (picture
    ? el("figure", {}, el("figcaption", {}, words), el("img", { src: address(picture), alt })) : null);
  large.update(now);
  keepFocus(byId("zoom"), () => byId("zoom").replaceChildren(
    el("div", { class: "bar" },
      el("h2", { id: "zoom-title" }, `${fullName(setting)}, ${stepWord(now)}`),
      move(-1, "back"), move(1, "on"),
      el("button", { type: "button", id: "zoom-close", onclick: () => byId("zoom").close() }, "Close")),
    el("p", {}, `${caption(setting, now).replace(/\.$/, "")}. ${setting.words}`),
    el("div", { class: "zoomed" },
      large.nodes,
      medianParts.latent ? latent(medianParts.latent, now, data.runs[setting.roles.median].seed) : null,
      figure(medianParts.strip,
        `Each row is one chain, and each column one recorded step (seed ${data.runs[setting.roles.median].seed})`,
        "The same chains at each recorded step"),
      figure(drawn, "Interpolations between two images through the latent space, after some steps of the chain",
        "Interpolations after some steps of the chain"))));
}

// The latent codes of the chains at step 0 and at this step, among the codes of images, in a plane.
const LATENT = 300, DOT = 2.2; // px
function latent(picture, now, seed) {
  const canvas = el("canvas", { width: LATENT, height: LATENT, role: "img" }), pen = canvas.getContext("2d");
  const points = bytes(picture), place = picture.steps.indexOf(now);
  const style = getComputedStyle(document.documentElement);
  const draw = (from, count, color, open) => {
    pen.fillStyle = pen.strokeStyle = style.getPropertyValue(color);
    for (let i = from; i < from + count; i += 2) {
      pen.beginPath();
      pen.arc(8 + (points[i] / 255) * (LATENT - 16), LATENT - 8 - (points[i + 1] / 255) * (LATENT - 16), DOT, 0, 7);
      if (open) pen.stroke(); else pen.fill();
    }
  };
  draw(0, picture.codes, "--soft");
  const chains = (at, color, open) => draw(picture.codes + at * picture.chains, picture.chains, color, open);
  chains(0, "--c0", true);
  if (place >= 0) chains(place, "--c1");
  canvas.ariaLabel = `Latent space: ${picture.codes / 2} codes of images and ${picture.chains / 2} chains after ${stepWord(now)}`;
  const explained = picture.explained < 0.995 ? `, on the two main axes of the codes, which hold ${Math.round(100 * picture.explained)} % of their variance` : "";
  return el("figure", { class: "latent" },
    el("figcaption", {}, `Latent space (seed ${seed})${explained}`), canvas,
    el("p", { class: "hint" }, "Grey dots are the codes of images, and rings are the chains at step 0. " +
      (place >= 0 ? `Coloured dots are the chains after ${stepWord(now)}.` : `Step ${now} was not recorded.`)));
}
