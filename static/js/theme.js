// Runs before the first paint: the chosen theme, and the button that changes it.
(() => {
  "use strict";
  const KEY = "segapp_theme";
  const NAMES = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const root = document.documentElement;

  function stored() {
    try { return localStorage.getItem(KEY) in NAMES ? localStorage.getItem(KEY) : "system"; } catch { return "system"; }
  }

  function apply(theme) {
    root.dataset.theme = theme;
    for (const button of document.querySelectorAll("[data-theme-button]")) {
      button.hidden = false;
      button.querySelector("[data-theme-name]").textContent = NAMES[theme];
      button.title = `${NAMES[theme]}. Click to change.`;
    }
  }

  apply(stored());
  document.addEventListener("DOMContentLoaded", () => apply(stored()));
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-button]")) return;
    const order = Object.keys(NAMES);
    const next = order[(order.indexOf(stored()) + 1) % order.length];
    try { localStorage.setItem(KEY, next); } catch { /* a private window forgets it */ }
    apply(next);
  });
})();
