"""What a brush costs the browser on an image of twelve megapixels: measured and printed, not judged, since machines
differ. `pytest -s segapp/tests/browser/test_brush_latency.py` shows it."""

import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segapp.tests.browser.easel import Easel

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIZE = (4000, 3000)
MOVES = 240
# Times every callback of a frame and every handler of a pointer's move, and adds them up until the next frame begins.
TIMED = """
window.brush = {work: [], between: []};
let spent = 0, last = 0;
function timed(callback, own) {
  return function (...values) {
    const began = performance.now();
    try { return callback.apply(own ?? this, values); } finally { spent += performance.now() - began; }
  };
}
const frame = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (callback) => frame(timed(callback));
const listen = EventTarget.prototype.addEventListener;
EventTarget.prototype.addEventListener = function (kind, listener, options) {
  const wrapped = kind.startsWith("pointer") && typeof listener === "function" ? timed(listener) : listener;
  return listen.call(this, kind, wrapped, options);
};
frame(function next(now) {
  if (last) { window.brush.work.push(spent); window.brush.between.push(now - last); }
  spent = 0; last = now;
  frame(next);
});
"""


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "large.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(SIZE).save(path, quality=85)
    return path


@pytest.mark.parametrize("zoomed", [False, True], ids=["whole image", "zoomed in"])
def test_a_brush_on_twelve_megapixels(visit, photo, zoomed, capsys):
    page = visit().page
    page.add_init_script(TIMED)
    easel = Easel(page).begin(photo)
    stage = page.locator("[data-stage]").bounding_box()
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    if zoomed:
        page.mouse.move(x, y)
        for _ in range(6):
            page.mouse.wheel(0, -200)
        page.wait_for_timeout(500)
    easel.set("size", 40)
    page.evaluate("() => { window.brush.work.length = 0; window.brush.between.length = 0; }")
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(MOVES):
        page.mouse.move(x + 150 * np.sin(k / 9), y + 100 * np.sin(k / 7))
    page.mouse.up()
    measured = page.evaluate("() => window.brush")
    drawn = [ms for ms in measured["work"] if ms > 0]
    assert len(drawn) > 10 and (easel.values() != 255).any()
    with capsys.disabled():
        print(f"\nbrush, {'zoomed in' if zoomed else 'whole image'}, ms a frame of {len(drawn)} frames:")
        for name, values in (("script", drawn), ("between two frames", measured["between"])):
            ordered = sorted(values)
            p95 = ordered[int(0.95 * (len(ordered) - 1))]
            print(f"  {name}: {statistics.median(ordered):.1f} (p50), {p95:.1f} (p95), {ordered[-1]:.1f} (most)")
