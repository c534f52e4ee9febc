// The viewer: an image with its mask and confidence as layers, zoom and pan, and what lies under the pointer.
// Class ids and confidence come as grey PNGs, whose values a canvas reads exactly.
import { createDisplay } from "./display.js";

const RAMP = [[68, 1, 84], [49, 104, 142], [53, 183, 121], [253, 231, 37]];
const MOST_ZOOM = 24;

async function values(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(String(answer.status));
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  const grey = new Uint8Array(canvas.width * canvas.height);
  for (let k = 0; k < grey.length; k += 1) grey[k] = pixels[4 * k];
  return { width: canvas.width, height: canvas.height, grey };
}

// table: Uint8 of 256 x RGBA
function draw(canvas, field, table) {
  canvas.width = field.width;
  canvas.height = field.height;
  const out = new ImageData(field.width, field.height);
  const colors = new Uint32Array(table.buffer);
  const cells = new Uint32Array(out.data.buffer);
  for (let k = 0; k < cells.length; k += 1) cells[k] = colors[field.grey[k]];
  canvas.getContext("2d").putImageData(out, 0, 0);
}

function classTable(rows) {
  const table = new Uint8ClampedArray(4 * 256);
  for (const row of rows) {
    const toggle = row.querySelector("[data-toggle]");
    if (toggle && !toggle.checked) continue;
    const color = parseInt(row.dataset.color.slice(1), 16);
    table.set([color >> 16, (color >> 8) & 255, color & 255, 255], 4 * Number(row.dataset.id));
  }
  return table;
}

function rampTable() {
  const table = new Uint8ClampedArray(4 * 256);
  for (let k = 0; k < 256; k += 1) {
    const at = (k / 255) * (RAMP.length - 1);
    const low = Math.min(RAMP.length - 2, Math.floor(at));
    const color = RAMP[low].map((part, c) => part + (RAMP[low + 1][c] - part) * (at - low));
    table.set([...color, 255], 4 * k);
  }
  return table;
}

const loaded = (image) => (image.complete && image.naturalWidth ? Promise.resolve() : new Promise((yes, no) => {
  image.addEventListener("load", yes, { once: true });
  image.addEventListener("error", no, { once: true });
}));

function withScript(scope) {
  for (const element of scope.querySelectorAll("[data-with-script]")) element.hidden = false;
  for (const element of scope.querySelectorAll("[data-without-script]")) element.hidden = true;
}

async function setUp(viewer) {
  viewer.dataset.set = "1";
  const scope = viewer.closest(".result");
  const image = viewer.querySelector("[data-image]");
  const rows = [...scope.querySelectorAll("[data-classes] tr[data-id]")];
  let ids, confidence;
  try {
    [ids, confidence] = await Promise.all([values(viewer.dataset.ids), values(viewer.dataset.confidence), loaded(image)]);
  } catch {
    return; // the flat overlay stays
  }
  const stage = viewer.querySelector(".stage");
  const layer = document.createElement("canvas");
  layer.dataset.layer = "";
  stage.append(layer);
  withScript(scope);
  viewer.classList.add("ready");
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  for (const element of [image, layer]) {
    element.style.setProperty("width", `${width}px`);
    element.style.setProperty("height", `${height}px`);
  }
  viewer.style.setProperty("--aspect", `${width} / ${height}`);
  const opacity = scope.querySelector("[data-opacity]");
  const which = () => scope.querySelector("input[name=layer]:checked").value;

  function paint() {
    const shown = which();
    layer.hidden = shown === "image";
    if (shown === "confidence") draw(layer, confidence, rampTable());
    else if (shown !== "image") draw(layer, ids, classTable(rows));
    layer.style.setProperty("opacity", shown === "mask" ? 1 : opacity.value / 100);
    opacity.disabled = shown === "image" || shown === "mask";
    image.style.setProperty("visibility", shown === "mask" ? "hidden" : "visible");
    scope.querySelector("[data-ramp-legend]").hidden = shown !== "confidence";
  }

  // --- zoom and pan: `at` is where the image's corner lies, in pixels of the viewer ---
  let scale = 1;
  let least = 1;
  let at = [0, 0];

  function place() {
    const box = [viewer.clientWidth, viewer.clientHeight];
    at = at.map((value, axis) => {
      const size = [width, height][axis] * scale;
      return size <= box[axis] ? (box[axis] - size) / 2 : Math.min(0, Math.max(box[axis] - size, value));
    });
    stage.style.setProperty("transform", `translate(${at[0]}px, ${at[1]}px) scale(${scale})`);
    viewer.classList.toggle("close", scale >= 3);
    viewer.classList.toggle("zoomed", scale > least);
    viewer.dataset.scale = (scale / least).toFixed(2);
  }
  function fit() {
    least = Math.min(viewer.clientWidth / width, viewer.clientHeight / height);
    scale = least;
    place();
  }
  function zoom(factor, x = viewer.clientWidth / 2, y = viewer.clientHeight / 2) {
    const next = Math.min(Math.max(scale * factor, least), Math.max(least * 4, MOST_ZOOM));
    at = [x - ((x - at[0]) * next) / scale, y - ((y - at[1]) * next) / scale];
    scale = next;
    place();
  }

  // --- what lies under the pointer ---
  const readout = viewer.querySelector("[data-readout]");
  const names = new Map(rows.map((row) => [Number(row.dataset.id), row.dataset.name]));
  const spot = (event) => {
    const box = viewer.getBoundingClientRect();
    return [event.clientX - box.left - viewer.clientLeft, event.clientY - box.top - viewer.clientTop];
  };
  function read(event) {
    const [x, y] = spot(event).map((value, axis) => (value - at[axis]) / scale / [width, height][axis]);
    const inside = x >= 0 && y >= 0 && x < 1 && y < 1;
    readout.hidden = !inside;
    if (!inside) return;
    const look = (field) => field.grey[Math.floor(y * field.height) * field.width + Math.floor(x * field.width)];
    const name = names.get(look(ids)) ?? `class ${look(ids)}`;
    readout.textContent = `${name}, ${Math.round((100 * look(confidence)) / 255)} % confidence`;
  }

  const fingers = new Map();
  viewer.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    fingers.set(event.pointerId, spot(event));
    viewer.setPointerCapture(event.pointerId);
    read(event);
  });
  viewer.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before) {
      const now = spot(event);
      const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place_]) => place_);
      fingers.set(event.pointerId, now);
      if (others.length) {
        const span = (point) => Math.hypot(point[0] - others[0][0], point[1] - others[0][1]) || 1;
        zoom(span(now) / span(before), (now[0] + others[0][0]) / 2, (now[1] + others[0][1]) / 2);
      } else {
        at = [at[0] + now[0] - before[0], at[1] + now[1] - before[1]];
        viewer.classList.add("dragging");
        place();
      }
    }
    read(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    viewer.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      viewer.classList.remove("dragging");
    });
  }
  viewer.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") readout.hidden = true; });
  viewer.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...spot(event));
  }, { passive: false });
  viewer.addEventListener("dblclick", (event) => { if (!event.target.closest("button")) zoom(2, ...spot(event)); });
  viewer.addEventListener("keydown", (event) => {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.target.closest("button")) return;
    if (moves[event.key]) { at = [at[0] + moves[event.key][0], at[1] + moves[event.key][1]]; place(); }
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (!button) return;
    if (button.dataset.zoom === "fit") fit(); else zoom(button.dataset.zoom === "in" ? 1.4 : 1 / 1.4);
  });
  scope.addEventListener("input", (event) => { if (event.target.matches("[data-opacity], [name=layer], [data-toggle]")) paint(); });
  for (const toggle of scope.querySelectorAll("[data-toggle]")) toggle.disabled = false;
  createDisplay(scope.querySelector("[data-display]"), image);
  new ResizeObserver(fit).observe(viewer);
  fit();
  paint();
  viewer.dataset.ready = "1";
}

async function setUpComparison(figure) {
  figure.dataset.set = "1";
  const scope = figure.closest(".result");
  const image = figure.querySelector("[data-image]");
  let fields;
  try {
    fields = await Promise.all([values(figure.dataset.leftIds), values(figure.dataset.rightIds)]);
    await loaded(image);
  } catch {
    return;
  }
  const layers = ["left", "right"].map((side, k) => {
    const canvas = document.createElement("canvas");
    draw(canvas, fields[k], classTable(scope.querySelectorAll(`[data-side=${side}] tr[data-id]`)));
    canvas.className = side === "right" ? "after" : "before";
    return canvas;
  });
  image.after(...layers);
  withScript(scope);
  const opacity = scope.querySelector("[data-opacity]");
  const paint = () => layers.forEach((canvas) => canvas.style.setProperty("opacity", opacity.value / 100));
  opacity.addEventListener("input", paint);
  paint();
  figure.dataset.ready = "1";
}

function find() {
  document.querySelectorAll("[data-viewer]:not([data-set])").forEach(setUp);
  document.querySelectorAll("[data-compare]:not([data-set])").forEach(setUpComparison);
}
find();
document.addEventListener("htmx:afterSettle", find);
