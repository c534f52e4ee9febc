"""ImageJ ROIs as the zip that its ROI manager opens; coordinates are whole numbers, as ImageJ's polygons have them.

An object of several pieces or with holes becomes a composite ROI. The class stands in the ROI's name.
"""

from collections.abc import Iterator

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from segapp.measurement.document import Document
from segapp.measurement.polygons import Outline

MOVE_TO, LINE_TO, CLOSE = 0.0, 1.0, 4.0


def members(document: Document) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the zip."""
    digits = max(4, len(str(document.objects.count)))
    for place, outline in enumerate(document.outlines):
        name = f"{place + 1:0{digits}d} {document.class_of(place + 1)['name']}"
        safe = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in name)
        yield f"{safe}.roi", _roi(outline, name).tobytes()


def _roi(outline: Outline, name: str) -> ImagejRoi:
    if len(outline) == 1 and not outline[0].holes:
        # Traced, because ImageJ's wand gives outlines along pixel edges too.
        roi = ImagejRoi.frompoints(np.rint(outline[0].outer).astype(np.int32), name=name)
        roi.roitype, roi.options = ROI_TYPE.TRACED, ROI_OPTIONS(0)
        return roi
    path: list[float] = []
    for part in outline:
        for ring in (part.outer, *part.holes):
            for place, (x, y) in enumerate(np.rint(ring).tolist()):
                path += [LINE_TO if place else MOVE_TO, x, y]
            path.append(CLOSE)
    points = np.rint(np.concatenate([part.outer for part in outline]))
    left, top = (int(v) for v in points.min(axis=0))
    right, bottom = (int(v) for v in points.max(axis=0))
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        name=name,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape_roi_size=len(path),
        multi_coordinates=np.array(path, np.float32),
    )
