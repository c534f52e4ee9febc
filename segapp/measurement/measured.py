"""From one image's mask to its measured objects: the one call that the site and the commands make.

Knows nothing of rows, files or networks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segapp.imaging.object_options import AUTO, AUTO_STRENGTH, DELETE, FILL, NONE, ObjectOptions
from segapp.imaging.pixel_size import GeoReference, PixelSize
from segapp.measurement import objects, table
from segapp.measurement.document import Document
from segapp.measurement.objects import Objects, Settings


def measured(
    name: str,
    ids: np.ndarray,
    classes: Sequence[dict[str, Any]],
    options: ObjectOptions,
    *,
    interior: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    intensity: np.ndarray | None = None,
    size: PixelSize | None = None,
    geo: GeoReference | None = None,
) -> Document:
    """The objects of a mask with their measures.

    name: the image's. ids: uint8 H,W of class ids. classes: [{id, name, color, things}], `things` None or absent where
    it was not chosen. interior: the model's own map of how far inside an object each pixel lies, float H,W from 0 at
    borders to 1; without it objects are split by their shape. confidence: uint8 H,W, 255 is certain. intensity: H,W or
    H,W,C of any depth. size, geo: what the file says; a typed scale goes before it. Raises TooManyObjects.
    """
    things = things_of(ids, classes, options)
    if interior is not None:  # as it is stored, so that measuring again gives the same objects
        interior = (np.rint(interior * 255) / 255).astype(np.float32)
    found = edited(objects.find(ids, settings_of(options, things), interior), options)
    names = {int(c["id"]): str(c["name"]) for c in classes}
    sure = None if confidence is None else lambda top, bottom: confidence[top:bottom]
    measures = table.measure(found, names, intensity, sure, options.more)
    rows = table.per_image(ids, found, measures.columns["area_px"], things, list(classes))
    return Document(
        name=name,
        objects=found,
        table=measures,
        classes=list(classes),
        things=things,
        size=options.scale or size,
        geo=geo,
        tolerance=options.simplify,
        rows=rows,
    )


def settings_of(options: ObjectOptions, things: tuple[int, ...]) -> Settings:
    """How a mask becomes objects of these classes."""
    return Settings(things, strength(options.split), options.min_area, options.edges, options.holes == FILL)


def things_of(ids: np.ndarray, classes: Sequence[dict[str, Any]], options: ObjectOptions) -> tuple[int, ...]:
    """The ids of the classes to count: those asked for, else what the model says, else what looks like objects."""
    known = sorted(int(c["id"]) for c in classes)
    if options.things is not None:
        return tuple(k for k in known if k in options.things)
    return tuple(int(c["id"]) for c in sorted(classes, key=lambda c: int(c["id"])) if _counts(ids, c))


def _counts(ids: np.ndarray, row: dict[str, Any]) -> bool:
    stated = row.get("things")
    if stated is not None:
        return bool(stated)
    return not objects.is_background(row) and objects.countable(ids, int(row["id"]))


def strength(split: str | float) -> float | None:
    """How strongly touching objects come apart, 0 to 1; None for not at all."""
    if isinstance(split, str):
        return {AUTO: AUTO_STRENGTH, NONE: None}[split]
    return split


def edited(found: Objects, options: ObjectOptions) -> Objects:
    """The objects after a person's corrections; pixels where there is no object are passed over."""
    height, width = found.labels.shape
    for what, pixels in options.edits:
        inside = [(x, y) for x, y in pixels if 0 <= x < width and 0 <= y < height]
        numbers = {int(found.labels[y, x]) for x, y in inside} - {0}
        if numbers:
            found = (objects.without if what == DELETE else objects.merged)(found, numbers)
    return found
