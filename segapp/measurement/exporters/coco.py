"""COCO JSON of one image or of many: polygons, and run lengths for objects with holes, which polygons cannot hold."""

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from segapp.measurement.document import Document
from segapp.measurement.exporters.geojson import plain_numbers
from segapp.measurement.polygons import Outline


def write(documents: Iterable[Document], out: BinaryIO) -> None:
    """Write all images' objects; one document at a time is held."""
    categories: dict[int, dict[str, Any]] = {}
    images: list[dict[str, Any]] = []
    count = 0
    out.write(b'{"info":{},"licenses":[],"annotations":[')
    for number, document in enumerate(documents, 1):
        categories |= {int(c["id"]): c for c in document.counted}
        images.append({"id": number, "file_name": document.name, "width": document.width, "height": document.height})
        for place, outline in enumerate(document.outlines):
            row = {"id": count + 1, "image_id": number, **_annotation(document, place, outline)}
            out.write((b"," if count else b"") + _json(row))
            count += 1
    listed = [
        {"id": k, "name": c["name"], "supercategory": "", "color": c.get("color", "")}
        for k, c in sorted(categories.items())
    ]
    out.write(b'],"images":' + _json(images) + b',"categories":' + _json(listed) + b"}")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _annotation(document: Document, place: int, outline: Outline) -> dict[str, Any]:
    columns = document.table.columns
    left, top, right, bottom = document.box(place + 1)
    segmentation: Any
    if any(part.holes for part in outline):
        segmentation = run_lengths(document.inside(place + 1), (left, top), (document.height, document.width))
    else:
        segmentation = [plain_numbers(part.outer.ravel()) for part in outline]
    return {
        "category_id": int(columns["class_id"][place]),
        "segmentation": segmentation,
        "area": int(columns["area_px"][place]),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def run_lengths(inside: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Uncompressed run lengths, column by column of an image of this height and width, of one object: bool h,w, whose
    box begins at `corner` (x, y)."""
    height, width = size
    left, top = corner
    columns = np.zeros((inside.shape[1], height), np.uint8)
    columns[:, top : top + len(inside)] = inside.T
    flat = columns.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=0)) + left * height
    counts = np.diff(changes, prepend=0, append=width * height)
    return {"size": [height, width], "counts": [int(count) for count in counts]}
