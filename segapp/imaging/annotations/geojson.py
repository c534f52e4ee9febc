"""GeoJSON as QuPath exports it: polygons in pixels with a classification; each feature is one object.

With a `crs`, as QGIS writes it, the points are coordinates of a map.
"""

import re
from collections import Counter
from typing import Any

from segapp.imaging.annotations.shapes import (
    MAX_PLACE,
    MAX_SIDE,
    Annotated,
    Budget,
    Label,
    Parsed,
    Shape,
    color,
    left_out,
    named,
    ring,
    text,
)

UNNAMED = "object"
_EPSG = re.compile(r"EPSG:[^:]*:?(\d{4,6})$")


def is_geojson(data: Any) -> bool:
    rows = data if isinstance(data, list) else [data]
    kinds = {"FeatureCollection", "Feature"}
    return bool(rows) and isinstance(rows[0], dict) and rows[0].get("type") in kinds


def parse(data: Any, name: str) -> Parsed:
    """Raises InvalidFile."""
    budget = Budget(name)
    rows = data.get("features", [data]) if isinstance(data, dict) else data
    image = Annotated(name.rsplit(".", 1)[0], epsg=_system(data))
    most = MAX_PLACE if image.epsg else MAX_SIDE
    colors: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for k, row in enumerate(rows if isinstance(rows, list) else []):
        budget.spend(shapes=1)
        geometry = row.get("geometry") if isinstance(row, dict) else None
        if not isinstance(geometry, dict):
            skipped["features without a geometry"] += 1
            continue
        label, own = _label(row.get("properties"))
        parts = _polygons(geometry, budget, most)
        if not parts:
            skipped[f"features of the kind “{text(geometry.get('type'))}”"] += 1
            continue
        colors.setdefault(label, own)
        image.shapes += [Shape(label, rings, group=str(k)) for rings in parts]
    labels = [Label(label.name, colors[label.name]) for label in named(colors, name)]
    return Parsed(labels, [image], left_out(skipped, name))


def _label(properties: Any) -> tuple[str, str]:
    """(name, colour) of the classification."""
    found = properties.get("classification") if isinstance(properties, dict) else None
    if not isinstance(found, dict):
        return UNNAMED, ""
    names = found.get("names")
    label = text(found.get("name")) or (": ".join(map(text, names)) if isinstance(names, list) else "") or UNNAMED
    rgb = found.get("color")
    if isinstance(rgb, list) and len(rgb) == 3:
        return label, color(*rgb)
    packed = found.get("colorRGB")
    return label, color(packed >> 16 & 255, packed >> 8 & 255, packed & 255) if isinstance(packed, int) else ""


def _system(data: Any) -> int:
    """The EPSG number of the file's coordinates; 0 for pixels."""
    crs = data.get("crs") if isinstance(data, dict) else None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = text(properties.get("name")) if isinstance(properties, dict) else ""
    found = _EPSG.search(name)
    return int(found[1]) if found else 4326 if name.endswith("CRS84") else 0


def _polygons(geometry: dict[str, Any], budget: Budget, most: float) -> list[tuple]:
    """For each polygon its rings: the outline, then its holes."""
    coordinates = geometry.get("coordinates")
    if geometry.get("type") == "GeometryCollection" and isinstance(geometry.get("geometries"), list):
        inner = [
            part
            for part in geometry["geometries"]
            if isinstance(part, dict) and part.get("type") != "GeometryCollection"
        ]
        return [rings for part in inner for rings in _polygons(part, budget, most)]
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(str(geometry.get("type")), [])
    found = []
    for polygon in polygons if isinstance(polygons, list) else []:
        parts = polygon if isinstance(polygon, list) else []
        rings = [found_ring for part in parts if (found_ring := ring(part, budget, most)) is not None]
        if rings:
            found.append(tuple(rings))
    return found
