// What every page shares: the status that keeps itself fresh, words for requests that failed, small enhancements.
(() => {
  "use strict";
  const CALM = 15000;
  const WARMING = 2000;

  // --- status: asked again every 15 s while the page is seen, every 2 s while workers warm up ---
  function tick() {
    const status = document.getElementById("status");
    if (!status) return;
    const wait = status.dataset.warming === "1" ? WARMING : CALM;
    window.setTimeout(() => {
      if (document.visibilityState === "visible") htmx.trigger(document.body, "status-tick");
      tick();
    }, wait);
  }
  tick();
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && document.getElementById("status")) htmx.trigger(document.body, "status-tick");
  });

  // --- failures of background requests: said once, in words, with a next step ---
  const said = new Map();

  function toast(text, kind = "bad") {
    if (performance.now() - (said.get(text) ?? -1e9) < 20000) return;
    said.set(text, performance.now());
    const note = document.createElement("div");
    note.className = `note ${kind}`;
    const words = document.createElement("p");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "button small quiet";
    close.textContent = "Close";
    close.addEventListener("click", () => note.remove());
    note.append(words, close);
    document.getElementById("toasts").append(note);
    window.setTimeout(() => note.remove(), 12000);
  }
  window.segapp = { toast };

  function wordsOf(xhr) {
    const page = new DOMParser().parseFromString(xhr.responseText || "", "text/html");
    const words = page.querySelector("[data-failure]");
    if (words) return words.textContent.replace(/\s+/g, " ").trim();
    return `The server answered ${xhr.status}. Nothing of yours was lost; try again in a moment.`;
  }
  document.addEventListener("htmx:responseError", (event) => toast(wordsOf(event.detail.xhr)));
  document.addEventListener("htmx:sendError", () => toast("The server cannot be reached. What you see stays here; it goes on when the connection is back."));
  document.addEventListener("htmx:timeout", () => toast("The server takes longer than usual. Wait a moment, then try again."));

  // --- a sample set or a training must not start twice from two clicks ---
  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      return;
    }
    const button = event.submitter;
    if (!button || event.target.hasAttribute("hx-post") || event.target.method !== "post") return;
    window.setTimeout(() => { button.disabled = true; });
    window.addEventListener("pageshow", () => { button.disabled = false; }, { once: true });
  });

  // --- a picture with its mask, large: the picture underneath, a slider between them ---
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-large]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const dialog = document.createElement("dialog");
    dialog.className = "large";
    const name = link.querySelector("img").alt;
    dialog.setAttribute("aria-label", name);
    const stack = document.createElement("div");
    stack.className = "stacked";
    for (const [source, words] of [[link.dataset.under, ""], [link.href, name]]) {
      stack.append(Object.assign(document.createElement("img"), { src: source, alt: words }));
    }
    const row = document.createElement("form");
    row.method = "dialog";
    row.className = "row";
    const label = Object.assign(document.createElement("label"), { textContent: "Mask", htmlFor: "large-over" });
    const slider = Object.assign(document.createElement("input"), { type: "range", id: "large-over", min: 0, max: 100, value: 60 });
    slider.addEventListener("input", () => stack.style.setProperty("--over", slider.value / 100));
    const close = Object.assign(document.createElement("button"), { className: "button", textContent: "Close" });
    row.append(label, slider, close);
    dialog.append(stack, row);
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    dialog.addEventListener("click", (inner) => { if (inner.target === dialog) dialog.close(); });
    document.body.append(dialog);
    dialog.showModal();
  });

  // --- sliders that uncover one picture over another ---
  document.addEventListener("input", (event) => {
    const slider = event.target.closest("[data-uncover]");
    if (slider) slider.closest(".before-after").style.setProperty("--at", `${slider.value}%`);
  });
})();
