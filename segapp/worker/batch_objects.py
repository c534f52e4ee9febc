"""The objects of a batch: measured image by image, and joined into tables of all images at its end."""

import io
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from registry import store
from registry.files import disk_is_full, write_atomically
from registry.runtime import LoadedNetwork
from segapp.imaging.decode import Decoded
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_formats import GEOJSON, INSTANCES
from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import PixelSize
from segapp.measurement import files
from segapp.measurement.document import Document, scales_note
from segapp.measurement.measured import measured
from segapp.measurement.objects import Objects, TooManyObjects
from segapp.measurement.table import Table
from segapp.models import Batch, BatchItem, ItemState
from segapp.pipeline.inference.predict import Prediction
from segapp.services import batch_results
from segapp.worker import measuring

logger = logging.getLogger(__name__)

COUNTING_FAILED = "Its objects could not be counted."


def measure(
    batch: Batch, item: BatchItem, decoded: Decoded, found: Prediction, network: LoadedNetwork, choice: ImageInput
) -> str:
    """Write an image's polygons, object numbers and measures, and fill the item's `counted`.

    `choice`: the page and channels that were decoded. Returns why nothing was counted, "" when all is well. Raises
    OSError for a full disk.
    """
    classes = measuring.classes_of(network)
    try:
        document = measured(
            item.name,
            found.ids,
            classes,
            ObjectOptions.from_dict(batch.objects_wanted),
            interior=found.interior,
            confidence=found.confidence,
            intensity=measuring.intensity_of(decoded, store.fetch(item.source), choice),
            size=decoded.pixel_size,
            geo=decoded.place,
        )
        for path, key in ((item.polygons, GEOJSON.key), (item.instances, INSTANCES.key)):
            content = files.content(key, document)
            write_atomically(path, lambda out, content=content: out.write(content))  # type: ignore[misc]
        out = io.BytesIO()
        np.savez_compressed(out, **document.table.columns)  # type: ignore[arg-type]
        write_atomically(item.measures, lambda file: file.write(out.getvalue()))
    except TooManyObjects as refused:
        return str(refused)
    except Exception as error:
        if disk_is_full(error):
            raise
        logger.exception("batch %s, image %s: objects could not be counted", batch.public_id, item.number)
        return COUNTING_FAILED
    item.counted = {
        "counts": document.counts,
        "total": document.objects.count,
        "rows": document.rows,
        "things": list(document.things),
        "pixel_size": document.size.to_dict() if document.size else None,
    }
    return ""


def write_files(batch: Batch) -> str:
    """What holds the objects of all finished images; returns a note on their scales, "" for nothing."""
    note = write_tables(batch)
    write_shapes(batch)
    return note


def write_tables(batch: Batch) -> str:
    """The tables over all finished images; returns a note on their scales, "" for nothing."""
    documents = list(_documents(batch))
    stems = [document.stem for document in documents]
    for key, path in batch_results.object_tables(batch).items():
        content = files.content_of_many(key, documents, stems)
        write_atomically(path, lambda out, content=content: out.write(content))  # type: ignore[misc]
    return scales_note([document.size for document in documents])


def write_shapes(batch: Batch) -> None:
    """The outlines of all finished images in one file, of each format that holds several images."""
    stems = [item.stem for item, _ in _counted(batch)]
    classes = {int(row["id"]): str(row["name"]) for item, _ in _counted(batch) for row in _things_of(item)}
    for key, path in batch_results.object_shapes(batch).items():
        documents = _documents(batch, pixels=True)
        write_atomically(path, partial(files.write_shapes, key, documents, stems, classes))


def run(pk: int) -> None:
    """The tables of a batch that was stopped, so ended without its worker."""
    batch = Batch.objects.filter(pk=pk).first()
    if batch is None or batch.unfinished or not batch.has_results or not batch.objects_wanted:
        return
    note = write_files(batch)
    if note and note not in batch.message:
        Batch.objects.filter(pk=pk).update(message=f"{batch.message} {note}".strip()[:500])
    if not Batch.objects.filter(pk=pk).exists():  # deleted meanwhile
        store.remove_folder(batch.folder)


def _counted(batch: Batch) -> Iterator[tuple[BatchItem, Path]]:
    """The finished images whose objects were counted, and where their measures are."""
    for item in batch.items.filter(state=ItemState.DONE).select_related("batch"):
        path = store.fetch(item.measures)
        if item.counted and path.is_file():
            yield item, path


def _things_of(item: BatchItem) -> list[dict[str, Any]]:
    return [row for row in item.counted["rows"] if row["id"] in item.counted["things"]]


def _documents(batch: Batch, pixels: bool = False) -> Iterator[Document]:
    """What was measured of each finished image; `pixels`: with its object numbers, else without pixels."""
    tolerance = ObjectOptions.from_dict(batch.objects_wanted).simplify
    for item, path in _counted(batch):
        with np.load(path) as stored:
            columns = {name: stored[name] for name in stored.files}
        known, size = item.counted, item.counted["pixel_size"]
        shape = (item.height, item.width)
        labels = _labels(item) if pixels else np.broadcast_to(np.int32(0), shape)
        yield Document(
            name=item.name,
            objects=Objects(labels, columns["class_id"].astype(np.uint8)),
            tolerance=tolerance,
            table=Table(columns, {int(row["id"]): str(row["name"]) for row in known["rows"]}, shape),
            classes=known["rows"],
            things=tuple(known["things"]),
            size=PixelSize.from_dict(size) if size else None,
            rows=known["rows"],
        )


def _labels(item: BatchItem) -> np.ndarray:
    """int32 H,W of object numbers."""
    with Image.open(store.fetch(item.instances)) as stored:
        return np.asarray(stored).astype(np.int32)
