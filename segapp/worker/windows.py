"""An image that is too large to read at once: its mask as a tiled TIFF in the same place on earth, and a preview."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry import store
from registry.runtime import LoadedNetwork
from segapp.imaging import render
from segapp.imaging.class_areas import ClassArea, class_areas
from segapp.imaging.confined_windows import ConfinedWindows
from segapp.imaging.decode import place_of
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import PixelSize
from segapp.imaging.readers.windows import write_mask
from segapp.measurement.document import Document
from segapp.measurement.windowed import measured_in_windows
from segapp.pipeline.inference.windows import predict_windows
from segapp.worker import measuring


@dataclass(frozen=True)
class LargeResult:
    """width and height of the image; `classes` with their areas; `shown` a small copy, `ids` its mask (uint8 h,w);
    `confidence` uint8, coarse; `document` its objects, where they were asked for; `notes` on what was decided; `source`
    as analyses.source_of gives it."""

    width: int
    height: int
    classes: list[ClassArea]
    shown: Image.Image
    ids: np.ndarray
    confidence: np.ndarray
    document: Document | None
    notes: tuple[str, ...]
    source: dict[str, Any]


def segment(
    network: LoadedNetwork,
    file: Path,
    name: str,
    mask: Path,
    choice: ImageInput,
    progress: Callable[[float], None],
    objects: ObjectOptions | None = None,
) -> LargeResult:
    """Write the mask of a large TIFF to `mask` (.tif). `progress` is called with 0 to 1, and may raise to end it.

    `objects`: how its objects are measured, too. Raises InvalidFile, TooManyObjects, and OSError when the disk is full.
    """
    seen = 0.95 if objects is None else 0.75  # of the time
    with (
        open(file, "rb") as opened,
        closing(ConfinedWindows(opened, name, choice.over(ImageInput.from_dict(network.spec.image_input)))) as image,
    ):
        size = (image.height, image.width)
        found = predict_windows(
            network, image.read, size, mask.parent, lambda share: progress(seen * share), objects is not None
        )
        classes = [{"id": c.id, "name": c.name, "color": c.color} for c in network.spec.classes]
        colors = render.color_table(classes)
        write_mask(mask, lambda first, last: np.asarray(found.ids[first:last]), size, colors, image.geo)
    if store.is_shared():
        store.push(mask)
    place = place_of(image.geo)
    document = None
    if objects is not None:
        document = measured_in_windows(
            name,
            found.ids,
            measuring.classes_of(network),
            objects,
            interior=found.interior_rows if found.coarse_interior is not None else None,
            confidence=found.confidence_rows,
            size=PixelSize.from_dict(image.pixel_size) if image.pixel_size else None,
            geo=place,
            tick=lambda share: progress(seen + (0.98 - seen) * share),
        )
    source = {"pixel_size": image.pixel_size or None, "place": place.to_dict() if place else None}
    step = max(1, max(size) // max(found.preview.shape[:2]))
    small = Image.fromarray(np.ascontiguousarray(found.ids[::step, ::step]))
    shown = Image.fromarray(found.preview)
    progress(1.0)
    areas = class_areas(
        network.spec.classes, [int(found.pixels[c.id]) for c in network.spec.classes], size[0] * size[1]
    )
    ids = np.asarray(small.resize(shown.size, Image.Resampling.NEAREST))
    return LargeResult(
        image.width, image.height, areas, shown, ids, found.coarse_confidence, document, image.notes, source
    )
