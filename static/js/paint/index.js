// The paint page: the mask with its view, history, tools and saving, joined to what stands around the image.
import { createClasses } from "./classes.js";
import { createHistory } from "./history.js";
import { listenToKeys } from "./keys.js";
import { listenToPointers } from "./pointers.js";
import { read as readLabels } from "./raster.js";
import { createRegionSelect } from "./snap.js";
import { createSave } from "./save.js";
import { createTools } from "./tools.js";
import { createView } from "./view.js";

const $ = (name) => document.querySelector(`[data-${name}]`);
const stage = $("stage");
const page = JSON.parse(document.getElementById("paint-page").textContent);
const UNPAINTED = page.unpainted_id;
const mask = { width: page.width, height: page.height, labels: null };
let [view, history, save, classes, tools] = [];
let hidden = false;

const size = () => Number($("size").value);
const regionSize = () => Number($("region-size").value);
const value = () => (tools.name() === "eraser" ? UNPAINTED : classes.active());
const color = () => (value() === UNPAINTED ? "" : classes.colorOf(value()));

function showSteps() {
  const can = history.can();
  $("undo").disabled = !can.undo;
  $("redo").disabled = !can.redo;
}
function afterStep() {
  showSteps();
  showEmpty();
  view.redraw();
  save.changed(true);
}
function showEmpty() {
  $("nothing-row").hidden = !mask.labels.every((label) => label === UNPAINTED);
}
function step(how) {
  tools.forget();
  how();
  view.redrawMarks();
}

// --- words: what lies under the pointer, what was saved ---
const readout = $("readout");
function read([x, y]) {
  const [i, j] = [Math.floor(x), Math.floor(y)];
  const inside = i >= 0 && j >= 0 && i < mask.width && j < mask.height;
  readout.hidden = !inside;
  if (inside) readout.textContent = `${classes.nameOf(mask.labels[j * mask.width + i])} at ${i}, ${j}`;
}
function says(words, kind) {
  const line = $("saved");
  line.textContent = words;
  line.className = `save-state small ${kind}`;
}

// --- choosing tools and settings ---
function choose(name) {
  tools.choose(name);
  stage.dataset.tool = name;
  document.querySelector(`input[name=tool][value=${name}]`).checked = true;
  $("size-row").hidden = name !== "brush" && name !== "eraser";
  $("region-size-row").hidden = name !== "region";
  $("polygon-row").hidden = name !== "polygon";
}
function adjust(by) {
  const selecting = tools.name() === "region";
  const slider = selecting ? $("region-size") : $("size");
  slider.value = Number(slider.value) + by * (selecting ? 4 : Math.max(1, Math.round(size() / 6)));
  settings();
}
function settings() {
  $("size-says").textContent = `${size()} px`;
  $("region-size-says").textContent = regionSize() < 40 ? "small" : regionSize() < 75 ? "medium" : "large";
  view.setOpacity(hidden ? 0 : $("opacity").value / 100);
  $("hide").setAttribute("aria-pressed", hidden);
  tools.hint();
  view.redrawMarks();
}
function hide() {
  hidden = !hidden;
  settings();
}
const help = () => $("help").showModal();

function listen() {
  document.addEventListener("change", (event) => { if (event.target.name === "tool") choose(event.target.value); });
  for (const name of ["size", "region-size", "opacity"]) $(name).addEventListener("input", settings);
  $("undo").addEventListener("click", () => step(history.undo));
  $("redo").addEventListener("click", () => step(history.redo));
  $("hide").addEventListener("click", hide);
  $("close-polygon").addEventListener("click", tools.closePolygon);
  $("open-help").addEventListener("click", help);
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => (button.dataset.zoom === "fit" ? view.fit() : view.zoom(button.dataset.zoom === "in" ? 1.4 : 1 / 1.4)));
  }
  $("unpainted").addEventListener("change", () => save.changed(false));
  $("nothing").addEventListener("change", nothingThere);
  const unread = () => { readout.hidden = true; };
  listenToPointers({ stage, view, tools, read, unread });
  const [undo, redo] = [() => step(history.undo), () => step(history.redo)];
  listenToKeys({ stage, mask, view, tools, classes, choose, adjust, hide, help, undo, redo, read, unpainted: UNPAINTED });
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

// --- what the server has, and what to do when another tab was faster ---
async function load() {
  const answer = await fetch(stage.dataset.mask, { credentials: "same-origin", cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  const labels = await readLabels(await answer.blob(), mask.width, mask.height);
  return { labels, revision: Number(answer.headers.get("X-Revision")) };
}
function conflict(revision) {
  const box = $("conflict");
  box.hidden = false;
  $("take-theirs").onclick = async () => {
    let theirs;
    try {
      theirs = await load();
    } catch {
      says("The other version could not be loaded. Try again in a moment.", "bad");
      return;
    }
    mask.labels.set(theirs.labels);
    box.hidden = true;
    history.keep([0, 0, mask.width, mask.height]); // ours can be had back by undo
    save.resume(theirs.revision, false);
  };
  $("keep-mine").onclick = () => {
    box.hidden = true;
    save.resume(revision, true);
  };
}

// A class may go when the server knows of no image that shows it. What undo could bring back goes with it.
async function removeClass(id) {
  if (!(await save.flush())) return false;
  let said = "The server cannot be reached. Try again in a moment.";
  try {
    const answer = await fetch(`classes/${id}/remove/`, { method: "POST", headers: save.headers(), credentials: "same-origin" });
    if (answer.ok) {
      history.forget();
      showSteps();
      says("The class is removed.", "good");
      return true;
    }
    said = (await answer.json()).error.message;
  } catch { /* said above */ }
  says(said, "warn");
  return false;
}

const gather = () => ({
  mask,
  fields: {
    unpainted: $("unpainted").value,
    nothing_there: $("nothing").checked ? "1" : "",
    classes: JSON.stringify(classes.plain()),
  },
});

async function begin() {
  const image = Object.assign(new Image(), { src: stage.dataset.image });
  let first;
  try {
    [first] = await Promise.all([load(), image.decode()]);
  } catch {
    says("The image could not be loaded. Reload the page to try again.", "bad");
    return;
  }
  mask.labels = first.labels;
  view = createView(stage, image, mask);
  save = createSave({ url: stage.dataset.mask, revision: first.revision, gather, say: says, conflict });
  history = createHistory(mask, afterStep);
  const regions = createRegionSelect(image, mask, stage.dataset.worker, (took) => { stage.dataset.regions = Math.round(took); });
  const wait = () => { document.getElementById("announcer").textContent = "Region select is ready in a moment."; };
  tools = createTools({ mask, view, history, regions, size, regionSize, value, color, wait });
  classes = createClasses({
    list: $("class-list"),
    unpainted: $("unpainted"),
    add: $("add-class"),
    classes: page.classes,
    taken: page.taken,
    most: page.most,
    unpaintedId: UNPAINTED,
    palette: page.palette,
    changed: () => {
      view.setColors(page.classes);
      save.changed(false);
    },
    chosen: () => tools.hint(),
    remove: removeClass,
  });
  $("unpainted").value = page.unpainted;
  $("nothing").checked = page.nothing;
  view.setColors(page.classes);
  listen();
  leaving();
  choose("brush");
  settings();
  showEmpty();
  says(page.revision ? "All changes are saved." : "Nothing painted yet. What you paint is saved automatically.", "");
  stage.dataset.ready = "1";
}
begin();
