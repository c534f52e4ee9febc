// Histogram of one measurement by class, and scatter of two, as SVG; to take along as PNG or CSV.
import { shownColumns } from "./columns.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = matchMedia("(max-width: 480px)").matches ? 320 : 420; // text of a plot that shrinks is too small
const [HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [240, 52, 44, 12, 12];
const BINS = 20;
const PNG_SCALE = 3;

export function drawPlots(parent, measured) {
  const { view } = measured;
  const columns = shownColumns(view).filter((column) => column.numeric && view.rows.some((row) => row[column.at] !== null));
  if (view.rows.length < 2 || !columns.length) return;
  const place = document.createElement("details");
  place.className = "objects-plots";
  place.innerHTML = `<summary>Plots</summary><div class="row small"><label>Show <select data-x></select></label>
    <label>against <select data-y></select></label></div><figure class="plot"></figure>
    <div class="cluster"><button type="button" class="button small" data-png>PNG</button>
    <button type="button" class="button small" data-csv>CSV</button></div>`;
  const [x, y] = place.querySelectorAll("select");
  columns.forEach((column, k) => {
    x.append(new Option(column.title, k));
    y.append(new Option(column.title, k));
  });
  y.prepend(new Option("number of objects", "", true, true));
  const figure = place.querySelector("figure");
  let plot = null;
  const draw = () => {
    const across = columns[x.value];
    plot = y.value === "" ? histogram(view, across) : scatter(view, across, columns[y.value], measured);
    figure.replaceChildren(plot.svg);
  };
  x.addEventListener("change", draw);
  y.addEventListener("change", draw);
  place.addEventListener("toggle", () => { if (place.open && !plot) draw(); });
  measured.listeners.push(() => { if (plot && y.value !== "") draw(); });
  place.querySelector("[data-csv]").addEventListener("click", () => save(new Blob(["\ufeff", plot.csv], { type: "text/csv" }), `${plot.name}.csv`));
  place.querySelector("[data-png]").addEventListener("click", () => png(plot));
  parent.append(place);
}

function byClass(view) {
  const [idAt, nameAt] = ["class_id", "class"].map((name) => view.columns.indexOf(name));
  const colors = new Map(view.classes.map((row) => [row.class_id ?? row.id, row.color]));
  const groups = new Map();
  for (const row of view.rows) {
    const group = groups.get(row[idAt]) ?? { name: row[nameAt], color: colors.get(row[idAt]) ?? "#888888", rows: [] };
    group.rows.push(row);
    groups.set(row[idAt], group);
  }
  return [...groups.values()];
}

function histogram(view, column) {
  const values = view.rows.map((row) => row[column.at]).filter((value) => value !== null);
  const [low, high] = spread(values);
  const groups = byClass(view).map((group) => {
    const counts = new Array(BINS).fill(0);
    for (const row of group.rows) {
      const value = row[column.at];
      if (value !== null) counts[Math.min(BINS - 1, Math.floor((BINS * (value - low)) / (high - low)))] += 1;
    }
    return { ...group, counts };
  });
  const most = Math.max(1, ...Array.from({ length: BINS }, (_, k) => groups.reduce((sum, group) => sum + group.counts[k], 0)));
  const chart = axes(low, high, 0, 4 * Math.ceil(most / 4), column.title, "Objects"); // whole numbers at its four marks
  const wide = (WIDTH - LEFT - RIGHT) / BINS;
  for (let k = 0; k < BINS; k += 1) {
    let below = 0;
    for (const group of groups) {
      if (!group.counts[k]) continue;
      const [bottom, top] = [chart.y(below), chart.y(below + group.counts[k])];
      const bar = part("rect", { x: LEFT + k * wide + 0.5, y: top, width: wide - 1, height: bottom - top, fill: group.color });
      bar.append(titled(`${group.name}: ${group.counts[k]} from ${short(edge(low, high, k))} to ${short(edge(low, high, k + 1))}`));
      chart.svg.append(bar);
      below += group.counts[k];
    }
  }
  describe(chart.svg, `Histogram of ${column.title}: ${values.length} objects from ${short(low)} to ${short(high)}, median ${short(median(values))}.`);
  const lines = [["lower", "upper", ...groups.map((group) => group.name)]];
  for (let k = 0; k < BINS; k += 1) lines.push([edge(low, high, k), edge(low, high, k + 1), ...groups.map((group) => group.counts[k])]);
  return { svg: chart.svg, csv: csv(lines), name: `histogram_${view.columns[column.at]}` };
}

function scatter(view, across, up, measured) {
  const rows = view.rows.filter((row) => row[across.at] !== null && row[up.at] !== null);
  const [left, right] = spread(rows.map((row) => row[across.at]));
  const [low, high] = spread(rows.map((row) => row[up.at]));
  const chart = axes(left, right, low, high, across.title, up.title);
  for (const group of byClass(view)) {
    for (const row of group.rows) {
      if (row[across.at] === null || row[up.at] === null) continue;
      const chosen = measured.selected.has(row[0]);
      const dot = part("circle", { cx: chart.x(row[across.at]), cy: chart.y(row[up.at]), r: chosen ? 6 : 3, fill: group.color });
      dot.classList.toggle("selected", chosen);
      dot.append(titled(`No. ${row[0]}, ${group.name}: ${short(row[across.at])}, ${short(row[up.at])}`));
      dot.addEventListener("click", () => measured.select([row[0]], "image"));
      chart.svg.append(dot);
    }
  }
  describe(chart.svg, `Scatter of ${up.title} against ${across.title}, ${rows.length} objects.`);
  const lines = [["object", view.columns[across.at], view.columns[up.at]], ...rows.map((row) => [row[0], row[across.at], row[up.at]])];
  return { svg: chart.svg, csv: csv(lines), name: `scatter_${view.columns[across.at]}_${view.columns[up.at]}` };
}

function axes(left, right, low, high, across, up) {
  const svg = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", xmlns: SVG });
  const x = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  svg.append(part("path", { d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}`, class: "axis", fill: "none", stroke: "currentColor" }));
  const text = (content, attributes) => {
    const made = part("text", { "font-size": 11, fill: "currentColor", "font-family": "sans-serif", ...attributes });
    made.textContent = content;
    svg.append(made);
  };
  for (let k = 0; k <= 4; k += 1) {
    text(short(edgeOf(left, right, k)), { x: x(edgeOf(left, right, k)), y: HEIGHT - BOTTOM + 15, "text-anchor": k === 4 ? "end" : "middle" });
    text(short(edgeOf(low, high, k)), { x: LEFT - 5, y: y(edgeOf(low, high, k)) + 4, "text-anchor": "end" });
  }
  text(across, { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" });
  text(up, { transform: `translate(11 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle" });
  return { svg, x, y };
}

const edge = (low, high, k) => low + ((high - low) * k) / BINS;
const edgeOf = (low, high, k) => low + ((high - low) * k) / 4;
const short = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3, useGrouping: false });
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function spread(values) {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

function part(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function titled(content) {
  const made = part("title", {});
  made.textContent = content;
  return made;
}

function describe(svg, content) {
  svg.setAttribute("aria-label", content);
}

// No cell begins with a sign that spreadsheets take for a formula.
const cell = (value) => {
  const plain = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
};
const csv = (lines) => `${lines.map((line) => line.map(cell).join(",")).join("\r\n")}\r\n`;

function png(plot) {
  const copy = plot.svg.cloneNode(true);
  copy.setAttribute("width", WIDTH * PNG_SCALE);
  copy.setAttribute("height", HEIGHT * PNG_SCALE);
  copy.setAttribute("color", "#111111");
  const image = new Image();
  image.addEventListener("load", () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#ffffff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, 0, 0);
    canvas.toBlob((blob) => save(blob, `${plot.name}.png`));
  });
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
}

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
