"""What a page shows of an image's objects, as JSON: outlines to draw and click on, the table, the figures by class."""

import json
from typing import Any

import numpy as np

from segapp.imaging.object_options import ObjectOptions
from segapp.measurement import polygons
from segapp.measurement.document import Document, plain, plain_column
from segapp.measurement.exporters.tables import units_of

SHOWN_SIDE = 2048  # pixels of an image on screen: outlines need not be finer


def view(document: Document, options: ObjectOptions) -> bytes:
    """{width, height, scale, unit, things, classes, columns, rows, outlines, tolerance}; see docs/measurements.md."""
    tolerance = max(document.tolerance, finest(document))
    shown = polygons.simplified(document.outlines, tolerance) if tolerance > document.tolerance else document.outlines
    unit = units_of([document])[0]
    columns = document.table.columns_with(unit)
    size = document.size
    found: dict[str, Any] = {
        "width": document.width,
        "height": document.height,
        "scale": size.describe() if size else None,
        "pixel_size_um": [size.x, size.y] if size else None,
        "unit": unit.name if unit else None,
        "options": options.to_dict(),
        "things": list(document.things),
        "classes": [{key: plain(value) for key, value in row.items()} for row in document.rows],
        "columns": list(columns),
        "rows": [list(row) for row in zip(*(plain_column(values) for values in columns.values()), strict=True)],
        "tolerance": tolerance,
        "outlines": [[[_flat(ring) for ring in (part.outer, *part.holes)] for part in outline] for outline in shown],
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def finest(document: Document) -> float:
    """Pixels by which outlines may be off without anybody seeing it."""
    return 0.5 * max(1.0, max(document.width, document.height) / SHOWN_SIDE)


def _flat(ring: np.ndarray) -> list[float]:
    """x, y, x, y …, to a tenth of a pixel."""
    if ring.dtype.kind == "i":
        return list(ring.ravel().tolist())
    return [int(value) if float(value).is_integer() else value for value in np.round(ring, 1).ravel().tolist()]
