// The list of classes on the paint page: choose, name, colour, add, remove. Knows nothing of pixels.
// options: list (element), unpainted (select), add (button), classes, taken, most, unpaintedId, palette (a colour for
// each id), changed(), chosen(id), shown() (the rows are new),
// remove(id) -> whether it may go
export function createClasses(options) {
  const classes = options.classes;
  let active = (classes.find((row) => row.name.toLowerCase() !== "background") || classes[0]).id;

  function row(entry, place) {
    const item = document.createElement("li");
    item.dataset.id = entry.id;
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: entry.id, checked: entry.id === active });
    radio.setAttribute("aria-label", `Paint ${entry.name}`);
    radio.addEventListener("change", () => choose(entry.id));
    const color = Object.assign(document.createElement("input"), { type: "color", value: entry.color });
    color.setAttribute("aria-label", `Colour of ${entry.name}`);
    color.addEventListener("input", () => { entry.color = color.value; options.changed(); });
    const name = Object.assign(document.createElement("input"), { type: "text", value: entry.name, maxLength: 60, autocomplete: "off" });
    name.setAttribute("aria-label", `Name of class ${entry.id}`);
    name.addEventListener("focus", () => choose(entry.id));
    name.addEventListener("input", () => {
      entry.name = name.value.trim() || `class ${entry.id}`;
      radio.setAttribute("aria-label", `Paint ${entry.name}`);
      color.setAttribute("aria-label", `Colour of ${entry.name}`);
      meanings();
      options.changed();
    });
    name.addEventListener("keydown", (event) => { if (event.key === "Enter") document.querySelector("[data-stage]").focus(); });
    const key = document.createElement("kbd");
    key.textContent = place < 9 ? place + 1 : "";
    const gone = Object.assign(document.createElement("button"), { type: "button", className: "button quiet small remove", textContent: "×", title: "Remove this class" });
    gone.setAttribute("aria-label", `Remove class ${entry.id}`);
    gone.hidden = classes.length < 2;
    gone.addEventListener("click", () => remove(entry));
    const found = ["share", "sure"].map((kind) => {
      const cell = Object.assign(document.createElement("span"), { className: "found number" });
      cell.dataset[kind] = "";
      return cell;
    });
    item.append(radio, color, name, gone, ...found, key);
    return item;
  }

  function show() {
    options.list.replaceChildren(...classes.map(row), eraser());
    options.add.disabled = classes.length >= options.most;
    meanings();
    mark();
    options.shown();
  }

  // Painting "unpainted" takes paint away, with any tool.
  function eraser() {
    const item = document.createElement("li");
    item.dataset.id = options.unpaintedId;
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "class", value: options.unpaintedId, checked: active === options.unpaintedId });
    radio.addEventListener("change", () => choose(options.unpaintedId));
    const words = Object.assign(document.createElement("span"), { textContent: "Unpainted" });
    label.append(radio, words);
    item.append(label, Object.assign(document.createElement("kbd"), { textContent: "U" }));
    return item;
  }

  // What unpainted pixels may count as.
  function meanings() {
    const before = options.unpainted.value;
    const choices = classes.map((entry) => [entry.id, entry.name]);
    options.unpainted.replaceChildren(...choices.map(([value, words]) => Object.assign(document.createElement("option"), { value, textContent: words })));
    options.unpainted.value = before;
  }

  function mark() {
    for (const item of options.list.children) {
      const on = Number(item.dataset.id) === active;
      item.classList.toggle("chosen", on);
      item.querySelector("input[type=radio]").checked = on;
    }
  }

  function choose(id) {
    active = id;
    mark();
    options.chosen(id);
  }

  function add() {
    if (classes.length >= options.most) return;
    const used = new Set([...classes.map((entry) => entry.id), ...options.taken]);
    let id = 0;
    while (used.has(id)) id += 1;
    classes.push({ id, name: `class ${id}`, color: options.palette[id] });
    classes.sort((a, b) => a.id - b.id);
    show();
    choose(id);
    options.changed();
    const name = options.list.querySelector(`[data-id="${id}"] input[type=text]`);
    name.focus();
    name.select();
  }

  async function remove(entry) {
    if (!(await options.remove(entry.id))) return;
    classes.splice(classes.indexOf(entry), 1);
    if (active === entry.id) active = classes[0].id;
    show();
    choose(active);
    options.list.querySelector(`[data-id="${active}"] input[type=radio]`).focus();
  }

  options.add.addEventListener("click", add);
  show();
  return {
    choose,
    active: () => active,
    nth: (place) => { if (classes[place]) choose(classes[place].id); },
    step: (by) => {
      const ids = [...classes.map((entry) => entry.id), options.unpaintedId];
      choose(ids[(ids.indexOf(active) + by + ids.length) % ids.length]);
    },
    nameOf: (id) => (id === options.unpaintedId ? "unpainted" : (classes.find((entry) => entry.id === id) || { name: `class ${id}` }).name),
    colorOf: (id) => (classes.find((entry) => entry.id === id) || {}).color,
    plain: () => classes.map(({ id, name, color }) => ({ id, name, color })),
  };
}
