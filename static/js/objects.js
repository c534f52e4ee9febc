// Objects of a result: outlines with numbers on the image, a table to sort and filter, both linked by click, corrections
// with undo, and plots. What is shown comes from the server as JSON; a correction sends the form again.
import { drawOutlines } from "./objects/outlines.js";
import { drawPlots } from "./objects/plots.js";
import { drawTable } from "./objects/table.js";

async function show(section) {
  const found = section.querySelector("#objects-found");
  if (!found?.dataset.key || found.dataset.shown === found.dataset.key) return;
  found.dataset.shown = found.dataset.key;
  const answer = await fetch(section.dataset.objects, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!answer.ok) return;
  const { view, shown } = await answer.json();
  if (!view) return;
  view.shown = shown;
  const form = section.querySelector("#objects-form");
  const measured = { view, selected: new Set(), listeners: [] };
  measured.select = (numbers, by) => {
    measured.selected = new Set(numbers);
    for (const hear of measured.listeners) hear(by);
  };
  drawOutlines(section.closest(".result").querySelector("[data-viewer]"), measured);
  const place = placeFor(section, found);
  drawTable(place, measured);
  drawPlots(place, measured);
  corrections(place, form, measured);
}

// Where table and plots go: on a wide page below the image, else among the figures.
function placeFor(section, found) {
  const look = section.closest(".result").querySelector(".look");
  look.querySelector(".objects-wide")?.remove();
  const place = Object.assign(document.createElement("div"), { className: "objects-wide" });
  const table = found.querySelector(".objects-table");
  if (matchMedia("(min-width: 901px)").matches) look.append(place);
  else found.insertBefore(place, found.querySelector(".objects-files"));
  if (table) place.append(table);
  return place;
}

// --- deleting and merging: edits name a pixel in each object, so they hold when numbers change ---
function corrections(place, form, measured) {
  const bar = document.createElement("div");
  bar.className = "cluster objects-edit";
  bar.innerHTML = `<button type="button" class="button small" data-edit="delete">Delete object</button>
    <button type="button" class="button small" data-edit="merge">Merge objects</button>
    <button type="button" class="button small" data-edit="undo">Undo</button>
    <span class="small soft" role="status"></span>`;
  const field = form.elements.edits;
  const edits = () => JSON.parse(field.value || "[]");
  const send = (changed) => {
    field.value = JSON.stringify(changed);
    form.requestSubmit();
  };
  const [remove, merge, undo] = bar.querySelectorAll("button");
  const status = bar.querySelector("[role=status]");
  const update = () => {
    const count = measured.selected.size;
    remove.disabled = count === 0;
    merge.disabled = count < 2;
    undo.disabled = edits().length === 0;
    status.textContent = count ? `${count} selected` : "Click an object to select it; hold Shift for more.";
  };
  const pixels = () => [...measured.selected].map((number) => pixelIn(measured.view.outlines[number - 1]));
  bar.addEventListener("click", (event) => {
    const what = event.target.dataset.edit;
    if (what === "undo") send(edits().slice(0, -1));
    else if (what === "delete") send([...edits(), ...pixels().map((pixel) => ["delete", [pixel]])]);
    else if (what === "merge") send([...edits(), ["merge", pixels()]]);
  });
  measured.listeners.push(update);
  update();
  place.prepend(bar);
}

// A pixel well inside an object: in the middle of the longest run on the middle one of some rows.
export function pixelIn(parts) {
  let best = [0, 0, -1];
  for (const rings of parts) {
    const ys = rings[0].filter((_, k) => k % 2);
    const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    for (let step = 1; step < 8; step += 1) {
      const y = Math.floor(top + ((bottom - top) * step) / 8) + 0.5;
      const crossings = rings.flatMap((ring) => crossed(ring, y)).sort((a, b) => a - b);
      for (let k = 0; k + 1 < crossings.length; k += 2) {
        const width = crossings[k + 1] - crossings[k];
        if (width > best[2]) best = [Math.floor((crossings[k] + crossings[k + 1]) / 2), Math.floor(y), width];
      }
    }
  }
  return best.slice(0, 2);
}

function crossed(ring, y) {
  const found = [];
  for (let k = 0; k < ring.length; k += 2) {
    const [x1, y1, x2, y2] = [ring[k], ring[k + 1], ring[(k + 2) % ring.length], ring[(k + 3) % ring.length]];
    if (y1 <= y !== y2 <= y) found.push(x1 + ((y - y1) * (x2 - x1)) / (y2 - y1));
  }
  return found;
}

function find() {
  document.querySelectorAll("#objects").forEach(show);
}
find();
document.addEventListener("htmx:afterSettle", find);
