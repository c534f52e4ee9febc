"""Shapes of known size, drawn by their formulas."""

from typing import Any

import numpy as np

from segapp.measurement import objects, table
from segapp.measurement.document import Document
from segapp.measurement.objects import Settings

CLASSES: list[dict[str, Any]] = [
    {"id": 0, "name": "background", "color": "#000000"},
    {"id": 1, "name": "nucleus", "color": "#4ade80"},
    {"id": 2, "name": "=crack", "color": "#ff8800"},
]
NAMES = {row["id"]: row["name"] for row in CLASSES}


def disc(mask: np.ndarray, x: float, y: float, radius: float, value: int = 1) -> None:
    """The pixels whose middles lie in a circle."""
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    mask[(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2] = value


def bar(mask: np.ndarray, length: float, width: float, degrees: float, value: int = 1) -> None:
    """A rectangle around the middle of the mask, turned."""
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    across, down = columns - mask.shape[1] / 2 + 0.51, rows - mask.shape[0] / 2 + 0.51
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, aside = across * c + down * s, down * c - across * s
    mask[(abs(along) <= length / 2) & (abs(aside) <= width / 2)] = value


def tricky() -> np.ndarray:
    """uint8 40,60: a hole with an island, neighbours of two classes, one pixel, two pixels that touch by a corner."""
    mask = np.zeros((40, 60), np.uint8)
    mask[2:18, 2:20], mask[5:14, 5:16], mask[8:11, 8:12] = 1, 0, 1
    mask[20:36, 2:15], mask[20:36, 15:30] = 1, 2
    mask[24, 4] = 0
    mask[3, 40] = 1
    mask[10, 40] = mask[11, 41] = 2
    mask[30:40, 50:60] = 1
    return mask


def document(mask: np.ndarray, name: str = "image.png", settings: Settings | None = None, **more) -> Document:
    settings = settings or Settings(things=(1, 2))
    found = objects.find(mask, settings)
    measured = table.measure(found, NAMES, more.pop("intensity", None))
    rows = table.per_image(mask, found, measured.columns["area_px"], settings.things, CLASSES)
    return Document(name, found, measured, CLASSES, settings.things, rows=rows, **more)
