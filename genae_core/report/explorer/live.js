// Parts that follow the step: those in sight at once, the others when the browser has time.

const parts = new Map(); // element: what brings it to the step
const stale = new Set();
const inSight = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) {
      inSight.add(target);
      refresh(target);
    } else inSight.delete(target);
  }
}, { rootMargin: "50px" });

function follow(node, update) {
  parts.set(node, update);
  stale.add(node);
  watcher.observe(node);
  later();
  return node;
}
// What a place holds is about to be drawn anew.
function forget(place) {
  for (const node of parts.keys()) {
    if (!place.contains(node)) continue;
    watcher.unobserve(node);
    for (const all of [parts, stale, inSight]) all.delete(node);
  }
}
function refresh(node) {
  if (stale.delete(node)) parts.get(node)?.(stepNow());
}

let waiting = null;
function follows() {
  for (const node of parts.keys()) stale.add(node);
  for (const node of inSight) refresh(node);
  later();
}
function later() {
  byId("page").ariaBusy = "true";
  clearTimeout(waiting);
  waiting = setTimeout(catchUp, 150); // after the last of many moves
}
const SLICE_MS = 8; // of a frame, for what nobody sees yet
function catchUp() {
  const until = performance.now() + SLICE_MS;
  for (const node of stale) {
    if (performance.now() > until) {
      waiting = setTimeout(catchUp, 16);
      return;
    }
    refresh(node);
  }
  drawNotice();
  byId("page").ariaBusy = "false";
}
