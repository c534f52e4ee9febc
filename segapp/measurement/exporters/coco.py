"""COCO JSON of one image or of many: polygons, and run lengths for objects with holes, which polygons cannot hold."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from segapp.measurement.document import Document
from segapp.measurement.exporters.geojson import plain_number
from segapp.measurement.polygons import Outline


def coco(documents: Sequence[Document]) -> bytes:
    categories = {int(c["id"]): c for document in documents for c in document.counted}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, document in enumerate(documents, 1):
        images.append({"id": number, "file_name": document.name, "width": document.width, "height": document.height})
        for place, outline in enumerate(document.outlines):
            row = _annotation(document, place, outline)
            annotations.append({"id": len(annotations) + 1, "image_id": number, **row})
    listed = [
        {"id": k, "name": c["name"], "supercategory": "", "color": c.get("color", "")}
        for k, c in sorted(categories.items())
    ]
    found = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": listed}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _annotation(document: Document, place: int, outline: Outline) -> dict[str, Any]:
    columns = document.table.columns
    left, top, right, bottom = (int(columns[f"bbox_{axis}_px"][place]) for axis in ("x_min", "y_min", "x_max", "y_max"))
    segmentation: Any
    if any(part.holes for part in outline):
        segmentation = run_lengths(document.objects.labels, place + 1, (left, top, right, bottom))
    else:
        segmentation = [[plain_number(value) for value in part.outer.ravel()] for part in outline]
    return {
        "category_id": int(columns["class_id"][place]),
        "segmentation": segmentation,
        "area": int(columns["area_px"][place]),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
    }


def run_lengths(labels: np.ndarray, number: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    """Uncompressed run lengths, column by column, of one object; `box` is where it lies."""
    height, width = labels.shape
    left, top, right, bottom = box
    columns = np.zeros((right - left, height), np.uint8)
    columns[:, top:bottom] = (labels[top:bottom, left:right] == number).T
    flat = columns.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=0)) + left * height
    counts = np.diff(changes, prepend=0, append=width * height)
    return {"size": [height, width], "counts": [int(count) for count in counts]}
