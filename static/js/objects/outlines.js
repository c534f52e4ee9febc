// Outlines and numbers of objects as SVG over the viewer's image; a click selects the object under it.
const SVG = "http://www.w3.org/2000/svg";
const MOST_NUMBERS = 400; // more would cover the image
const CLICK = 4; // pixels that a pointer may move between down and up

export function drawOutlines(viewer, measured) {
  const { view } = measured;
  viewer.querySelector(".outlines")?.remove();
  const svg = element("svg", { class: "outlines", viewBox: `0 0 ${view.width} ${view.height}`, "aria-hidden": "true" });
  const image = viewer.querySelector("[data-image]");
  svg.style.setProperty("width", `${image.naturalWidth}px`);
  svg.style.setProperty("height", `${image.naturalHeight}px`);
  const classAt = view.columns.indexOf("class_id");
  const colors = new Map(view.classes.map((row) => [row.class_id ?? row.id, row.color]));
  const paths = view.outlines.map((parts, k) => {
    const path = element("path", { d: parts.flat().map(ring).join(""), "fill-rule": "evenodd" });
    path.setAttribute("stroke", colors.get(view.rows[k][classAt]) ?? "currentColor");
    svg.append(path);
    return path;
  });
  const labels = view.outlines.length <= MOST_NUMBERS ? numbers(svg, view) : [];
  viewer.querySelector(".stage").append(svg);

  const resize = () => {
    const shown = svg.getBoundingClientRect().width / view.width || 1;
    for (const label of labels) label.setAttribute("font-size", 12 / shown);
  };
  const watcher = new MutationObserver(() => (svg.isConnected ? resize() : watcher.disconnect()));
  watcher.observe(viewer, { attributes: true, attributeFilter: ["data-scale"] });
  resize();

  measured.listeners.push(() => paths.forEach((path, k) => path.classList.toggle("selected", measured.selected.has(k + 1))));
  clicks(viewer, svg, measured);
}

function clicks(viewer, svg, measured) {
  let down = null;
  const signal = once(viewer);
  viewer.addEventListener("pointerdown", (event) => { down = [event.clientX, event.clientY]; }, { signal });
  viewer.addEventListener("pointerup", (event) => {
    if (!down || Math.hypot(event.clientX - down[0], event.clientY - down[1]) > CLICK) return;
    if (event.target.closest("button")) return;
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const number = objectAt(measured.view.outlines, x, y);
    const before = event.shiftKey || event.ctrlKey || event.metaKey ? [...measured.selected] : [];
    if (!number) measured.select(before, "image");
    else measured.select(before.includes(number) ? before.filter((one) => one !== number) : [...before, number], "image");
  }, { signal });
}

// The listeners of the outlines that were drawn before are taken off.
const controllers = new WeakMap();
function once(viewer) {
  controllers.get(viewer)?.abort();
  const controller = new AbortController();
  controllers.set(viewer, controller);
  return controller.signal;
}

function objectAt(outlines, x, y) {
  for (let k = outlines.length - 1; k >= 0; k -= 1) {
    if (outlines[k].some((rings) => rings.filter((points) => inside(points, x, y)).length % 2)) return k + 1;
  }
  return 0;
}

function inside(points, x, y) {
  let within = false;
  for (let k = 0, j = points.length - 2; k < points.length; j = k, k += 2) {
    const [x1, y1, x2, y2] = [points[k], points[k + 1], points[j], points[j + 1]];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) within = !within;
  }
  return within;
}

function ring(points) {
  const pairs = [];
  for (let k = 0; k < points.length; k += 2) pairs.push(`${points[k]} ${points[k + 1]}`);
  return `M${pairs.join("L")}Z`;
}

function numbers(svg, view) {
  const [x, y] = ["centroid_x_px", "centroid_y_px"].map((name) => view.columns.indexOf(name));
  if (x < 0) return [];
  return view.rows.map((row) => {
    const label = element("text", { x: row[x] + 0.5, y: row[y] + 0.5, "text-anchor": "middle", "dominant-baseline": "central" });
    label.textContent = row[0];
    svg.append(label);
    return label;
  });
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
