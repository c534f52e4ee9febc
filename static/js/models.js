// The models pages: copy a link, see how long a code is good for, choose an image to compare on. Works on what htmx brings later, too.
async function copy(button) {
  const field = button.parentElement.querySelector("[data-copy-from]");
  field.select();
  let copied = false;
  try {
    await navigator.clipboard.writeText(field.value);
    copied = true;
  } catch {
    copied = document.execCommand("copy"); // plain http has no clipboard of its own
  }
  button.textContent = copied ? "Copied" : "Press Ctrl+C";
  window.setTimeout(() => { button.textContent = "Copy"; }, 2500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

// A file that was just chosen is what is meant, whatever was chosen before.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-chooses]")) event.target.closest("label").querySelector("input[type=radio]").checked = true;
});

function left(code) {
  const seconds = Math.round((Date.parse(code.dataset.until) - Date.now()) / 1000);
  if (seconds <= 0) return ", which is over";
  return seconds < 90 ? ` (${seconds} s)` : ` (${Math.round(seconds / 60)} min)`;
}

function look() {
  for (const button of document.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  for (const code of document.querySelectorAll("[data-until]")) code.querySelector("[data-left]").textContent = left(code);
}

look();
window.setInterval(look, 1000);
document.addEventListener("htmx:afterSettle", look);
