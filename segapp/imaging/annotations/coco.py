"""COCO JSON: polygons, run lengths plain and compressed, crowds. Boxes without outline are named as not used."""

from collections import Counter
from typing import Any

from segapp.imaging.annotations import rle
from segapp.imaging.annotations.shapes import (
    Annotated,
    Budget,
    Label,
    Parsed,
    Shape,
    by_key,
    hex_color,
    left_out,
    named,
    ring,
    size,
    split_path,
    text,
)


def is_coco(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("images"), list) and "annotations" in data


def parse(data: dict[str, Any], name: str) -> Parsed:
    """Raises InvalidFile."""
    budget = Budget(name)
    categories = {str(row["id"]): text(row.get("name")) or text(row["id"]) for row in _with_id(data.get("categories"))}
    colors = {str(row["id"]): hex_color(row.get("color", "")) for row in _with_id(data.get("categories"))}
    images: dict[str, Annotated] = {}
    for row in _with_id(data["images"]):
        file_name, folder = split_path(row.get("file_name"))
        images[str(row["id"])] = Annotated(file_name, folder, size(row.get("width")), size(row.get("height")))
    skipped: Counter[str] = Counter()
    crowds, listed = 0, bool(categories)
    for row in by_key(data["annotations"], "image_id"):
        image, label = images.get(_key(row["image_id"])), categories.get(_key(row.get("category_id")))
        if not listed and _key(row.get("category_id")):
            label = categories[_key(row["category_id"])] = f"class {_key(row['category_id'])}"
        if image is None or label is None:
            skipped["annotations of an image or class that it does not list"] += 1
            continue
        budget.spend(shapes=1)
        found = _shapes(row, label, image, budget)
        if not found:
            skipped["boxes or points without an outline" if not row.get("segmentation") else "damaged outlines"] += 1
        crowds += bool(found and row.get("iscrowd"))
        image.shapes += found
    notes = left_out(skipped, name)
    if crowds:
        notes.append(
            f"{crowds} crowd{'s' if crowds > 1 else ''} in {name}: the area counts for its class, not as an object."
        )
    by_name = {label: colors.get(key, "") for key, label in categories.items()}
    labels = [Label(label.name, by_name.get(label.name, "")) for label in named(categories.values(), name)]
    return Parsed(labels, list(images.values()), notes)


def _key(number: Any) -> str:
    """An id as text, since some programs write the numbers of one list as text in the other; "" for what is none."""
    return str(number) if isinstance(number, str | int) else ""


def _with_id(rows: Any) -> list[dict[str, Any]]:
    return [row for row in by_key(rows, "id") if isinstance(row["id"], str | int)]


def _shapes(row: dict[str, Any], label: str, image: Annotated, budget: Budget) -> list[Shape]:
    outline, counted = row.get("segmentation"), not row.get("iscrowd")
    group = f"{row.get('id', '')}" if counted else ""
    if isinstance(outline, dict):
        height, width = (*outline.get("size", []), 0, 0)[:2] if isinstance(outline.get("size"), list) else (0, 0)
        if not isinstance(height, int) or not isinstance(width, int):
            return []
        bitmap = rle.coco(outline.get("counts"), height, width)
        if bitmap is None:
            return []
        budget.spend(points=len(outline["counts"]))
        image.width, image.height = image.width or width, image.height or height
        return [_cropped(label, bitmap, group, counted)] if bitmap.any() else []
    if not isinstance(outline, list):
        return []
    rings = [found for part in outline if (found := ring(part, budget)) is not None]
    return [Shape(label, (points,), group=group, counted=counted) for points in rings]


def _cropped(label: str, bitmap: Any, group: str, counted: bool) -> Shape:
    """Only the part of a bitmap that holds something, so that a thousand small objects cost little."""
    rows, columns = bitmap.any(axis=1).nonzero()[0], bitmap.any(axis=0).nonzero()[0]
    part = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return Shape(label, (), part, int(columns[0]), int(rows[0]), group, counted)
