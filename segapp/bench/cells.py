"""A drawn set of touching cells with their object numbers, for a bench without data of one's own."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE = 256
CELLS = (30, 90)  # tried an image; those that would mostly cover another are left out
MAX_COVERED = 0.2  # of a cell, by one drawn before


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image `number`, uint8 SIDE,SIDE,3, and its object numbers from 1, uint16 SIDE,SIDE."""
    random = np.random.default_rng(7100 + number)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    light = np.full((SIDE, SIDE), random.uniform(20, 60))
    numbers = np.zeros((SIDE, SIDE), np.uint16)
    count = 0
    for _ in range(random.integers(*CELLS)):
        x, y = random.uniform(0, SIDE, 2)
        if count and random.random() < 0.75:  # beside one that is there: cells come in clumps
            near = np.argwhere(numbers == random.integers(1, count + 1)).mean(axis=0)
            y, x = near + random.normal(0, 1, 2) * 14
        size, stretch, turn = random.uniform(8, 16), random.uniform(1.0, 1.5), random.uniform(0, np.pi)
        across = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        down = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        far = np.sqrt((across / (size * stretch)) ** 2 + (down / size) ** 2)
        inside = far <= 1
        if inside.sum() < 40 or (numbers[inside] > 0).mean() > MAX_COVERED:
            continue
        count += 1
        free = inside & (numbers == 0)
        numbers[free] = count
        light[free] = (random.uniform(110, 190) * (1 - 0.35 * far**4))[free]
    blurred = Image.fromarray(light.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.0))
    grey = np.asarray(blurred)[..., None] + random.normal(0, 6, (SIDE, SIDE, 3))
    return grey.clip(0, 255).astype(np.uint8), numbers


def write(folder: Path, count: int) -> Path:
    """A set of so many images: images/, masks/ and instances/ in the folder, which is returned."""
    for kind in ("images", "masks", "instances"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        image, numbers = draw(number)
        parts = {"images": image, "masks": (numbers > 0).astype(np.uint8), "instances": numbers}
        for kind, array in parts.items():
            Image.fromarray(array).save(folder / kind / f"cells_{number:02}.png")
    return folder
