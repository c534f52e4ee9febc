// What every page shares: the status that keeps itself fresh, words for requests that failed, small enhancements.
import { toast } from "./toast.js";

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

// --- failures of background requests: told once, with a next step ---
function wordsOf(xhr) {
  const page = new DOMParser().parseFromString(xhr.responseText || "", "text/html");
  const words = page.querySelector("[data-failure]");
  if (words) return words.textContent.replace(/\s+/g, " ").trim();
  return `The server answered ${xhr.status}. Nothing of yours was lost; try again in a moment.`;
}
document.addEventListener("htmx:responseError", (event) => toast(wordsOf(event.detail.xhr)));
document.addEventListener("htmx:sendError", () => toast("The server cannot be reached. What you see stays here and updates when the connection is back."));
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

// --- an image with its mask, large: the image underneath, a slider between them, the neighbours by arrow keys ---
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-large]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const links = [...document.querySelectorAll("a[data-large]")];
  let at = links.indexOf(link);
  const dialog = make("dialog", { className: "large" });
  const title = make("p", { className: "large-name" });
  title.setAttribute("role", "status");
  const stack = make("div", { className: "stacked" });
  const [under, over] = [make("img", { alt: "" }), make("img", {})];
  stack.append(under, over);
  const row = make("form", { method: "dialog", className: "row" });
  const label = make("label", { textContent: "Mask", htmlFor: "large-over" });
  const slider = make("input", { type: "range", id: "large-over", min: 0, max: 100, value: 60 });
  slider.addEventListener("input", () => stack.style.setProperty("--over", slider.value / 100));
  const turn = (step, words) => {
    const button = make("button", { type: "button", className: "button", textContent: words, hidden: links.length < 2 });
    button.addEventListener("click", () => go(step));
    return button;
  };
  function go(step) {
    at = (at + step + links.length) % links.length;
    const shown = links[at];
    const name = shown.querySelector("img").alt;
    under.src = shown.dataset.under;
    over.src = shown.href;
    over.alt = name;
    dialog.setAttribute("aria-label", name);
    const says = shown.parentElement.querySelector(".thumb-says");
    title.textContent = [shown.dataset.name || name, says && says.textContent].filter(Boolean).join(". ");
  }
  row.append(label, slider, turn(-1, "Previous"), turn(1, "Next"), make("button", { className: "button", textContent: "Close" }));
  dialog.append(title, stack, row);
  dialog.addEventListener("close", () => { dialog.remove(); links[at].focus(); });
  dialog.addEventListener("click", (inner) => { if (inner.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (inner) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[inner.key];
    if (step && inner.target !== slider && links.length > 1) go(step);
  });
  go(0);
  document.body.append(dialog);
  dialog.showModal();
});

// --- sliders that uncover one image over another ---
document.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-uncover]");
  if (slider) slider.closest(".before-after").style.setProperty("--at", `${slider.value}%`);
});
