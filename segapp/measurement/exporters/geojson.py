"""GeoJSON, one feature an object: in pixels as QuPath reads it, or in map coordinates where the image has them."""

import json
import uuid
from typing import Any

import numpy as np
import shapely

from segapp.imaging.palette import rgb
from segapp.imaging.pixel_size import GeoReference
from segapp.measurement.document import Document, plain_column
from segapp.measurement.exporters.tables import units_of
from segapp.measurement.polygons import Outline, Part, Ring

SAME = uuid.UUID("7c4c2a1e-8a57-4d38-9d1f-0b6f0a3c5e21")  # so that an object has the same id in every export


def geojson(document: Document) -> bytes:
    found: dict[str, Any] = {"type": "FeatureCollection"}
    if document.geo is not None and document.geo.epsg:
        name = f"urn:ogc:def:crs:EPSG::{document.geo.epsg}"
        found["crs"] = {"type": "name", "properties": {"name": name}}
    found["features"] = _features(document)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _features(document: Document) -> list[dict[str, Any]]:
    columns = document.table.columns_with(units_of([document])[0])
    skipped = {"object", "class_id", "class"}
    measured = {name: plain_column(values) for name, values in columns.items() if name not in skipped}
    features = []
    for place, outline in enumerate(document.outlines):
        row = document.class_of(place + 1)
        properties = {
            "objectType": "annotation",
            "name": f"{row['name']} {place + 1}",
            "classification": {"name": row["name"], "color": [int(part) for part in rgb(row["color"])]},
            "object": place + 1,
            "class_id": int(row["id"]),
            "measurements": {
                name: float(values[place]) for name, values in measured.items() if values[place] is not None
            },
        }
        own = str(uuid.uuid5(SAME, f"{document.name}/{document.width}x{document.height}/{place + 1}"))
        geometry = _geometry(outline, document.geo)
        features.append({"type": "Feature", "id": own, "geometry": geometry, "properties": properties})
    return features


def _geometry(outline: Outline, geo: GeoReference | None) -> dict[str, Any]:
    polygons = [[plain_numbers(ring) for ring in _closed(part, geo)] for part in outline]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(part: Part, geo: GeoReference | None) -> list[Ring]:
    """A piece's rings, the outer one first, each ending where it begins."""
    if geo is None:
        return [np.concatenate([ring, ring[:1]]) for ring in (part.outer, *part.holes)]
    polygon = shapely.Polygon(_placed(part.outer, geo), [_placed(hole, geo) for hole in part.holes])
    polygon = shapely.geometry.polygon.orient(polygon)  # on maps outer rings run anticlockwise
    return [np.asarray(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]


def _placed(ring: Ring, geo: GeoReference) -> np.ndarray:
    x, y = ring[:, 0], ring[:, 1]
    return np.stack([geo.a * x + geo.b * y + geo.c, geo.d * x + geo.e * y + geo.f], axis=1)


def plain_numbers(values: np.ndarray) -> list[Any]:
    """An array of coordinates as lists, whole coordinates as whole numbers: shorter, and exact."""
    if values.dtype.kind != "i":
        if not (values == np.rint(values)).all():
            return _mixed(np.round(values, 9).tolist())
        values = values.astype(np.int64)
    return list(values.tolist())


def _mixed(values: list[Any]) -> list[Any]:
    return [
        _mixed(value) if isinstance(value, list) else int(value) if value.is_integer() else value for value in values
    ]
