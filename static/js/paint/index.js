// The paint page: the mask with its view, history, tools, saving and live answers, joined to what stands around the image.
import { createDisplay } from "../display.js";
import { createAnswerPanel } from "./answer.js";
import { createClasses } from "./classes.js";
import { createClicks } from "./clicks.js";
import { createCoarse } from "./coarse.js";
import { createHistory } from "./history.js";
import { listenToKeys } from "./keys.js";
import { createLive } from "./live.js";
import { listenToPointers } from "./pointers.js";
import { read as readLabels } from "./raster.js";
import { createRegionSelect } from "./snap.js";
import { createSave, newEditor } from "./save.js";
import { createSteps } from "./steps.js";
import { createStrip } from "./strip.js";
import { createTools } from "./tools.js";
import { createView } from "./view.js";

const $ = (name) => document.querySelector(`[data-${name}]`);
const stage = $("stage");
const page = JSON.parse(document.getElementById("paint-page").textContent);
const UNPAINTED = page.unpainted_id;
const mask = { width: page.width, height: page.height, labels: null };
let [view, coarse, history, steps, save, classes, tools, clicks, live, panel, strip] = [];
let hidden = false;
let erasing = false; // the pen's other end is down
let answer = null; // the live answer on the screen
let quiet = false; // a step that is on the server already

const size = () => Number($("size").value);
const regionSize = () => Number($("region-size").value);
const value = () => (erasing || tools.name() === "eraser" ? UNPAINTED : classes.active());
const color = () => (value() === UNPAINTED ? "" : classes.colorOf(value()));
const scribbling = () => document.querySelector("input[name=mode]:checked").value === "scribble";
const background = () => (classes.plain().find((row) => row.name.toLowerCase() === "background") || classes.plain()[0]).id;
const state = () => (history.painted() ? "corrected" : answer ? "proposed" : "none");

function showSteps() {
  const can = history.can();
  $("undo").disabled = !can.undo;
  $("redo").disabled = !can.redo;
}
function afterStep(boxes) {
  for (const box of boxes) {
    coarse.update(box);
    view.touch(box);
  }
  showSteps();
  showEmpty();
  steps.later();
  if (quiet) return;
  strip.setState(state());
  showCounts("touched");
  save.changed(true);
  if (scribbling()) live.ask();
}
function showEmpty() {
  const empty = !history.painted();
  $("nothing-row").hidden = !empty || scribbling();
  $("all-background").hidden = !empty || !scribbling();
}
function step(how) {
  tools.forget();
  how();
  view.redrawMarks();
}

// --- what lies under the pointer, what was saved ---
const readout = $("readout");
function read([x, y]) {
  const [i, j] = [Math.floor(x), Math.floor(y)];
  const inside = i >= 0 && j >= 0 && i < mask.width && j < mask.height;
  readout.hidden = !inside;
  if (inside) readout.textContent = `${nameAt(i, j)} at ${i}, ${j}`;
}
function nameAt(i, j) {
  const label = mask.labels[j * mask.width + i];
  if (label !== UNPAINTED || !answer || !scribbling()) return classes.nameOf(label);
  const place = Math.floor((j * answer.height) / mask.height) * answer.width + Math.floor((i * answer.width) / mask.width);
  return `${classes.nameOf(answer.ids[place])}, ${Math.round(answer.sure[place] / 2.55)} % confident,`;
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
  $("click-row").hidden = name !== "click";
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
  $("hide").setAttribute("aria-pressed", hidden);
  tools.hint();
  tools.showTip();
}
function tints() {
  const [strokes, answers] = hidden ? [0, 0] : [$("opacity").value / 100, $("answer-opacity").value / 100];
  view.setTints({ strokes, answer: answers, edged: scribbling() });
}
function hide() {
  hidden = !hidden;
  settings();
  tints();
}
const help = () => $("help").showModal();

// --- a region from clicks ---
const takesAway = () => document.querySelector("input[name=click-side]:checked").value === "take";
const otherSide = () => { document.querySelector(`input[name=click-side][value=${takesAway() ? "add" : "take"}]`).checked = true; };
function showClicks() {
  const found = clicks.region();
  $("paint-region").disabled = !found;
  $("cancel-region").disabled = !clicks.points().length;
  if (found) stage.dataset.clickMs = Math.round(found.took);
  stage.dataset.clicked = found ? found.clicks : 0;
  if (!clicks.points().length) document.querySelector("input[name=click-side][value=add]").checked = true;
  tools.showRegion();
}

// --- scribbles, where what is unpainted is unknown, or a whole mask, where it is a class ---
function showMode() {
  const scribbles = scribbling();
  for (const element of document.querySelectorAll("[data-in-scribbles]")) element.hidden = !scribbles;
  for (const element of document.querySelectorAll("[data-in-whole]")) element.hidden = scribbles;
  showEmpty();
  tints();
}
function changeMode() {
  $("unpainted").value = background();
  $("nothing").checked = false;
  showMode();
  if (scribbling()) live.ask(0);
  else {
    live.stop();
    showAnswer(null);
    panel.say("off", "");
  }
  save.changed(false);
}

// "Nothing to paint here": all of it is background, as a mask or by what unpainted pixels count as.
function nothingThere() {
  if ($("nothing").checked) $("unpainted").value = background();
  save.changed(false);
}
function fillWithBackground() {
  mask.labels.forEach((label, k) => { if (label === UNPAINTED) mask.labels[k] = background(); });
  history.keep([0, 0, mask.width, mask.height]);
}

// --- the live answer ---
function showAnswer(found) {
  answer = found;
  view.setAnswer(found);
  panel.show(found);
  $("accept-answer").disabled = !found;
  if (!history.painted()) strip.setState(found ? "proposed" : "none");
  if (found) Object.assign(stage.dataset, { live: Number(stage.dataset.live || 0) + 1, liveMs: Math.round(found.took || 0) });
}

// What is on the screen is right: the server writes the answer under what was painted.
async function accept() {
  if (!answer || !scribbling()) return false;
  $("accept-answer").disabled = true;
  const found = await save.post(stage.dataset.accept, answer.png);
  $("accept-answer").disabled = false;
  if (!found) return false;
  await follow();
  says("Accepted and saved.", "good");
  strip.setState("accepted");
  showCounts("all");
  return true;
}
async function follow() { // the mask as the server has it now is one step, which can be undone
  const theirs = await load();
  mask.labels.set(theirs.labels);
  quiet = true;
  history.keep([0, 0, mask.width, mask.height]);
  quiet = false;
}
async function acceptAndGo() {
  if (!(await accept())) {
    if (scribbling()) says("There is no answer to accept yet.", "warn");
    return;
  }
  await steps.now();
  const next = await suggested(true);
  if (next) window.location.assign(next);
}

// --- which image is next ---
async function suggested(onlyOpen) {
  if (strip.asksServer() && stage.dataset.nextUrl) {
    try {
      const found = await fetch(stage.dataset.nextUrl, { credentials: "same-origin", signal: AbortSignal.timeout(1500) });
      if (found.ok) return (await found.json()).url || null;
    } catch { /* the strip knows one too */ }
  }
  return strip.next(onlyOpen);
}
async function goNext(event) {
  if (event) event.preventDefault();
  if (!(await save.flush())) return;
  await steps.now();
  const next = await suggested(false);
  if (next) window.location.assign(next);
}

// A result that is mended: what of the model's answer counts as right.
function showCounts(which) {
  const choice = document.querySelector(`input[name=counts][value=${which}]`);
  if (choice) choice.checked = true;
}
async function count(which) {
  if (which === "all") {
    if (!(await accept())) showCounts("touched");
  } else step(history.undo);
}

function listen() {
  document.addEventListener("change", (event) => {
    if (event.target.name === "tool") choose(event.target.value);
    else if (event.target.name === "mode") changeMode();
    else if (event.target.name === "counts") count(event.target.value);
  });
  for (const name of ["size", "region-size"]) $(name).addEventListener("input", settings);
  for (const name of ["opacity", "answer-opacity"]) $(name).addEventListener("input", () => { hidden = false; settings(); tints(); });
  $("undo").addEventListener("click", () => step(history.undo));
  $("redo").addEventListener("click", () => step(history.redo));
  $("hide").addEventListener("click", hide);
  $("close-polygon").addEventListener("click", tools.closePolygon);
  $("paint-region").addEventListener("click", tools.paintRegion);
  $("cancel-region").addEventListener("click", tools.cancel);
  $("open-help").addEventListener("click", help);
  $("accept-answer").addEventListener("click", acceptAndGo);
  if ($("next")) $("next").addEventListener("click", goNext);
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => (button.dataset.zoom === "fit" ? view.fit() : view.zoom(button.dataset.zoom === "in" ? 1.4 : 1 / 1.4)));
  }
  $("unpainted").addEventListener("change", () => save.changed(false));
  $("nothing").addEventListener("change", nothingThere);
  $("all-background").addEventListener("click", fillWithBackground);
  const unread = () => { readout.hidden = true; };
  listenToPointers({ stage, view, tools, read, unread, erase: (whether) => { erasing = whether; } });
  const [undo, redo] = [() => step(history.undo), () => step(history.redo)];
  const next = () => { if ($("next")) goNext(); };
  listenToKeys({ stage, mask, view, tools, classes, choose, adjust, hide, help, undo, redo, next, accept: acceptAndGo, otherSide, paintRegion: tools.paintRegion, read, unpainted: UNPAINTED });
}

// --- leaving: first everything is saved ---
function leaving() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-leave]");
    if (!link || event.defaultPrevented || !save.dirty()) return;
    event.preventDefault();
    if (await save.flush()) window.location.assign(link.href);
  });
  document.addEventListener("submit", async (event) => {
    if (!event.target.matches("[data-leave]") || !save.dirty()) return;
    event.preventDefault();
    event.stopPropagation();
    const button = event.submitter;
    if (await save.flush()) event.target.requestSubmit(button);
  }, true);
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") steps.now(); });
}

// --- what the server has, and what to do when another tab was faster ---
async function load() {
  const found = await fetch(stage.dataset.mask, { credentials: "same-origin", cache: "no-store" });
  if (!found.ok) throw new Error(String(found.status));
  const labels = await readLabels(await found.blob(), mask.width, mask.height);
  return { labels, revision: Number(found.headers.get("X-Revision")) };
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
    const found = await fetch(`classes/${id}/remove/`, { method: "POST", headers: save.headers(), credentials: "same-origin" });
    if (found.ok) {
      history.forget();
      steps.later();
      showSteps();
      says("The class is removed.", "good");
      return true;
    }
    said = (await found.json()).error.message;
  } catch { /* said above */ }
  says(said, "warn");
  return false;
}

const gather = () => ({
  mask,
  fields: {
    unpainted: scribbling() ? UNPAINTED : $("unpainted").value,
    nothing_there: $("nothing").checked ? "1" : "",
    classes: JSON.stringify(classes.plain()),
  },
});

// The answer of the model whose result is mended; there is none for other images.
async function proposal() {
  if (!stage.dataset.proposal || history.painted()) return;
  try {
    const found = await fetch(stage.dataset.proposal, { credentials: "same-origin" });
    if (!found.ok) return;
    const png = await found.blob();
    const ids = await readLabels(png, mask.width, mask.height);
    const counts = new Uint32Array(256);
    for (const id of ids) counts[id] += 1;
    const rows = classes.plain().map((row) => ({ ...row, percent: (100 * counts[row.id]) / ids.length }));
    showAnswer({ ids, sure: new Uint8Array(ids.length).fill(255), png, width: mask.width, height: mask.height, classes: rows, by: "model", by_name: page.model, mean_confidence: null, proposal: true });
  } catch { /* the live answer follows */ }
}

function createParts(image, first) {
  mask.labels = first.labels;
  coarse = createCoarse(mask);
  view = createView(stage, image, mask, coarse);
  const editor = newEditor();
  save = createSave({ editor, url: stage.dataset.mask, revision: first.revision, gather, say: says, conflict });
  history = createHistory(mask, afterStep);
  steps = createSteps(stage.dataset.id, history);
  strip = createStrip($("siblings"));
  panel = createAnswerPanel($("class-list"), $("live"));
  const regions = createRegionSelect(image, mask, stage.dataset.worker, (took) => { stage.dataset.regions = Math.round(took); });
  const wait = () => { document.getElementById("announcer").textContent = "Region select is ready in a moment."; };
  const sayClick = (words) => { $("click-says").textContent = words; };
  clicks = createClicks({ mask, editor, url: stage.dataset.regionUrl, headers: save.headers, changed: showClicks, say: sayClick });
  tools = createTools({ mask, view, history, regions, clicks, takesAway, size, regionSize, value, color, wait, drawn: coarse.update });
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
    shown: () => panel.rows(),
    remove: removeClass,
  });
  live = createLive({
    editor,
    url: stage.dataset.answers,
    headers: save.headers,
    strokes: () => coarse,
    classes: classes.plain,
    show: showAnswer,
    say: panel.say,
  });
}

async function begin() {
  const image = Object.assign(new Image(), { src: stage.dataset.image });
  let first;
  try {
    [first] = await Promise.all([load(), image.decode()]);
  } catch {
    says("The image could not be loaded. Reload the page to try again.", "bad");
    return;
  }
  createParts(image, first);
  await steps.restore();
  $("unpainted").value = page.unpainted === UNPAINTED ? background() : page.unpainted;
  $("nothing").checked = page.nothing;
  view.setColors(page.classes);
  createDisplay($("display"), stage.querySelector("canvas"));
  listen();
  leaving();
  choose("brush");
  settings();
  showMode();
  showSteps();
  says(page.revision ? "All changes are saved." : "Nothing painted yet. What you paint is saved automatically.", "");
  stage.dataset.ready = "1";
  if (!scribbling()) return;
  await proposal();
  live.ask(0);
}
begin();
