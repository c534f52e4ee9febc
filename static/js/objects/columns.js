// Which columns of a table of objects people read, with their titles and units.
const WANTED = ["object", "class", "area", "equivalent_diameter", "axis_major_length", "axis_minor_length", "perimeter",
  "circularity", "solidity", "skeleton_length", "mean_width", "mean_intensity", "mean_confidence", "touches_edge"];
const TITLES = { object: "No.", axis_major_length: "Length", axis_minor_length: "Width", touches_edge: "At the edge" };
const UNITS = { um: "µm", um2: "µm²", mm2: "mm²", cm2: "cm²", m2: "m²" };

// [{name, at, title, unit, numeric, text(value)}]; in the unit where there is one, else in pixels.
export function shownColumns(view) {
  const found = [];
  for (const name of WANTED) {
    const own = view.unit ? `${name}_${view.unit}${name === "area" ? "2" : ""}` : "";
    const column = [own, `${name}_px`, name].find((one) => one && view.columns.includes(one));
    if (!column) continue;
    const at = view.columns.indexOf(column);
    const ending = column.slice(name.length + 1);
    const unit = ending === "px" ? (name === "area" ? "px²" : "px") : UNITS[ending] ?? ending;
    const title = TITLES[name] ?? name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
    const numeric = !["object", "class", "touches_edge"].includes(name);
    found.push({ name, at, unit, numeric, title: unit ? `${title} (${unit})` : title, text });
  }
  return found;
}

function text(value) {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return value.toLocaleString("en", { maximumSignificantDigits: 5, useGrouping: false });
}
