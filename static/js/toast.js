// Short notes at the edge of the page. The same text is shown once in 20 seconds.
const shown = new Map();

export function toast(text, kind = "bad") {
  if (performance.now() - (shown.get(text) ?? -1e9) < 20000) return;
  shown.set(text, performance.now());
  const note = document.createElement("div");
  note.className = `note ${kind}`;
  const message = document.createElement("p");
  message.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button small quiet";
  close.textContent = "Close";
  close.addEventListener("click", () => note.remove());
  note.append(message, close);
  document.getElementById("toasts").append(note);
  window.setTimeout(() => note.remove(), 12000);
}
