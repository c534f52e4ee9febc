// The strip of images under the one at hand: in which order, which one comes next and why, and what state each is in.
// Knows nothing of pixels.
const KEY = "segapp_paint_order";
const DONE = ["accepted", "corrected"];
const WORDS = { none: "no strokes", proposed: "proposed", corrected: "corrected", accepted: "accepted" };

function remembered() {
  try { return window.localStorage.getItem(KEY) || "doubt"; } catch { return "doubt"; }
}

// nav: the strip; null when there is one image only
export function createStrip(nav) {
  const items = nav ? [...nav.querySelectorAll("li[data-id]")] : [];
  const order = nav && nav.querySelector("[data-order]");
  const here = items.find((item) => item.querySelector("[aria-current]"));
  const byName = [...items].sort((a, b) => Number(a.dataset.place) - Number(b.dataset.place));

  const opens = (item) => item !== here && item.querySelector("a");
  const left = (item) => opens(item) && !DONE.includes(item.dataset.state);
  const behind = () => [...byName.slice(byName.indexOf(here) + 1), ...byName.slice(0, byName.indexOf(here))];

  // The image to do next: the server's order is the most doubtful first; by name it is the next one behind this.
  const next = () => (order && order.value === "name" ? behind() : items).find(left) || null;

  function show() {
    if (!nav) return;
    nav.querySelector("ul").append(...(order.value === "name" ? byName : items));
    const suggested = next();
    for (const item of items) item.classList.toggle("suggested", item === suggested);
    const why = nav.querySelector("[data-suggestion]");
    if (!suggested) why.textContent = "All images are done.";
    else why.textContent = `Next: ${suggested.dataset.name}. ${(order.value === "doubt" && suggested.dataset.why) || ""}`;
    const list = nav.querySelector("ul");
    if (here) list.scrollLeft = here.offsetLeft - list.offsetLeft - list.clientWidth / 2 + 48;
  }

  if (order) {
    order.value = remembered();
    order.addEventListener("change", () => {
      try { window.localStorage.setItem(KEY, order.value); } catch { /* not kept */ }
      show();
    });
  }
  show();
  return {
    // Address of the image to go to: the suggested one, else, unless `onlyOpen`, the one behind this; null for none.
    next: (onlyOpen) => {
      const found = next() || (onlyOpen ? null : behind().find(opens));
      return found ? found.querySelector("a").href : null;
    },
    asksServer: () => Boolean(order) && order.value === "doubt",
    setState: (state) => {
      if (!here) return;
      here.dataset.state = state;
      here.querySelector("[data-state-says]").textContent = WORDS[state];
      show();
    },
  };
}
