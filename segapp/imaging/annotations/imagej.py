"""ImageJ ROIs, single or as the zip that the ROI manager saves: every area is one object."""

import io
import zipfile
from collections import Counter
from typing import IO

import numpy as np

from segapp.imaging import archive
from segapp.imaging.annotations.shapes import (
    MAX_SHAPES,
    Annotated,
    Budget,
    Label,
    Parsed,
    Shape,
    damaged,
    left_out,
    ring,
)

LABEL = "object"
AREAS = {"POLYGON", "RECT", "OVAL", "FREEHAND", "TRACED"}
MAX_ZIP_BYTES = 100 * 10**6


def is_roi_zip(file: IO[bytes]) -> bool:
    """Whether a zip holds ROIs only. It is opened as one by `parse_zip`, which trusts nothing."""
    try:
        with zipfile.ZipFile(file) as opened:
            names = [info.filename.lower() for info in opened.infolist() if not archive.is_hidden(info)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    finally:
        file.seek(0)
    return bool(names) and all(name.endswith(".roi") for name in names)


def parse_zip(content: bytes, name: str) -> Parsed:
    """Raises InvalidFile."""
    limits = archive.Limits(files=MAX_SHAPES, bytes=MAX_ZIP_BYTES, listed=20 * 10**6)
    with archive.opened(io.BytesIO(content), name, limits) as opened:
        members = [info for info in opened.infolist() if not archive.is_hidden(info)]
        contents = [archive.content(opened, info, MAX_ZIP_BYTES, name) for info in members]
    return _parsed(contents, name)


def parse(content: bytes, name: str) -> Parsed:
    """Raises InvalidFile."""
    return _parsed([content], name)


def _parsed(contents: list[bytes], name: str) -> Parsed:
    import roifile  # here, since the web process starts without it and few uploads need it

    budget = Budget(name)
    image = Annotated(name.rsplit(".", 1)[0])
    skipped: Counter[str] = Counter()
    for k, content in enumerate(contents):
        budget.spend(shapes=1)
        try:
            roi = roifile.ImagejRoi.frombytes(content)
            kind, parts = roi.roitype.name, roi.coordinates(multi=True)
        except Exception:  # a library's parser of a binary format raises what it likes on what is none
            raise damaged(name, "ImageJ ROI") from None
        rings = tuple(found for part in parts if (found := ring(np.asarray(part), budget)) is not None)
        if kind in AREAS and rings:
            image.shapes.append(Shape(LABEL, rings, group=str(k)))
        else:
            skipped[f"ROIs of the kind “{kind.lower()}”"] += 1
    return Parsed([Label(LABEL)], [image], left_out(skipped, name))
