// The paint page: tools, pointers and keys, joined to the mask, its history and its saving.
(() => {
  "use strict";
  const { UNPAINTED } = paintClasses;
  const CLOSE = 10; // screen pixels around a polygon's first corner that close it
  const $ = (name) => document.querySelector(`[data-${name}]`);
  const stage = $("stage");
  if (!stage) return;
  const page = JSON.parse(document.getElementById("paint-page").textContent);
  const mask = { width: page.width, height: page.height, labels: null };

  let [view, history, save, classes, snap] = [];
  let tool = "brush";
  let corners = []; // of the polygon in work
  let cross = null; // where the keyboard points, in pixels of the picture
  let pointer = null; // where the mouse is, in stage pixels
  let drawn = null; // {box, last} of the stroke in work
  let scribble = null; // what the snapping tool has gathered
  let panning = false;
  let hidden = false;
  const fingers = new Map();
  let penSeen = false;

  const size = () => Number($("size").value);
  const reach = () => Number($("reach").value);
  const value = () => (tool === "eraser" ? UNPAINTED : classes.active());
  const color = () => (value() === UNPAINTED ? "" : classes.colorOf(value()));
  const empty = () => mask.labels.every((label) => label === UNPAINTED);

  // --- what follows every change ---
  function commit(box) {
    if (!history.keep(box)) view.redraw();
  }
  function afterStep() {
    const can = history.can();
    $("undo").disabled = !can.undo;
    $("redo").disabled = !can.redo;
    showEmpty();
    view.redraw();
    save.changed(true);
  }
  function showEmpty() {
    const none = empty();
    $("nothing-row").hidden = !none;
    stage.dataset.empty = none ? "1" : "0";
  }
  const act = (how) => { if (how()) afterEdit(); };
  const afterEdit = () => { corners = []; view.redrawMarks(); };

  // --- tools at a point of the picture ---
  function startStroke(at) {
    drawn = { box: paintRaster.stroke(mask, at, at, size(), value()), last: at };
    view.redraw();
  }
  function goOn(at) {
    paintRaster.grow(drawn.box, ...paintRaster.stroke(mask, drawn.last, at, size(), value()));
    drawn.last = at;
    view.redraw();
  }
  function endStroke() {
    const { box } = drawn;
    drawn = null;
    commit(box);
  }
  function addCorner(at) {
    if (corners.length >= 3) {
      const [a, b] = [view.toStage(...corners[0]), view.toStage(...at)];
      if (Math.hypot(a[0] - b[0], a[1] - b[1]) < CLOSE) { closePolygon(); return; }
    }
    corners.push(at);
    view.redrawMarks();
  }
  function closePolygon() {
    const points = corners;
    corners = [];
    if (points.length >= 3) commit(paintRaster.polygon(mask, points, value()));
    view.redrawMarks();
  }
  function flood(at) {
    const [x, y] = at.map(Math.floor);
    if (x >= 0 && y >= 0 && x < mask.width && y < mask.height) commit(paintRaster.fill(mask, x, y, value()));
  }
  function gather(at) {
    if (!snap.ready()) { say("Looking at the picture; the snapping tool is ready in a moment."); return; }
    scribble = scribble || snap.none();
    if (snap.touch(scribble, ...at, reach())) view.setPreview(snap.preview(scribble, reach(), color()));
  }
  function endGather() {
    const chosen = scribble;
    scribble = null;
    view.setPreview(null);
    if (chosen) commit(snap.apply(chosen, reach(), value()));
  }
  function hint(at) { // what a click would fill
    if (tool !== "snap" || !snap.ready() || scribble) return;
    const chosen = snap.none();
    snap.touch(chosen, ...at, reach());
    view.setPreview(snap.preview(chosen, reach(), color()));
  }
  function use(at) { // one whole action with the keyboard
    if (tool === "brush" || tool === "eraser") { startStroke(at); endStroke(); }
    else if (tool === "polygon") addCorner(at);
    else if (tool === "fill") flood(at);
    else if (tool === "snap") { gather(at); endGather(); }
  }
  function abandon() { // a second finger came down, or Escape
    if (drawn) history.drop(drawn.box);
    [drawn, scribble, corners] = [null, null, []];
    view.setPreview(null);
    view.redraw();
  }

  // --- marks: the brush's outline, the polygon in work, the keyboard's cross ---
  function marks(pen, toStage, scale) {
    const line = (path, dash = []) => {
      for (const [width, style] of [[3, "rgb(0 0 0 / .65)"], [1.5, "#fff"]]) {
        pen.beginPath();
        path();
        pen.setLineDash(dash);
        [pen.lineWidth, pen.strokeStyle] = [width, style];
        pen.stroke();
      }
    };
    const tip = cross ? toStage(...cross) : pointer;
    if (tip && (tool === "brush" || tool === "eraser")) line(() => pen.arc(...tip, Math.max(2, (size() * scale) / 2), 0, 7));
    if (corners.length) {
      const path = corners.map((corner) => toStage(...corner));
      line(() => [...path, ...(tip ? [tip] : [])].forEach((point, k) => (k ? pen.lineTo(...point) : pen.moveTo(...point))), [6, 4]);
      for (const [k, point] of path.entries()) line(() => pen.arc(...point, k ? 3 : 5, 0, 7));
    }
    if (cross) {
      const [x, y] = toStage(...cross);
      line(() => { pen.moveTo(x - 12, y); pen.lineTo(x + 12, y); pen.moveTo(x, y - 12); pen.lineTo(x, y + 12); });
    }
  }

  // --- pointers: mouse, pen and fingers ---
  const spot = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left - stage.clientLeft, event.clientY - box.top - stage.clientTop];
  };
  const fingersOnly = (event) => event.pointerType === "touch" && penSeen; // with a pen at work a hand only moves

  function down(event) {
    if (event.button > 1 || event.target.closest("button")) return;
    const at = spot(event);
    cross = null;
    pointer = at;
    penSeen = penSeen || event.pointerType === "pen";
    fingers.set(event.pointerId, at);
    stage.setPointerCapture(event.pointerId);
    if (fingers.size > 1) { abandon(); panning = true; return; }
    panning = event.button === 1 || tool === "hand" || stage.classList.contains("space") || fingersOnly(event);
    stage.classList.toggle("dragging", panning);
    if (panning) return;
    const point = view.toPicture(...at);
    if (tool === "brush" || tool === "eraser") startStroke(point);
    else if (tool === "polygon") addCorner(point);
    else if (tool === "fill") flood(point);
    else if (tool === "snap") gather(point);
  }

  function move(event) {
    const at = spot(event);
    const before = fingers.get(event.pointerId);
    pointer = at;
    if (before && panning) {
      const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
      fingers.set(event.pointerId, at);
      if (others.length) {
        const span = (point) => Math.hypot(point[0] - others[0][0], point[1] - others[0][1]) || 1;
        view.zoom(span(at) / span(before), (at[0] + others[0][0]) / 2, (at[1] + others[0][1]) / 2);
        view.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
      } else view.pan(at[0] - before[0], at[1] - before[1]);
      return;
    }
    if (before) fingers.set(event.pointerId, at);
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    const points = (all.length ? all : [event]).map((part) => view.toPicture(...spot(part)));
    if (drawn) points.forEach(goOn);
    else if (scribble) points.forEach(gather);
    else if (event.pointerType !== "touch") hint(points[points.length - 1]);
    read(points[points.length - 1]);
    view.redrawMarks();
  }

  function up(event) {
    if (!fingers.delete(event.pointerId)) return;
    stage.classList.remove("dragging");
    if (event.type === "pointercancel") abandon();
    else if (drawn) endStroke();
    else if (scribble) endGather();
    if (!fingers.size) panning = false;
    if (event.pointerType === "touch") { pointer = null; view.redrawMarks(); }
  }

  const readout = $("readout");
  function read([x, y]) {
    const [i, j] = [Math.floor(x), Math.floor(y)];
    const inside = i >= 0 && j >= 0 && i < mask.width && j < mask.height;
    readout.hidden = !inside;
    if (inside) readout.textContent = `${classes.nameOf(mask.labels[j * mask.width + i])} at ${i}, ${j}`;
  }
  function say(words) { document.getElementById("announcer").textContent = words; }

  // --- choosing tools and settings ---
  function choose(name) {
    if (name !== tool) { corners = []; view.setPreview(null); }
    tool = name;
    stage.dataset.tool = name;
    document.querySelector(`input[name=tool][value=${name}]`).checked = true;
    $("size-row").hidden = name !== "brush" && name !== "eraser";
    $("reach-row").hidden = name !== "snap";
    $("polygon-row").hidden = name !== "polygon";
    view.redrawMarks();
  }
  function adjust(by) {
    const slider = tool === "snap" ? $("reach") : $("size");
    const step = tool === "snap" ? 4 : Math.max(1, Math.round(size() / 6));
    slider.value = Number(slider.value) + by * step;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
  function settings() {
    $("size-says").textContent = `${size()} px`;
    $("reach-says").textContent = reach() < 40 ? "small" : reach() < 75 ? "middle" : "large";
    view.setOpacity(hidden ? 0 : $("opacity").value / 100);
    $("hide").setAttribute("aria-pressed", hidden);
    if (tool === "snap" && pointer) hint(view.toPicture(...pointer));
    view.redrawMarks();
  }

  // --- keys: everything but freehand painting goes without a mouse ---
  const TOOLS = { b: "brush", e: "eraser", p: "polygon", f: "fill", s: "snap", m: "hand" };
  function keys(event) {
    if (event.target.closest("input[type=text], input[type=color], select, textarea, dialog")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      if (key === "z") act(event.shiftKey ? history.redo : history.undo);
      else if (key === "y") act(history.redo);
      else return;
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === stage && onStage(event, key)) { event.preventDefault(); return; }
    if (TOOLS[key]) choose(TOOLS[key]);
    else if (/^[1-9]$/.test(key)) classes.nth(Number(key) - 1);
    else if (key === "u") classes.choose(UNPAINTED);
    else if (key === "," || key === ".") classes.step(key === "," ? -1 : 1);
    else if (key === "[" || key === "]") adjust(key === "[" ? -1 : 1);
    else if (key === "+" || key === "=") view.zoom(1.4);
    else if (key === "-") view.zoom(1 / 1.4);
    else if (key === "0") view.fit();
    else if (key === "h") { hidden = !hidden; settings(); }
    else if (key === "Escape") abandon();
    else if (key === "?") $("help").showModal();
    else return;
    event.preventDefault();
  }

  // The cross: arrow keys move it, Enter uses the tool there.
  function onStage(event, key) {
    const step = Math.max(1, Math.round(8 / Number(stage.dataset.scale))) * (event.shiftKey ? 6 : 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[key]) {
      cross = cross || [mask.width / 2, mask.height / 2].map((middle) => Math.floor(middle) + 0.5);
      cross = cross.map((part, axis) => Math.min([mask.width, mask.height][axis] - 0.5, Math.max(0.5, part + moves[key][axis])));
      view.show(...cross);
      read(cross);
      hint(cross);
      view.redrawMarks();
    } else if (key === "Enter" && tool === "polygon" && event.shiftKey) closePolygon();
    else if (key === "Enter" && cross) use(cross);
    else if (key === "c" && tool === "polygon") closePolygon();
    else if (key === "Backspace" && corners.length) { corners.pop(); view.redrawMarks(); }
    else if (key === " ") stage.classList.add("space");
    else return false;
    return true;
  }

  function listen() {
    stage.addEventListener("pointerdown", down);
    stage.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, up);
    stage.addEventListener("pointerleave", () => {
      if (fingers.size) return;
      pointer = null;
      readout.hidden = true;
      view.setPreview(null);
      view.redrawMarks();
    });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      view.zoom(Math.exp(-event.deltaY / 400), ...spot(event));
    }, { passive: false });
    stage.addEventListener("dblclick", () => { if (tool === "polygon") closePolygon(); });
    stage.addEventListener("blur", () => { cross = null; view.redrawMarks(); });
    document.addEventListener("keydown", keys);
    document.addEventListener("keyup", (event) => { if (event.key === " ") stage.classList.remove("space"); });
    document.addEventListener("change", (event) => { if (event.target.name === "tool") choose(event.target.value); });
    for (const name of ["size", "reach", "opacity"]) $(name).addEventListener("input", settings);
    $("undo").addEventListener("click", () => act(history.undo));
    $("redo").addEventListener("click", () => act(history.redo));
    $("hide").addEventListener("click", () => { hidden = !hidden; settings(); });
    $("close-polygon").addEventListener("click", closePolygon);
    $("open-help").addEventListener("click", () => $("help").showModal());
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => (button.dataset.zoom === "fit" ? view.fit() : view.zoom(button.dataset.zoom === "in" ? 1.4 : 1 / 1.4)));
    }
    $("unpainted").addEventListener("change", () => save.changed(false));
    $("nothing").addEventListener("change", nothingThere);
  }

  // "Nothing to paint here" needs unpainted pixels to count as something.
  function nothingThere() {
    const background = classes.plain().find((row) => row.name.toLowerCase() === "background");
    if ($("nothing").checked && Number($("unpainted").value) === UNPAINTED && background) $("unpainted").value = background.id;
    save.changed(false);
  }

  // --- leaving: first everything is saved ---
  function leaving() {
    document.addEventListener("click", async (event) => {
      const link = event.target.closest("a[data-leave]");
      if (!link || !save.dirty()) return;
      event.preventDefault();
      if (await save.flush()) window.location.assign(link.href);
    });
    document.addEventListener("submit", async (event) => {
      if (!event.target.matches("[data-leave]") || !save.dirty()) return;
      event.preventDefault();
      event.stopPropagation();
      if (await save.flush()) event.target.requestSubmit();
    }, true);
  }

  // --- saving, and what to do when another tab was faster ---
  function says(words, kind) {
    const line = $("saved");
    line.textContent = words;
    line.className = `save-state small ${kind}`;
    line.dataset.kind = kind;
  }
  async function load() {
    const answer = await fetch($("stage").dataset.mask, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const labels = await paintRaster.read(await answer.blob(), mask.width, mask.height);
    return { labels, revision: Number(answer.headers.get("X-Revision")) };
  }
  function conflict(revision) {
    const box = $("conflict");
    box.hidden = false;
    $("take-theirs").onclick = async () => {
      const theirs = await load();
      mask.labels.set(theirs.labels);
      box.hidden = true;
      history.keep([0, 0, mask.width, mask.height]); // ours can be had back by undo
      save.resume(theirs.revision, false);
      showEmpty();
    };
    $("keep-mine").onclick = () => {
      box.hidden = true;
      save.resume(revision, true);
    };
  }

  async function begin() {
    const image = new Image();
    image.src = stage.dataset.picture;
    let first;
    try {
      [first] = await Promise.all([load(), image.decode()]);
    } catch {
      says("The picture could not be loaded. Reload the page to try again.", "bad");
      return;
    }
    mask.labels = first.labels;
    view = paintView.create(stage, image, mask);
    save = paintSave.create({
      url: stage.dataset.mask,
      revision: first.revision,
      gather: () => ({
        mask,
        fields: { unpainted: $("unpainted").value, nothing_there: $("nothing").checked ? "1" : "", classes: JSON.stringify(classes.plain()) },
      }),
      say: says,
      conflict,
    });
    history = paintHistory.create(mask, afterStep);
    classes = paintClasses.create({
      list: $("class-list"),
      unpainted: $("unpainted"),
      add: $("add-class"),
      classes: page.classes,
      taken: page.taken,
      most: page.most,
      changed: () => { view.setColors(page.classes); save.changed(false); },
      chosen: () => { if (pointer) hint(view.toPicture(...pointer)); },
    });
    $("unpainted").value = page.unpainted;
    $("nothing").checked = page.nothing;
    snap = paintSnap.create(image, mask, stage.dataset.worker, (took) => { stage.dataset.regions = Math.round(took); });
    view.setColors(page.classes);
    view.setMarks(marks);
    listen();
    leaving();
    choose("brush");
    settings();
    showEmpty();
    says(page.revision ? "All changes are saved." : "Nothing painted yet. What you paint is saved by itself.", "");
    stage.dataset.ready = "1";
  }
  begin();
})();
