"""The objects of one result: along with its prediction, or later from its stored mask. Knows nothing of requests."""

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import F
from django.utils import timezone
from PIL import Image

from registry import store
from registry.files import disk_is_full, write_atomically
from segapp import dispatch, heartbeat
from segapp.imaging import decode
from segapp.imaging.formats import MAX_MEASURED_PIXELS
from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import GeoReference, PixelSize
from segapp.measurement import files
from segapp.measurement.document import Document
from segapp.measurement.measured import measured
from segapp.measurement.objects import TooManyObjects
from segapp.measurement.view import view
from segapp.models import Analysis, Measurement, State
from segapp.models.measurement import VIEW
from segapp.pipeline.inference.predict import Prediction
from segapp.pipeline.inference.upsample import enlarged, interior_map
from segapp.worker import intensities

logger = logging.getLogger(__name__)

FAILED = "The objects could not be counted. Try again; if it fails again, raise the minimum area."
DISK_FULL = "The server's disk is full, so nothing was written. Try again later."
GONE = "The mask of this result is gone. Analyze the image again."
TOO_LARGE = (
    f"Objects are counted on up to {MAX_MEASURED_PIXELS // 10**6} megapixels. The areas and shares of the classes "
    "are of the whole image; to count objects, cut it into parts and send these."
)


class NotMeasured(Exception):
    """The message says why, and what to do."""


def run(pk: int) -> None:
    """Measure a finished result from its stored mask. A doubled message finds the row taken and does nothing."""
    claimed = Measurement.objects.filter(pk=pk, state=State.QUEUED, analysis__state=State.DONE)
    if not claimed.update(state=State.RUNNING, worker=heartbeat.NAME, attempts=F("attempts") + 1):
        return
    row = Measurement.objects.select_related("analysis").get(pk=pk)
    mine = Measurement.objects.filter(pk=pk, state=State.RUNNING, worker=heartbeat.NAME)
    values = attempt(row, None, None)
    if not mine.update(**values) and not Measurement.objects.filter(pk=pk).exists():  # its result was deleted
        store.remove_folder(row.folder)
    dispatch.notify(row.name)


def attempt(row: Measurement, found: Prediction | None, image: np.ndarray | None) -> dict[str, Any]:
    """Measure and write the files that were asked for; the values of the ended row.

    found, image: the prediction and its RGB image where they are at hand, else they are read from the result's files.
    """
    began = time.perf_counter()
    try:
        document = _document(row, found, image)
        made: set[str] = set()
        while missing := set(row.formats) - made:  # more may be asked for meanwhile
            _write(row, document, missing)
            made |= missing
            row.refresh_from_db(fields=["formats"])
    except (NotMeasured, TooManyObjects) as refused:
        return {"state": State.FAILED, "message": str(refused)[:500]}
    except Measurement.DoesNotExist:
        return {}
    except Exception as error:
        logger.exception("objects of analysis %s could not be measured", row.analysis.public_id)
        message = DISK_FULL if disk_is_full(error) else GONE if isinstance(error, FileNotFoundError) else FAILED
        return {"state": State.FAILED, "message": message}
    return {
        "state": State.DONE,
        "message": "",
        "ended": timezone.now(),
        "total": document.objects.count,
        "counts": document.counts,
        "rows": document.rows,
        "pixel_size": document.size.to_dict() if document.size else {},
        "seconds": round(time.perf_counter() - began, 4),
    }


def _document(row: Measurement, found: Prediction | None, image: np.ndarray | None) -> Document:
    analysis, options = row.analysis, ObjectOptions.from_dict(row.options)
    if analysis.width * analysis.height > MAX_MEASURED_PIXELS:
        raise NotMeasured(TOO_LARGE)
    source = analysis.source
    size, place = source.get("pixel_size"), source.get("place")
    return measured(
        analysis.title,
        found.ids if found is not None else _mask(analysis),
        analysis.classes,
        options,
        interior=found.interior if found is not None else _interior(analysis),
        confidence=found.confidence if found is not None else _confidence(analysis),
        intensity=_intensity(analysis, image),
        size=PixelSize.from_dict(size) if size else None,
        geo=GeoReference.from_dict(place) if place else None,
    )


def _write(row: Measurement, document: Document, formats: Collection[str]) -> None:
    for key in formats:
        if key == VIEW:
            content = view(document, ObjectOptions.from_dict(row.options))
        else:
            content = files.content(key, document)
        _save(row.path(key), content)


def _save(path: Path, content: bytes) -> None:
    write_atomically(path, lambda out: out.write(content), durable=False)


# --- what a result has on disk -------------------------------------------------------------------------------


def _mask(analysis: Analysis) -> np.ndarray:
    name = "mask.tif" if analysis.windows else "mask.png"
    with Image.open(store.fetch(analysis.folder / name)) as stored:
        return decode.pixels(stored)


def _confidence(analysis: Analysis) -> np.ndarray | None:
    path = store.fetch(analysis.folder / "sure.png")
    if not path.is_file():
        return None
    with Image.open(path) as stored:
        return enlarged(np.asarray(stored), (analysis.height, analysis.width))


def _interior(analysis: Analysis) -> np.ndarray | None:
    """float32 H,W from 0 to 1, of models that know it."""
    path = store.fetch(analysis.folder / "interior.png")
    if not path.is_file():
        return None
    with Image.open(path) as stored:
        return interior_map(np.asarray(stored), (analysis.height, analysis.width))


def _intensity(analysis: Analysis, image: np.ndarray | None) -> np.ndarray | None:
    """The image's own values, H,W of grey ones; None where they are not kept."""
    if analysis.windows:
        return None
    if analysis.source.get("deep"):
        return intensities.of(analysis)
    if image is None:
        path = store.fetch(analysis.image_path)
        if not path.is_file():
            return None
        image = decode.stored(path)
    return image[..., 0] if analysis.source.get("channels") == 1 else image
