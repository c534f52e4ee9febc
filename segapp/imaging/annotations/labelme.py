"""labelme JSON: polygons, boxes, circles and painted masks of one image. Lines and points are named as not used."""

import base64
import binascii
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from segapp.imaging import bitmaps
from segapp.imaging.annotations.shapes import (
    Annotated,
    Budget,
    Parsed,
    Shape,
    box,
    by_key,
    ellipse,
    left_out,
    named,
    number,
    ring,
    size,
    split_path,
    text,
)

MASK = "mask"  # the kind of a shape that is a bitmap


def is_labelme(data: Any) -> bool:
    return (
        isinstance(data, dict) and isinstance(data.get("shapes"), list) and ("imagePath" in data or "version" in data)
    )


def parse(data: dict[str, Any], name: str) -> Parsed:
    """Raises InvalidFile and memory.DecodersBusy."""
    budget = Budget(name)
    own, _ = split_path(data.get("imagePath") or name.rsplit(".", 1)[0])
    image = Annotated(own, "", size(data.get("imageWidth")), size(data.get("imageHeight")))
    skipped: Counter[str] = Counter()
    rows = by_key(data["shapes"], "label")
    budget.spend(shapes=len(rows))
    painted = _bitmaps(rows, name)
    for row in rows:
        kind = _kind(row)
        bitmap = next(painted) if kind == MASK else None
        group = "" if row.get("group_id") is None else f"{text(row['label'])} {text(row['group_id'])}"
        found = _shape(row, kind, text(row["label"]) or "unnamed", group, budget, bitmap)
        if found is None:
            skipped[
                f"shapes of the kind “{kind}”" if kind in ("line", "linestrip", "point", "points") else "damaged shapes"
            ] += 1
        else:
            image.shapes.append(found)
    return Parsed(named((shape.label for shape in image.shapes), name), [image], left_out(skipped, name))


def _kind(row: dict[str, Any]) -> str:
    return text(row.get("shape_type")) or "polygon"


def _shape(
    row: dict[str, Any], kind: str, label: str, group: str, budget: Budget, bitmap: np.ndarray | None
) -> Shape | None:
    """bitmap: of a painted mask, bool (h, w)."""
    points = row.get("points")
    if kind == "polygon":
        found = ring(points, budget)
        return None if found is None else Shape(label, (found,), group=group)
    corners = _two(points)
    if corners is None:
        return None
    (left, top), (right, bottom) = corners
    if kind == "rectangle":
        rectangle = box(min(left, right), min(top, bottom), abs(right - left), abs(bottom - top))
        return Shape(label, (rectangle,), group=group)
    if kind == "circle":
        radius = math.dist(*corners)
        return Shape(label, (ellipse(left, top, radius, radius),), group=group)
    return None if bitmap is None else Shape(label, (), bitmap, int(left), int(top), group)


def _two(points: Any) -> list[tuple[float, float]] | None:
    if (
        not isinstance(points, list)
        or len(points) < 2
        or not all(isinstance(p, list) and len(p) >= 2 for p in points[:2])
    ):
        return None
    found = [(number(point[0]), number(point[1])) for point in points[:2]]
    return None if any(x is None or y is None for x, y in found) else [(float(x or 0), float(y or 0)) for x, y in found]


def _bitmaps(rows: Iterable[dict[str, Any]], name: str) -> Iterator[np.ndarray | None]:
    """bool (h, w) of each row that is a mask, a PNG in base64. Raises memory.DecodersBusy."""
    return iter(bitmaps.decode([_png(row.get("mask")) for row in rows if _kind(row) == MASK], name))


def _png(content: Any) -> bytes:
    try:
        return base64.b64decode(content, validate=True) if isinstance(content, str) else b""
    except (binascii.Error, ValueError):
        return b""
