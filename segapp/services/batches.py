"""Batches of images as the web sees them: submit, look, stop, hand out, forget. Free of torch.

The request that stops a batch also ends it: stopping writes the end state at once, and the worker finds its lease
gone at the image it is at. So a stop never waits for a large image, nor for a worker that has died.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from registry import store
from registry.files import write_atomically
from segapp import dispatch
from segapp.imaging import InvalidFile, archive, decode, formats
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import PixelSize
from segapp.models import UNFINISHED, Analysis, Batch, BatchItem, ItemState, State, Stop
from segapp.services import analyses, batch_results, queueing, schemas, storage
from segapp.services.errors import Busy, InvalidUpload, NotFound, RateLimited
from segapp.services.model_snapshot import pin
from segapp.services.naming import result_stems
from segapp.services.pairing import shown

MAX_UNFINISHED = 3  # of one visitor
GUESSED_PACE = {"CPU": 1.0, "CUDA": 0.1}  # seconds an image, until something here has measured it
PIECE = 2**20
KINDS = ("mask", "mask_shown", "overlay", "shown", "small")
OBJECT_KINDS = ("polygons", "instances")


class TooMany(RateLimited):
    """The visitor has enough unfinished batches."""

    code = "too_many_batches"


@dataclass(frozen=True)
class Sent:
    """One file as it came: its name for people, and its bytes."""

    name: str
    pieces: Iterator[bytes]


def submit(
    visitor: str,
    files: list[UploadedFile],
    archive: UploadedFile | None = None,
    image_input: ImageInput | None = None,
    model: str = "",
    objects: ObjectOptions | None = None,
) -> Batch:
    """Store images, or one zip of them, and queue them for the model named, or the one that answers the visitor now.

    `objects`: count and measure them, too.

    Files are looked at by their headers here and decoded by the worker. One that is not an image is named in the batch
    and the others go on; when no file is an image, or the zip is not to be trusted, everything is refused.
    Raises InvalidUpload, InvalidFile, TooMany, StorageFull, DiskFull, registry.services.NoBaseReady and ModelNotFound;
    nothing is stored then.
    """
    packed = archive
    size = sum(file.size or 0 for file in [*files, *([packed] if packed else [])])
    check(visitor, size)
    batch = Batch(visitor=visitor, **pin(visitor, model))
    analyses.check_things(objects, batch.model.classes if batch.model else [])
    batch.image_input = image_input.to_dict() if image_input else {}
    batch.objects_wanted = objects.to_dict() if objects else {}
    try:
        sent = _unpacked(visitor, cast(IO[bytes], packed.file), shown(packed.name)) if packed else _loose(files)
        items = _stored(batch, sent)
        readable = [item for item in items if item.state == ItemState.WAITING]
        if not readable:
            raise InvalidUpload([{"file": item.name, "message": item.message} for item in items])
        batch.title = shown(packed.name) if packed else _title(readable)
        batch.total, batch.failed = len(items), len(items) - len(readable)
        with transaction.atomic():
            batch.save()
            BatchItem.objects.bulk_create(items)
            storage.enter(batch)
            dispatch.batch(batch)
    except BaseException:
        store.remove_folder(batch.folder)
        raise
    return batch


def check(visitor: str, size: int) -> None:
    """Refuse what is too large, what the visitor's storage does not hold, and one batch too many."""
    most = settings.BATCH_LIMIT_BYTES
    if size > most:
        raise InvalidUpload(f"These files are over {most // 10**6} MB together. Send them in smaller parts.")
    if Batch.objects.filter(visitor=visitor, state__in=UNFINISHED).count() >= MAX_UNFINISHED:
        raise TooMany(f"{MAX_UNFINISHED} batches of yours are not finished yet. Wait for one, or stop one first.")
    queueing.admit(Batch)
    storage.hold_to_quota(visitor, size)


def _loose(files: list[UploadedFile]) -> Iterator[Sent]:
    for file in files:
        yield Sent(shown(file.name), file.chunks(PIECE))


def _unpacked(visitor: str, file: IO[bytes], name: str) -> Iterator[Sent]:
    """The files of a zip by their paths in it; what systems add to zips is passed over.

    Raises InvalidFile, and StorageFull and DiskFull by what it unpacks to.
    """
    most = settings.BATCH_LIMIT_FILES
    limits = archive.Limits(files=3 * most, bytes=settings.BATCH_LIMIT_BYTES)  # folders and hidden files count, too
    with archive.opened(file, name, limits) as opened:
        found = [info for info in opened.infolist() if not archive.is_hidden(info)]
        if not found:
            raise InvalidFile(
                name, "There is no file in it.", f"Pack {formats.listed(formats.IMAGE_KINDS)} images into it."
            )
        if len(found) > most:
            raise InvalidFile(name, f"It holds {len(found)} files.", f"The limit is {most}; send them in parts.")
        storage.hold_to_quota(visitor, sum(info.file_size for info in found))
        left = limits.bytes
        for info in found:
            path = "/".join(shown(part) for part in archive.path_of(info).parts)
            yield Sent(path if len(path) <= 200 else shown(path), archive.pieces(opened, info, left, name))
            left -= info.file_size


def _stored(batch: Batch, sent: Iterator[Sent]) -> list[BatchItem]:
    """The files on disk under the server's names, and a row for each, not saved yet."""
    items = []
    for number, one in enumerate(sent, 1):
        item = BatchItem(batch=batch, number=number, name=one.name)
        write_atomically(item.source, partial(_fill, one.pieces))
        try:
            with item.source.open("rb") as stored:
                item.width, item.height = decode.glance(stored, one.name)
        except InvalidFile as refused:
            item.state, item.message = ItemState.FAILED, refused.message
            store.remove(item.source)
        items.append(item)
    for item, stem in zip(items, result_stems(item.name for item in items), strict=True):
        item.stem = stem
    return items


def _fill(pieces: Iterator[bytes], out: IO[bytes]) -> None:
    out.writelines(pieces)


def _title(items: list[BatchItem]) -> str:
    return items[0].name if len(items) == 1 else f"{items[0].name} and {len(items) - 1} more"


# --- looking ----------------------------------------------------------------------------------------------


def owned(visitor: str, public_id: str) -> Batch:
    """The visitor's batch; raises NotFound, the same for what is another's and what does not exist."""
    batch = Batch.objects.filter(visitor=visitor, public_id=public_id).select_related("model").first()
    if batch is None:
        raise NotFound("There is no such batch among yours. Results are kept for some days; send it again.")
    return batch


def recent(visitor: str, count: int = 12) -> QuerySet[Batch]:
    return Batch.objects.filter(visitor=visitor)[:count]


def item_of(batch: Batch, number: int) -> BatchItem:
    """A finished image of the batch, by its number; raises NotFound."""
    item = batch.items.filter(number=number, state=ItemState.DONE).select_related("batch").first()
    if item is None:
        raise NotFound("This batch has no such result. Open the batch's page to see what is done.")
    return item


def file_of(item: BatchItem, kind: str) -> Path:
    """An image's mask, overlay, shown or small file; raises NotFound when it has no such file."""
    path: Path | None = getattr(item, kind) if kind in (*KINDS, *OBJECT_KINDS) else None
    if path is None or not store.fetch(path).is_file():
        raise NotFound("This image has no such file, or not any more. Send it again.")
    return path


def status(batch: Batch) -> schemas.Batch:
    """The batch as the JSON API shows it."""
    has = batch.has_results
    body: schemas.Batch = {
        "batch_id": batch.public_id,
        "state": batch.state,
        "progress": round(batch.progress, 4),
        "eta_seconds": batch.eta_seconds,
        "queue_position": batch.queue_position(),
        "wait_seconds": queueing.wait_seconds(batch),
        "total": batch.total,
        "done": batch.done,
        "failed": batch.failed,
        "model_key": batch.model_key,
        "model_name": batch.model_name,
        "model_sha256": batch.model_sha256,
        "base": batch.base_key,
        "classes": batch.classes,
        "zip_url": reverse("analyze-batch-zip", args=[batch.public_id]) if has else None,
        "table_url": reverse("analyze-batch-table", args=[batch.public_id]) if has else None,
        "files": [_status_of(batch, item) for item in batch.items.all()],
        "message": batch.message,
    }
    return {**body, **_objects_of(batch)} if batch.objects_wanted else body


def _objects_of(batch: Batch) -> schemas.BatchObjects:
    def address(key: str) -> str | None:
        path = batch_results.object_files(batch)[key]
        there = batch.has_results and store.fetch(path).is_file()
        return reverse("analyze-batch-objects", args=[batch.public_id, key]) if there else None

    return {
        "objects": batch_results.counts(batch),
        "objects_url": address("csv"),
        "objects_xlsx_url": address("xlsx"),
        "objects_by_class_url": address("classes"),
        "objects_coco_url": address("coco"),
        "objects_yolo_url": address("yolo"),
    }


def table_of(batch: Batch, key: str) -> Path:
    """A file of the objects of all images, by the key of its format; raises NotFound, and Busy while it is made."""
    path = batch_results.object_files(batch).get(key)
    if path is None or not batch.has_results:
        raise NotFound("This batch has no such file. Count objects when you send the images.")
    if not store.fetch(path).is_file():
        dispatch.batch_tables(batch)
        raise Busy("The file is still being written. Try again in a few seconds.")
    return path


def _status_of(batch: Batch, item: BatchItem) -> schemas.BatchFile:
    def address(kind: str) -> str | None:
        if item.state != ItemState.DONE:
            return None
        return reverse("analyze-batch-file", args=[batch.public_id, item.number, kind])

    body: schemas.BatchFile = {
        "file": item.name,
        "stem": item.stem,
        "state": item.state,
        "message": item.message,
        "mask_url": address("mask"),
        "overlay_url": address("overlay"),
        "doubt": item.doubt,
    }
    return {**body, **_counted(item, address)} if batch.objects_wanted else body


def _counted(item: BatchItem, address: Callable[[str], str | None]) -> schemas.BatchFileObjects:
    if not item.counted:
        return {"objects": None, "geojson_url": None, "instances_url": None, "scale": None}
    size = item.counted["pixel_size"]
    return {
        "objects": item.counted["counts"],
        "geojson_url": address("polygons"),
        "instances_url": address("instances"),
        "scale": PixelSize.from_dict(size).describe() if size else None,
    }


def pace(device: str) -> float:
    """Seconds that an image takes here, as the latest batch or analysis measured it: for an estimate beforehand."""
    latest = Batch.objects.exclude(pace=None).order_by("-started").values_list("pace", flat=True).first()
    if latest:
        return float(latest)
    timings = Analysis.objects.filter(state=State.DONE).values_list("timings", flat=True).first() or {}
    measured = sum(timings.get(part, 0) for part in ("inference_ms", "decode_ms", "encode_ms"))
    return measured / 1000 if measured else GUESSED_PACE.get(device, GUESSED_PACE["CPU"])


# --- ending ---------------------------------------------------------------------------------------------


def stop(batch: Batch, keep: bool) -> None:
    """End a batch here and now, keeping the images that are done or nothing. Idempotent."""
    keep = keep and batch.items.filter(state=ItemState.DONE).exists()
    ended = Batch.objects.filter(pk=batch.pk, state__in=UNFINISHED).update(
        state=State.DONE if keep else State.CANCELLED,
        stop=Stop.KEEP if keep else Stop.DISCARD,
        lease="",
        ended=timezone.now(),
        eta_seconds=0,
    )
    if ended and keep:
        complete(batch, "Stopped on request.")
    elif ended:
        Batch.objects.filter(pk=batch.pk).update(message="No results were kept.")
        forget(batch)
    batch.refresh_from_db()


def complete(batch: Batch, message: str) -> None:
    """After the end: the figures over all images, and no copies of what was sent."""
    classes = batch_results.totals(batch)
    Batch.objects.filter(pk=batch.pk).update(classes=classes, message=message[:500], lease="")
    store.remove_folder(batch.folder / "sources")
    tables = batch_results.object_files(batch).values()
    if any(not store.fetch(path).is_file() for path in tables):  # its worker had no chance to write them
        dispatch.batch_tables(batch)


def forget(batch: Batch) -> None:
    """Remove what a batch holds, its row not."""
    batch.items.all().delete()
    store.remove_folder(batch.folder)


def delete(batch: Batch) -> None:
    """Forget a batch and its files; a worker that processes it finds its lease gone."""
    stop(batch, keep=False)
    batch.delete()
    store.remove_folder(batch.folder)


def clear_up(batch: Batch) -> None:
    """Remove what was written after the end, while another process ended the batch."""
    now = Batch.objects.filter(pk=batch.pk).first()
    if now is None or now.state == State.CANCELLED:
        store.remove_folder(batch.folder)
    elif not now.unfinished:
        for item in now.items.exclude(state=ItemState.DONE).select_related("batch"):
            for kind in (*KINDS, *OBJECT_KINDS, "measures"):
                store.remove(getattr(item, kind))


def sweep() -> None:
    """What a worker that died left undone: remove a cancelled batch's files, complete one that was given up."""
    for batch in Batch.objects.filter(state=State.CANCELLED).only("public_id"):
        if batch.folder.exists():
            store.remove_folder(batch.folder)
    for batch in Batch.objects.filter(state=State.FAILED).exclude(lease=""):
        complete(batch, batch.message)
