"""Strokes as a person would draw them, from whole masks, by one seeded protocol, so that figures compare.

A stroke is a path 3 pixels wide and at most 40 long inside a connected part of a class; parts are drawn by their area.
Strokes of a larger number begin with those of a smaller one.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from segapp.pipeline.constants import IGNORE

LENGTH = 40  # pixels, at most
TURN = 0.35  # radians a step, at most
TRIES = (0.0, 0.8, -0.8, 1.6, -1.6)  # radians to turn by where the way ahead leaves the part


@dataclass(frozen=True)
class _Part:
    image: int
    number: int
    area: int


def scribbled(masks: Sequence[np.ndarray], ids: Sequence[int], strokes: int, seed: int) -> list[np.ndarray]:
    """Masks like `masks` (uint8 H,W of class ids) that hold `strokes` strokes a class over all images together, and
    255 elsewhere."""
    found = [np.full_like(mask, IGNORE) for mask in masks]
    for value in ids:
        rng = random.Random(f"{seed}/{value}")
        labels = [_labelled(mask == value) for mask in masks]
        parts = [
            _Part(image, number, int(area))
            for image, numbered in enumerate(labels)
            for number, area in enumerate(np.bincount(numbered.ravel()).tolist())
            if number and area
        ]
        if not parts:
            continue
        for _ in range(strokes):
            part = rng.choices(parts, [one.area for one in parts])[0]
            inside = labels[part.image] == part.number
            for row, column in path(inside, rng):
                rows = slice(max(0, row - 1), row + 2)
                columns = slice(max(0, column - 1), column + 2)
                found[part.image][rows, columns][inside[rows, columns]] = value
    return found


def path(inside: np.ndarray, rng: random.Random) -> list[tuple[int, int]]:
    """Pixels (row, column) of a winding walk within `inside` (bool H,W), from a pixel drawn from all of it."""
    places = np.flatnonzero(inside)
    row, column = divmod(int(places[rng.randrange(len(places))]), inside.shape[1])
    y, x, heading = row + 0.5, column + 0.5, rng.uniform(-math.pi, math.pi)
    found = [(row, column)]
    while len(found) < LENGTH:
        heading += rng.uniform(-TURN, TURN)
        for turn in TRIES:
            down, right = y + math.sin(heading + turn), x + math.cos(heading + turn)
            if _holds(inside, down, right):
                break
        else:
            return found
        y, x, heading = down, right, heading + turn
        found.append((int(y), int(x)))
    return found


def _holds(inside: np.ndarray, y: float, x: float) -> bool:
    return 0 <= y < inside.shape[0] and 0 <= x < inside.shape[1] and bool(inside[int(y), int(x)])


def _labelled(inside: np.ndarray) -> np.ndarray:
    labels: np.ndarray = cc3d.connected_components(inside.view(np.uint8), connectivity=8, out_dtype=np.uint32)
    return labels.reshape(inside.shape)
