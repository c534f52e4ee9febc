// The tools of the paint page: what a pointer or a key does to the mask, and the marks that show it beforehand.
// Points are in pixels of the image. Knows nothing of events.
import * as raster from "./raster.js";

const CLOSE = 10; // screen pixels around a polygon's first corner that close it
const SPARE = 1.5; // how much larger than two boxes their common one may be
const LARGEST = 200000; // pixels of a box that others were joined into

const area = ([left, top, right, bottom]) => Math.max(0, right - left) * Math.max(0, bottom - top);

// Adds a box to a list whose boxes hold little else than the stroke, however long and slanted that is.
function gatherBox(boxes, box) {
  if (raster.isNothing(box)) return;
  const last = boxes[boxes.length - 1];
  const both = last && [...last];
  if (both) raster.grow(both, ...box);
  if (both && area(both) <= Math.min(LARGEST, SPARE * (area(last) + area(box)))) boxes[boxes.length - 1] = both;
  else boxes.push(box);
}

// bench: {mask, view, history, regions, clicks, takesAway(), size(), regionSize(), value(), color(), wait(), drawn(box)}; `wait` says that the
// regions are not found yet, `drawn` hears of every change to the mask's pixels that is no step yet
export function createTools(bench) {
  const { mask, view, history, regions } = bench;
  let tool = "brush";
  let corners = []; // of the polygon in work
  let drawn = null; // {boxes, last} of the stroke in work
  let scribble = null; // the regions that this drag has selected
  let tip = null; // where the pointer or the cross is
  let click = null; // {at, away}: a pointer is down with the tool that clicks
  let cross = false; // whether it is the keyboard's cross

  const brushes = () => tool === "brush" || tool === "eraser";

  function commit(...boxes) {
    if (!history.keep(...boxes)) boxes.forEach((box) => view.touch(box));
  }

  function startStroke(at) {
    drawn = { boxes: [], last: at };
    strokeOn(at);
  }
  function strokeOn(at) {
    const box = raster.stroke(mask, drawn.last, at, bench.size(), bench.value());
    drawn.last = at;
    view.touch(box);
    bench.drawn(box);
    gatherBox(drawn.boxes, box);
  }
  function endStroke() {
    const { boxes } = drawn;
    drawn = null;
    commit(...boxes);
  }

  function addCorner(at) {
    if (corners.length >= 3) {
      const [a, b] = [view.toStage(...corners[0]), view.toStage(...at)];
      if (Math.hypot(a[0] - b[0], a[1] - b[1]) < CLOSE) {
        closePolygon();
        return;
      }
    }
    corners.push(at);
    view.redrawMarks();
  }
  function closePolygon() {
    const points = corners;
    corners = [];
    if (points.length >= 3) commit(raster.polygon(mask, points, bench.value()));
    view.redrawMarks();
  }
  function dropCorner() {
    if (tool === "click") return bench.clicks.drop();
    if (!corners.length) return false;
    corners.pop();
    view.redrawMarks();
    return true;
  }

  function flood(at) {
    const [x, y] = at.map(Math.floor);
    if (x >= 0 && y >= 0 && x < mask.width && y < mask.height) commit(raster.fill(mask, x, y, bench.value()));
  }

  function gather(at) {
    if (!regions.ready()) {
      bench.wait();
      return;
    }
    scribble = scribble || regions.none();
    if (regions.touch(scribble, ...at, bench.regionSize())) view.setPreview(regions.preview(scribble, bench.regionSize(), bench.color()));
  }
  function endGather() {
    const chosen = scribble;
    scribble = null;
    view.setPreview(null);
    if (chosen) commit(regions.apply(chosen, bench.regionSize(), bench.value()));
  }
  function hint() { // what a click would select
    if (tool === "click") showRegion();
    if (tool !== "region" || !tip || scribble || !regions.ready()) return;
    const chosen = regions.none();
    regions.touch(chosen, ...tip, bench.regionSize());
    view.setPreview(regions.preview(chosen, bench.regionSize(), bench.color()));
  }

  // --- a region from clicks ---
  function showRegion() {
    const found = tool === "click" && bench.clicks.region();
    view.setPreview(found ? { regions: found, roots: [0, 1], chosen: [0, 1], color: bench.color() } : null);
    view.redrawMarks();
  }
  async function paintRegion() {
    const value = bench.value();
    const box = await bench.clicks.paint(value);
    if (raster.isNothing(box)) return;
    bench.clicks.clear();
    commit(box);
  }

  // --- one pointer, from down to up ---
  function down(at, away = false) {
    if (brushes()) startStroke(at);
    else if (tool === "polygon") addCorner(at);
    else if (tool === "fill") flood(at);
    else if (tool === "region") gather(at);
    else if (tool === "click") click = { at, away };
  }
  function move(points) {
    if (drawn) points.forEach(strokeOn);
    else if (scribble) points.forEach(gather);
    else hint();
  }
  function up() {
    if (drawn) endStroke();
    else if (scribble) endGather();
    else if (click) {
      const { at, away } = click;
      click = null;
      bench.clicks.add(at, !away && !bench.takesAway());
    }
  }
  function abandon() { // a second finger came down, or Escape
    if (drawn) {
      history.drop(...drawn.boxes);
      drawn.boxes.forEach((box) => { view.touch(box); bench.drawn(box); });
    }
    [drawn, scribble, click, corners] = [null, null, null, []];
    showRegion();
  }

  function choose(name) {
    const other = name !== tool;
    tool = name;
    if (other) {
      corners = [];
      bench.clicks.clear();
      if (name === "click") bench.clicks.prepare();
    }
    showTip();
    view.redrawMarks();
  }
  function point(at, byKeys = false) {
    const marked = cross || corners.length > 0;
    [tip, cross] = [at, byKeys && at !== null];
    if (!at && !scribble && tool !== "click") view.setPreview(null);
    showTip();
    if (marked || cross) view.redrawMarks();
  }

  const showTip = () => view.setTip(brushes() ? tip : null, bench.size());

  // --- marks: the polygon in work, the keyboard's cross ---
  function marks(pen, toStage) {
    const line = (path, dash = []) => {
      for (const [width, style] of [[3, "rgb(0 0 0 / .65)"], [1.5, "#fff"]]) {
        pen.beginPath();
        path();
        pen.setLineDash(dash);
        [pen.lineWidth, pen.strokeStyle] = [width, style];
        pen.stroke();
      }
    };
    const here = tip && toStage(...tip);
    if (corners.length) {
      const path = corners.map((corner) => toStage(...corner));
      line(() => [...path, ...(here ? [here] : [])].forEach((spot, k) => (k ? pen.lineTo(...spot) : pen.moveTo(...spot))), [6, 4]);
      for (const [k, spot] of path.entries()) line(() => pen.arc(...spot, k ? 3 : 5, 0, 7));
    }
    if (tool === "click") bench.clicks.points().forEach(({ at, inside }) => markClick(pen, toStage(...at), inside));
    if (!cross) return;
    line(() => {
      pen.moveTo(here[0] - 12, here[1]);
      pen.lineTo(here[0] + 12, here[1]);
      pen.moveTo(here[0], here[1] - 12);
      pen.lineTo(here[0], here[1] + 12);
    });
  }

  function markClick(pen, [x, y], inside) { // a disc with a plus, or with a minus
    pen.setLineDash([]);
    pen.beginPath();
    pen.arc(x, y, 8, 0, 7);
    [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [inside ? "#166534" : "#991b1b", "#fff", 2];
    pen.fill();
    pen.moveTo(x - 4, y);
    pen.lineTo(x + 4, y);
    if (inside) {
      pen.moveTo(x, y - 4);
      pen.lineTo(x, y + 4);
    }
    pen.stroke();
  }

  view.setMarks(marks);
  return {
    down, move, up, abandon, choose, point, hint, showTip, closePolygon, dropCorner, showRegion, paintRegion,
    cancel: () => {
      abandon();
      if (tool === "click") bench.clicks.clear();
    },
    name: () => tool,
    use: (away) => { // one whole action where the cross is
      down(tip, away);
      up();
    },
    cross: () => (cross ? tip : null),
    forget: () => { corners = []; },
  };
}
