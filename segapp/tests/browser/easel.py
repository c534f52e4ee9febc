"""The paint page under a hand: where a pixel of the image is on the screen, what was saved. Not itself a test."""

import io
import itertools
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

WIDTH, HEIGHT = 160, 120
DISC = (40, 30, 110, 100)  # left, top, right, bottom
SAVED = "All changes are saved."


def disc_ids() -> np.ndarray:
    """uint8 (HEIGHT, WIDTH): 1 where the disc is."""
    image = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(image).ellipse(DISC, fill=1)
    return np.asarray(image)


def disc_photo(path: Path, seed: int = 0) -> Path:
    """An orange disc on a bluish ground, both with some noise."""
    random = np.random.default_rng(seed)
    image = np.where(disc_ids()[..., None] == 1, (214, 130, 50), (60, 90, 120)) + random.normal(
        0, 6, (HEIGHT, WIDTH, 3)
    )
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
    return path


class Easel:
    """One open paint page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def begin(self, *photos: Path) -> "Easel":
        self.page.goto("/finetune/")
        self.page.set_input_files("#paint-images", list(photos))
        self.page.get_by_role("button", name="Paint masks here").click()
        return self.wait()

    def wait(self) -> "Easel":
        expect(self.page.locator("[data-stage]")).to_have_attribute("data-ready", "1", timeout=60_000)
        return self

    def wait_regions(self) -> None:
        self.page.wait_for_selector("[data-stage][data-regions]", timeout=60_000)

    def tool(self, name: str) -> None:
        self.page.locator(f"input[name=tool][value={name}]").check(force=True)

    def spot(self, x: float, y: float) -> tuple[int, int]:
        """The whole pixel of the screen that is nearest to a point of the image."""
        left, top, scale = self._frame()
        return round(left + x * scale), round(top + y * scale)

    def point(self, spot: tuple[int, int]) -> tuple[float, float]:
        """The point of the image that lies exactly under a pixel of the screen."""
        left, top, scale = self._frame()
        return (spot[0] - left) / scale, (spot[1] - top) / scale

    def _frame(self) -> tuple[float, float, float]:
        return tuple(
            self.page.evaluate(
                """() => {
                    const stage = document.querySelector("[data-stage]");
                    const box = stage.getBoundingClientRect();
                    const [left, top, scale] = ["left", "top", "scale"].map((name) => Number(stage.dataset[name]));
                    return [box.left + stage.clientLeft + left, box.top + stage.clientTop + top, scale];
                }"""
            )
        )

    def click(self, x: float, y: float) -> tuple[float, float]:
        spot = self.spot(x, y)
        self.page.mouse.click(*spot)
        return self.point(spot)

    def drag(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        """A stroke along these points of the image, one move each; where it really went."""
        spots = [self.spot(*point) for point in points]
        self.page.mouse.move(*spots[0])
        self.page.mouse.down()
        for spot in spots[1:]:
            self.page.mouse.move(*spot)
        self.page.mouse.up()
        return [self.point(spot) for spot in spots]

    def saved(self) -> None:
        expect(self.page.locator("[data-saved]")).to_have_text(SAVED, timeout=30_000)

    def values(self) -> np.ndarray:
        """uint8 (H, W) as the server has it."""
        self.saved()
        return self.on_server()

    def on_server(self) -> np.ndarray:
        answer = self.page.request.get(self.page.locator("[data-stage]").get_attribute("data-mask") or "")
        return np.asarray(Image.open(io.BytesIO(answer.body())))

    def set(self, name: str, value: int) -> None:
        slider = self.page.locator(f"[data-{name}]")
        slider.fill(str(value))


def stroke_ids(points: list[tuple[float, float]], size: float) -> np.ndarray:
    """bool (HEIGHT, WIDTH): pixels whose centre is within size / 2 of the line through the points."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    found = np.zeros((HEIGHT, WIDTH), bool)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        found |= (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2 <= (size / 2) ** 2
    return found


def polygon_ids(points: list[tuple[float, float]]) -> np.ndarray:
    """bool (HEIGHT, WIDTH): pixels whose centre is inside, by the even-odd rule."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        if ay != by:
            crosses = ((ay <= y) != (by <= y)) & (x >= ax + (y - ay) * (bx - ax) / (by - ay))
            inside ^= crosses
    return inside


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """IoU of two bool masks."""
    return float((found & truth).sum() / max(1, (found | truth).sum()))
