// Keys of the paint page: everything but freehand painting goes without a mouse.
const TOOLS = { b: "brush", e: "eraser", p: "polygon", f: "fill", s: "region", r: "click", m: "hand" };

// desk: {stage, mask, view, tools, classes, choose(tool), adjust(by), hide(), help(), undo(), redo(), next(), accept(),
// otherSide(), paintRegion(), read(point), unpainted}
export function listenToKeys(desk) {
  const { stage, mask, view, tools, classes } = desk;

  function onPage(key) {
    if (TOOLS[key]) desk.choose(TOOLS[key]);
    else if (/^[1-9]$/.test(key)) classes.nth(Number(key) - 1);
    else if (key === "u") classes.choose(desk.unpainted);
    else if (key === "," || key === ".") classes.step(key === "," ? -1 : 1);
    else if (key === "[" || key === "]") desk.adjust(key === "[" ? -1 : 1);
    else if (key === "+" || key === "=") view.zoom(1.4);
    else if (key === "-") view.zoom(1 / 1.4);
    else if (key === "0") view.fit();
    else if (key === "h") desk.hide();
    else if (key === "z") desk.undo();
    else if (key === "y") desk.redo();
    else if (key === "n") desk.next();
    else if (key === "a") desk.accept();
    else if (key === "x" && tools.name() === "click") desk.otherSide();
    else if (key === "c" && tools.name() === "click") desk.paintRegion();
    else if (key === "Escape") tools.cancel();
    else if (key === "?") desk.help();
    else return false;
    return true;
  }

  // The cross: arrow keys move it, Enter uses the tool there.
  function onStage(event, key) {
    const step = Math.max(1, Math.round(8 / Number(stage.dataset.scale))) * (event.shiftKey ? 6 : 1);
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[key]) {
      const from = tools.cross() || [mask.width / 2, mask.height / 2].map((middle) => Math.floor(middle) + 0.5);
      const most = [mask.width - 0.5, mask.height - 0.5];
      const to = from.map((part, axis) => Math.min(most[axis], Math.max(0.5, part + moves[key][axis])));
      view.show(...to);
      tools.point(to, true);
      tools.hint();
      desk.read(to);
    } else if (key === "Enter" && tools.cross()) tools.use(event.shiftKey);
    else if (key === "c" && tools.name() === "polygon") tools.closePolygon();
    else if (key === "Backspace") return tools.dropCorner();
    else if (key === " ") stage.classList.add("space");
    else return false;
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input[type=text], input[type=color], select, textarea, dialog")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    let used = false;
    if ((event.ctrlKey || event.metaKey) && !event.altKey) {
      used = key === "z" || key === "y";
      if (key === "z" && !event.shiftKey) desk.undo();
      else if (used) desk.redo();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
      used = (event.target === stage && onStage(event, key)) || onPage(key);
    }
    if (used) event.preventDefault();
  });
  document.addEventListener("keyup", (event) => { if (event.key === " ") stage.classList.remove("space"); });
  stage.addEventListener("blur", () => { if (tools.cross()) tools.point(null); });
}
