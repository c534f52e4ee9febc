// The table of objects: sorted by its headings, filtered by class, area and edge, linked with the outlines.
import { shownColumns } from "./columns.js";

const MOST_ROWS = 500; // on the page; files have all

export function drawTable(parent, measured) {
  const place = parent.querySelector(".objects-table");
  if (!place) return;
  const { view } = measured;
  const columns = shownColumns(view);
  const state = { by: 0, up: true, class: "", area: 0, edge: true };
  const at = (name) => view.columns.indexOf(name);
  const [classAt, edgeAt] = [at("class"), at("touches_edge")];
  const area = columns.find((one) => one.name === "area");

  const filters = document.createElement("div");
  filters.className = "row objects-filter small";
  const classes = [...new Set(view.rows.map((row) => row[classAt]))];
  if (classes.length > 1) filters.append(labelled("Class", select(["", ...classes], "all", (value) => { state.class = value; fill(); })));
  if (area) filters.append(labelled(`Area from ${area.unit}`, number((value) => { state.area = value; fill(); })));
  const edge = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
  edge.addEventListener("change", () => { state.edge = edge.checked; fill(); });
  if (edgeAt >= 0) filters.append(labelled("Cut by the edge", edge));

  const scroll = place.querySelector(".scroll");
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  columns.forEach((column, k) => {
    const th = Object.assign(document.createElement("th"), { scope: "col" });
    const button = Object.assign(document.createElement("button"), { type: "button", className: "sort", textContent: column.title });
    button.addEventListener("click", () => {
      state.up = state.by === k ? !state.up : true;
      state.by = k;
      fill();
    });
    th.append(button);
    head.append(th);
  });
  const body = table.createTBody();
  const note = Object.assign(document.createElement("p"), { className: "small soft" });
  note.setAttribute("role", "status");

  function wanted() {
    const rows = view.rows.filter((row) =>
      (!state.class || row[classAt] === state.class) && (state.edge || !row[edgeAt]) && (!area || row[area.at] >= state.area));
    const key = columns[state.by].at;
    const order = (a, b) => (a[key] === null ? 1 : b[key] === null ? -1 : a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : a[0] - b[0]);
    rows.sort(order);
    return state.up ? rows : rows.reverse();
  }

  function fill() {
    const rows = wanted();
    [...head.cells].forEach((th, k) => th.setAttribute("aria-sort", k !== state.by ? "none" : state.up ? "ascending" : "descending"));
    body.replaceChildren(...rows.slice(0, MOST_ROWS).map((row) => {
      const tr = document.createElement("tr");
      tr.dataset.number = row[0];
      tr.tabIndex = 0;
      for (const column of columns) {
        const cell = tr.insertCell();
        cell.className = "number nowrap";
        cell.textContent = column.text(row[column.at]);
      }
      return tr;
    }));
    const left = rows.length < view.rows.length ? `${rows.length} of ${view.rows.length} match. ` : "";
    note.textContent = left + (rows.length > MOST_ROWS ? `The first ${MOST_ROWS} are shown; the files have all.` : "");
    mark();
  }

  function mark(by) {
    let first = null;
    for (const tr of body.rows) {
      const chosen = measured.selected.has(Number(tr.dataset.number));
      tr.classList.toggle("selected", chosen);
      tr.setAttribute("aria-selected", chosen);
      if (chosen && !first) first = tr;
    }
    if (by === "image" && first) first.scrollIntoView({ block: "nearest" });
  }

  function choose(event) {
    const tr = event.target.closest("tr[data-number]");
    if (!tr) return;
    const number = Number(tr.dataset.number);
    const before = event.shiftKey || event.ctrlKey || event.metaKey ? [...measured.selected] : [];
    measured.select(before.includes(number) ? before.filter((one) => one !== number) : [...before, number], "table");
  }
  body.addEventListener("click", choose);
  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(event); }
  });
  measured.listeners.push(mark);
  scroll.replaceChildren(table);
  scroll.before(filters);
  scroll.after(note);
  place.querySelector("p.small:not([role])")?.remove();
  fill();
}

function labelled(text, input) {
  const label = document.createElement("label");
  label.append(text, " ", input);
  return label;
}

function select(values, all, change) {
  const made = document.createElement("select");
  for (const value of values) made.append(new Option(value || all, value));
  made.addEventListener("change", () => change(made.value));
  return made;
}

function number(change) {
  const made = Object.assign(document.createElement("input"), { type: "number", min: 0, value: 0, step: "any" });
  made.addEventListener("input", () => change(Number(made.value) || 0));
  return made;
}
