// Class shares over time as a stacked chart with a cursor. Knows nothing of films: it draws, and says where one points.
const WIDTH = 1000;
const HEIGHT = 200;
const make = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export function createTimeline(box, status, onPoint) {
  const chart = box.querySelector("[data-chart]");
  const points = status.timeline;
  const length = Math.max(status.source.seconds || 0, points.length ? points[points.length - 1][0] : 0) || 1;
  const hidden = new Set();
  const cursor = make("g", {});
  // Moments at which the masks are most doubtful: a line over the whole height each.
  const marks = (status.doubtful || []).flatMap(({ seconds }) => {
    const x = (WIDTH * Math.min(seconds, length)) / length;
    return ["doubt-halo", "doubt-mark"].map((name) => make("line", { class: name, x1: x, x2: x, y1: 0, y2: HEIGHT }));
  });
  cursor.append(make("line", { class: "halo", x1: 0, x2: 0, y1: 0, y2: HEIGHT }), make("line", { class: "cursor", x1: 0, x2: 0, y1: 0, y2: HEIGHT }));

  function draw() {
    const base = points.map(() => 0);
    const shapes = [];
    for (const found of status.classes) {
      if (hidden.has(String(found.id))) continue;
      const lower = [...base];
      points.forEach(([, shares], k) => { base[k] += shares[found.id] || 0; });
      const edge = (heights) => points.map(([at], k) => [(WIDTH * at) / length, HEIGHT * (1 - heights[k] / 100)]);
      // The last point's share holds until the end.
      const close = (line) => [...line, [WIDTH, line[line.length - 1][1]]];
      if (!points.length) continue;
      const outline = [...close(edge(base)), ...close(edge(lower)).reverse()];
      shapes.push(make("polygon", { fill: found.color, points: outline.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ") }));
    }
    chart.replaceChildren(...shapes, ...marks, cursor);
  }

  // Index of the last point at or before a time.
  function indexAt(seconds) {
    let low = 0;
    let high = points.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (points[middle][0] <= seconds + 1e-6) low = middle; else high = middle - 1;
    }
    return low;
  }

  function show(seconds) {
    const x = (WIDTH * Math.min(seconds, length)) / length;
    for (const line of cursor.children) { line.setAttribute("x1", x); line.setAttribute("x2", x); }
    if (!points.length) return;
    const shares = points[indexAt(seconds)][1];
    for (const row of box.querySelectorAll("[data-class]")) {
      row.querySelector("[data-now]").textContent = `${(shares[row.dataset.class] || 0).toFixed(1)} %`;
    }
    box.querySelector("[data-now-words]").textContent = "At the cursor.";
  }

  const point = (event) => {
    const frame = chart.getBoundingClientRect();
    onPoint(length * Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width)));
  };
  chart.addEventListener("pointerdown", (event) => { chart.setPointerCapture(event.pointerId); point(event); });
  chart.addEventListener("pointermove", (event) => { if (chart.hasPointerCapture(event.pointerId)) point(event); });
  box.addEventListener("change", (event) => {
    if (!event.target.matches("[data-show]")) return;
    const id = event.target.closest("[data-class]").dataset.class;
    if (event.target.checked) hidden.delete(id); else hidden.add(id);
    draw();
  });
  draw();
  return { show };
}
