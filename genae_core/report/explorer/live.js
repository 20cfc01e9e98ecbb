// Parts that follow the step. Those in sight follow at once, the others when the browser has time.

const parts = new Map(); // by element, the function that brings it to a step
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
  catchUpLater();
  return node;
}
// Stop following the parts inside an element that is about to be drawn anew.
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

let timeout = null;
function refreshAll() {
  for (const node of parts.keys()) stale.add(node);
  for (const node of inSight) refresh(node);
  catchUpLater();
}
function catchUpLater() {
  byId("page").ariaBusy = "true";
  clearTimeout(timeout);
  timeout = setTimeout(catchUp, 150); // after the last of many moves
}
const SLICE_MS = 8; // the part of a frame that goes to parts out of sight
function catchUp() {
  const until = performance.now() + SLICE_MS;
  for (const node of stale) {
    if (performance.now() > until) {
      timeout = setTimeout(catchUp, 16);
      return;
    }
    refresh(node);
  }
  drawNotice();
  byId("page").ariaBusy = "false";
}
