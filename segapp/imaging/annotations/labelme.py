"""labelme JSON: polygons, boxes, circles and painted masks of one image. Lines and points are named as not used."""

import base64
import binascii
import io
import math
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image

from segapp.imaging import memory
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

MAX_BITMAP = 50_000_000  # pixels of a painted mask


def is_labelme(data: Any) -> bool:
    return (
        isinstance(data, dict) and isinstance(data.get("shapes"), list) and ("imagePath" in data or "version" in data)
    )


def parse(data: dict[str, Any], name: str) -> Parsed:
    """Raises InvalidFile."""
    budget = Budget(name)
    own, _ = split_path(data.get("imagePath") or name.rsplit(".", 1)[0])
    image = Annotated(own, "", size(data.get("imageWidth")), size(data.get("imageHeight")))
    skipped: Counter[str] = Counter()
    for row in by_key(data["shapes"], "label"):
        budget.spend(shapes=1)
        kind = text(row.get("shape_type")) or "polygon"
        group = "" if row.get("group_id") is None else f"{text(row['label'])} {text(row['group_id'])}"
        found = _shape(row, kind, text(row["label"]) or "unnamed", group, budget)
        if found is None:
            skipped[
                f"shapes of the kind “{kind}”" if kind in ("line", "linestrip", "point", "points") else "damaged shapes"
            ] += 1
        else:
            image.shapes.append(found)
    return Parsed(named((shape.label for shape in image.shapes), name), [image], left_out(skipped, name))


def _shape(row: dict[str, Any], kind: str, label: str, group: str, budget: Budget) -> Shape | None:
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
    if kind == "mask":
        bitmap = _bitmap(row.get("mask"))
        return None if bitmap is None else Shape(label, (), bitmap, int(left), int(top), group)
    return None


def _two(points: Any) -> list[tuple[float, float]] | None:
    if (
        not isinstance(points, list)
        or len(points) < 2
        or not all(isinstance(p, list) and len(p) >= 2 for p in points[:2])
    ):
        return None
    found = [(number(point[0]), number(point[1])) for point in points[:2]]
    return None if any(x is None or y is None for x, y in found) else [(float(x or 0), float(y or 0)) for x, y in found]


def _bitmap(content: Any) -> np.ndarray | None:
    """bool (h, w) of a PNG in base64."""
    if not isinstance(content, str):
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True)), formats=("PNG",)) as opened:
            if opened.width * opened.height > MAX_BITMAP:
                return None
            with memory.decoding.hold(memory.STORED * opened.width * opened.height):
                return np.asarray(opened.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError):
        return None
