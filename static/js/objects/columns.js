// The columns of a table of objects that people read. Which, and under which titles, says the server with the table.

// [{name, at, title, unit, numeric, text(value)}]
export const shownColumns = (view) => view.shown.map((column) => ({ ...column, text }));

function text(value) {
  if (value === null) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return value.toLocaleString("en", { maximumSignificantDigits: 5, useGrouping: false });
}
