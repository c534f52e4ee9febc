// A server that is full says when to come back: what was chosen stays in the form and is sent again, a few times.
const MOST = 8;
let tries = 0;
let timer = 0;
let form = null;

const stop = () => { window.clearInterval(timer); timer = 0; };
const note = () => document.querySelector("[data-full]");

function send() {
  stop();
  if (form && form.isConnected) form.requestSubmit();
}

function count(seconds) {
  stop();
  timer = window.setInterval(() => {
    seconds -= 1;
    if (!note()) stop();
    else if (seconds > 0) note().querySelector("[data-countdown]").textContent = seconds;
    else send();
  }, 1000);
}

function show() {
  const full = note();
  if (!full || full.dataset.shown) return;
  full.dataset.shown = "yes";
  if (tries >= MOST || !form) return; // its words without script say what to do
  tries += 1;
  for (const element of full.querySelectorAll("[data-with-script]")) element.hidden = false;
  for (const element of full.querySelectorAll("[data-without-script]")) element.hidden = true;
  full.querySelector("[data-retry]").addEventListener("click", send);
  full.querySelector("[data-give-up]").addEventListener("click", () => { stop(); full.remove(); });
  count(Number(full.dataset.full));
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  if (xhr.status !== 503 || !xhr.getResponseHeader("HX-Retarget")) return;
  event.detail.shouldSwap = true;
  event.detail.isError = false;
  form = requestConfig.elt;
});
document.addEventListener("htmx:beforeRequest", (event) => { if (event.target.matches("form")) stop(); });
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful && event.target === form) tries = 0; });
document.addEventListener("htmx:afterSettle", show);
