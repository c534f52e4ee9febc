"""From shapes to masks: class ids and object numbers per pixel. A pixel belongs to a shape that holds its centre."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segapp.imaging.annotations.shapes import Annotated, Shape
from segapp.imaging.invalid_file import InvalidFile

MAX_DRAWN = 60  # times the image's pixels that all shapes' boxes together may cover, and MIN_DRAWN pixels at least
MIN_DRAWN = 500_000_000
MAX_OBJECTS = 65535


@dataclass(frozen=True)
class Drawn:
    """ids uint8 (H, W), 0 is background. objects uint16 (H, W), numbered from 1. overlaps: pixels that a later object
    took from an earlier one; empty: shapes with no pixel in the image."""

    ids: np.ndarray
    objects: np.ndarray
    overlaps: int
    empty: int


def draw(annotated: Annotated, ids: Mapping[str, int], width: int, height: int, name: str) -> Drawn:
    """`ids`: class id by label; shapes of other labels are left out. Later shapes lie above earlier ones.

    Raises InvalidFile for shapes that would take too long.
    """
    drawn = np.zeros((height, width), dtype=np.uint8)
    objects = np.zeros((height, width), dtype=np.uint16)
    across = width if annotated.relative else width / annotated.width if annotated.width else 1.0
    down = height if annotated.relative else height / annotated.height if annotated.height else 1.0
    limit, spent = max(MAX_DRAWN * width * height, MIN_DRAWN), 0
    overlaps = empty = count = 0
    groups: dict[str, int] = {}
    for shape in annotated.shapes:
        if shape.label not in ids:
            continue
        if shape.bitmap is not None and (across, down) != (1.0, 1.0):
            shape = _scaled(shape, across, down)
        found = _filled(shape, across, down, width, height)
        if found is None:
            empty += 1
            continue
        inside, left, top = found
        spent += inside.size
        if spent > limit:
            raise InvalidFile(name, "Its shapes lie over each other too often to be drawn.", "Export fewer shapes.")
        rows, columns = slice(top, top + inside.shape[0]), slice(left, left + inside.shape[1])
        number = groups.get(shape.group, 0) if shape.group and shape.counted else 0
        if shape.counted and not number:
            number = count = count + 1
            if shape.group:
                groups[shape.group] = number
        if count > MAX_OBJECTS:
            raise InvalidFile(name, f"It holds more than {MAX_OBJECTS} objects on one image.", "Export fewer.")
        before = objects[rows, columns]
        overlaps += int((inside & (before > 0) & (before != number)).sum())
        drawn[rows, columns][inside] = ids[shape.label]
        before[inside] = number
    return Drawn(drawn, objects, overlaps, empty)


def _filled(shape: Shape, across: float, down: float, width: int, height: int) -> tuple[np.ndarray, int, int] | None:
    """(bool (h, w), left, top): the shape within the image; None where it has no pixel there."""
    if shape.bitmap is not None:
        top, left = max(0, shape.top), max(0, shape.left)
        inside = shape.bitmap[top - shape.top : height - shape.top, left - shape.left : width - shape.left]
        return (inside, left, top) if inside.any() else None
    rings = [points * (across, down) for points in shape.rings]
    if not rings:
        return None
    every = np.concatenate(rings)
    left, top = np.clip(np.floor(every.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(every.max(axis=0)), 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return None
    inside = _scan(rings, int(left), int(top), int(right), int(bottom))
    return (inside, int(left), int(top)) if inside.any() else None


def _scan(rings: list[np.ndarray], left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """bool (bottom - top, right - left): pixels whose centre lies in an odd number of the rings."""
    toggles = np.zeros((bottom - top, right - left + 1), dtype=bool)
    for points in rings:
        start, end = points, np.roll(points, -1, axis=0)
        upper = np.minimum(start[:, 1], end[:, 1])
        lower = np.maximum(start[:, 1], end[:, 1])
        first = np.clip(np.ceil(upper - 0.5), top, bottom).astype(int)
        last = np.clip(np.ceil(lower - 0.5), top, bottom).astype(int)
        many = last - first
        edge = np.repeat(np.arange(len(points)), many)
        if not len(edge):
            continue
        row = np.arange(len(edge)) - np.repeat(np.cumsum(many) - many, many) + first[edge]
        a, b = start[edge], end[edge]
        crossing = a[:, 0] + (row + 0.5 - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
        column = np.clip(np.ceil(crossing - 0.5), left, right).astype(int) - left
        np.logical_xor.at(toggles, (row - top, column), True)
    return np.logical_xor.accumulate(toggles, axis=1)[:, :-1]


def _scaled(shape: Shape, across: float, down: float) -> Shape:
    """A bitmap at another size of its image."""
    bitmap = shape.bitmap
    assert bitmap is not None
    height, width = max(1, round(bitmap.shape[0] * down)), max(1, round(bitmap.shape[1] * across))
    rows = ((np.arange(height) + 0.5) * bitmap.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * bitmap.shape[1] / width).astype(int)
    left, top = round(shape.left * across), round(shape.top * down)
    return Shape(shape.label, (), bitmap[rows][:, columns], left, top, shape.group, shape.counted)
