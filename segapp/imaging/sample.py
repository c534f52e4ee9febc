"""The sample set: drawn leaves with brown spots on soil, with exact masks, for a tour without data of one's own.

Drawn, so no person's images are shipped; the same every time.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 512, 384
TRAIN = 6  # the first images come with masks, the others are for trying the model on
NAMES = tuple(f"leaf_{k + 1}" for k in range(8))
CLASSES = ["soil", "leaf", "spot"]


def draw(k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k-th image, uint8 (H, W, 3), and its mask, uint8 (H, W): 0 soil, 1 leaf, 2 spot."""
    random = np.random.default_rng(4200 + k)
    image = _soil(random)
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for _ in range(random.integers(2, 5)):
        image, ids = _leaf(random, image, ids)
    light = np.linspace(random.uniform(0.75, 1.0), random.uniform(0.95, 1.15), WIDTH)[None, :, None]
    noise = random.normal(0, 3.0, (HEIGHT, WIDTH, 1))
    return (image * light + noise).clip(0, 255).astype(np.uint8), ids


def _soil(random: np.random.Generator) -> np.ndarray:
    """Brown ground with grain and pebbles, float (H, W, 3)."""
    base = np.array(random.uniform([95, 68, 45], [130, 96, 70]))
    grain = _noise(random, 4) * 14 + _noise(random, 16) * 18 + _noise(random, 64) * 20
    ground = Image.fromarray((base + grain[..., None]).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(ground)
    for _ in range(60):
        x, y, r = random.uniform(0, WIDTH), random.uniform(0, HEIGHT), random.uniform(1, 5)
        shade = int(random.uniform(80, 165))
        pen.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=(shade, shade - 12, shade - 26))
    return np.asarray(ground.filter(ImageFilter.GaussianBlur(0.7))).astype(float)


def _leaf(random: np.random.Generator, image: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One leaf with its shadow, veins and spots on top of what is there."""
    x, y = random.uniform(0.15, 0.85) * WIDTH, random.uniform(0.2, 0.8) * HEIGHT
    length, breadth, angle = random.uniform(75, 130), random.uniform(0.3, 0.5), random.uniform(0, 2 * np.pi)
    along = np.linspace(-1, 1, 60)
    half = breadth * length * (1 - along**2) * (1 + 0.25 * along) * (1 + 0.04 * np.sin(along * 40))
    outline = np.concatenate([np.stack([along * length, half], 1), np.stack([along * length, -half], 1)[::-1]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = lambda points: [tuple(point) for point in points @ turn.T + (x, y)]  # noqa: E731
    shape = _filled(place(outline))
    shadow = np.asarray(
        Image.fromarray(np.roll(shape, (6, 5), (0, 1)) * np.uint8(90)).filter(ImageFilter.GaussianBlur(5))
    )
    image = image * (1 - shadow[..., None] / 255)
    green = np.array(random.uniform([50, 105, 35], [105, 165, 70]))
    blade = green + (_noise(random, 24) * 16 + _noise(random, 5) * 5)[..., None]
    veins = Image.new("L", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(veins)
    pen.line(place(np.array([[-length, 0], [length, 0]])), fill=120, width=3)
    for at in np.linspace(-0.7, 0.7, 7):
        for side in (-1, 1):
            tip = np.array([[at * length, 0], [(at + 0.2) * length, side * breadth * length * (1 - at**2) * 0.8]])
            pen.line(place(tip), fill=70, width=1)
    blade = blade + np.asarray(veins)[..., None] * np.array([0.35, 0.3, 0.2])
    spots = np.zeros_like(shape)
    for _ in range(random.integers(3, 8)):
        centre = np.array([[random.uniform(-0.7, 0.7) * length, random.uniform(-0.5, 0.5) * breadth * length]])
        radius = random.uniform(4, 12) * (1 + 0.25 * np.sin(np.linspace(0, 2 * np.pi, 24) * 3 + random.uniform(0, 6)))
        ring = np.linspace(0, 2 * np.pi, 24)
        spots |= _filled(place(centre + np.stack([np.cos(ring) * radius, np.sin(ring) * radius], 1)))
    spots &= shape
    brown = np.array([112, 62, 28]) + (_noise(random, 6) * 14)[..., None]
    blade = np.where(spots[..., None] > 0, brown, blade)
    soft = np.asarray(Image.fromarray(shape * np.uint8(255)).filter(ImageFilter.GaussianBlur(0.8)))[..., None] / 255
    ids = np.where(shape > 0, np.where(spots > 0, 2, 1), ids).astype(np.uint8)
    return image * (1 - soft) + blade * soft, ids


def _filled(points: list[tuple[float, float]]) -> np.ndarray:
    """uint8 (H, W): 1 inside the polygon."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    return np.asarray(canvas).copy()


def _noise(random: np.random.Generator, cell: int) -> np.ndarray:
    """Smooth noise, float (H, W) around 0, whose bumps are about `cell` pixels wide."""
    small = random.normal(0, 1, (HEIGHT // cell + 2, WIDTH // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
