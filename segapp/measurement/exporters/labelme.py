"""labelme JSON: polygons, and painted masks for objects with holes, which its polygons cannot hold."""

import base64
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from segapp.measurement.document import Document
from segapp.measurement.exporters.geojson import plain_numbers


def labelme(document: Document) -> bytes:
    shapes = []
    for place, outline in enumerate(document.outlines):
        shape = {"label": document.class_of(place + 1)["name"], "group_id": place + 1, "description": "", "flags": {}}
        if any(part.holes for part in outline):
            shapes.append(shape | _mask(document, place))
            continue
        own = {"shape_type": "polygon", "mask": None}
        shapes += [{**shape, **own, "points": plain_numbers(part.outer)} for part in outline]
    found: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": document.name,
        "imageData": None,
    }
    found |= {"imageHeight": document.height, "imageWidth": document.width}
    return json.dumps(found, ensure_ascii=False).encode()


def _mask(document: Document, place: int) -> dict[str, Any]:
    left, top, right, bottom = document.box(place + 1)
    inside = document.inside(place + 1)
    out = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8) * 255).convert("1").save(out, "PNG")
    # labelme takes the last row and column as part of the box.
    points = [[left, top], [right - 1, bottom - 1]]
    return {"points": points, "shape_type": "mask", "mask": base64.b64encode(out.getvalue()).decode()}
