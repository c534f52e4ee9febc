// Brightness and contrast of an image on the screen. They change what is shown and nothing else, and are remembered for
// the next image.
const KEY = "segapp_display";

function store() {
  try { return window.localStorage; } catch { return null; }
}

function remembered() {
  try { return JSON.parse(store().getItem(KEY)) || {}; } catch { return {}; }
}

const factor = (value) => 2 ** (value / 50); // -100 to 100: a quarter to four times

// scope: holds the sliders data-brightness and data-contrast and the button data-display-reset; shown: the element
export function createDisplay(scope, shown) {
  const [brightness, contrast] = ["brightness", "contrast"].map((name) => scope.querySelector(`[data-${name}]`));
  const reset = scope.querySelector("[data-display-reset]");

  function apply() {
    const [bright, strong] = [Number(brightness.value), Number(contrast.value)];
    const plain = !bright && !strong;
    shown.style.setProperty("filter", plain ? "none" : `brightness(${factor(bright)}) contrast(${factor(strong)})`);
    reset.disabled = plain;
  }
  function changed() {
    apply();
    try { store().setItem(KEY, JSON.stringify({ brightness: brightness.value, contrast: contrast.value })); } catch { /* not kept */ }
  }

  const before = remembered();
  brightness.value = before.brightness || 0;
  contrast.value = before.contrast || 0;
  for (const slider of [brightness, contrast]) slider.addEventListener("input", changed);
  reset.addEventListener("click", () => {
    [brightness.value, contrast.value] = [0, 0];
    changed();
  });
  apply();
}
