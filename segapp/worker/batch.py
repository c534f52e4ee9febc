"""One batch of images from claim to end. Knows nothing of requests or tasks.

It runs where videos run: at low priority, beside the worker that answers single images and never before it. Each
image is finished by itself, so a worker that dies, is asked to end, or makes room for a training leaves a batch
that another one goes on with, at the first image that waits.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from django.db import DatabaseError, transaction
from django.db.models import F, QuerySet
from PIL import Image

from registry import store
from registry.files import disk_is_full, write_atomically
from registry.runtime import BaseMissing, LoadedNetwork
from registry.store import StoreUnreachable
from segapp import dispatch, heartbeat
from segapp.imaging import InvalidFile, decode, render
from segapp.imaging.confined import NeedsWindows
from segapp.imaging.image_input import ImageInput
from segapp.models import Batch, BatchItem, ItemState, State
from segapp.pipeline.inference.doubt import doubt
from segapp.pipeline.inference.predict import predict, shares
from segapp.services import batches, storage
from segapp.worker import answers, batch_objects, claims, images, networks, turns, windows
from segapp.worker.progress import HandBack, training_waits
from segapp.worker.publishing import LeaseLost

logger = logging.getLogger(__name__)

LABEL = "segapp.Batch"
MAX_TRIES = 2  # of one image: one that a worker dies of twice is left out, so that the others come through
MODEL = ("model_key", "model_sha256")
TURN = 30.0  # seconds, then another visitor's work goes first
RECENT = 20  # images whose time makes the estimate
SHOWN, SMALL = 1280, 264  # pixels
DISK_FULL = "The disk is full, so the other images were not segmented. Free some space and send them again."
UNKNOWN = "The batch failed on the server. Send the missing images again; finished results are kept."
NOTHING = "None of these files could be used. The reason is shown beside each file."
DIED = "The server stopped twice at this image. Send it smaller, or as a PNG."
FAILED = "This image could not be analyzed. Send it again smaller, or as a PNG."
LARGE_NOT_COUNTED = "Over 50 megapixels a batch measures areas only. To count objects, analyze this image by itself."
GONE = "The uploaded file is gone. Send it again."


def run(pk: int) -> None:
    """Work on a queued batch until it ends, or until something else goes first."""
    batches.sweep()
    batch = claims.by_turn(Batch.objects.all(), pk)
    if batch is None:
        return
    heartbeat.hold(LABEL, batch.pk, batch.lease)
    try:
        with networks.pinned(batch) as network:
            note = _begin(batch, network)
            _work(batch, network)
        if batch.objects_wanted and batch.done:
            note = f"{note} {batch_objects.write_files(batch)}".strip()
        _end(batch, State.DONE, note)
    except HandBack:
        Batch.objects.hand_back(batch.pk, batch.lease)
        dispatch.batch(batch)
    except LeaseLost:
        _withdraw(batch)
    except BaseMissing as error:
        _end(batch, State.FAILED, str(error))
    except StoreUnreachable as error:  # an attempt that does not count: the reaper takes the row back until it answers
        logger.warning("batch %s waits: %s", batch.public_id, error)
        _held(batch).update(attempts=1)
    except DatabaseError:  # nothing can be written now; without beats the reaper takes the row back
        logger.exception("batch %s: its rows could not be written", batch.public_id)
    except Exception as error:
        logger.exception("batch %s failed", batch.public_id)
        _end(batch, State.FAILED, DISK_FULL if disk_is_full(error) else UNKNOWN, error)
    finally:
        heartbeat.release(LABEL, batch.pk)
        storage.measure_after_work(batch)


def _begin(batch: Batch, network: LoadedNetwork) -> str:
    note = answers.name_what_answers(batch, network)
    if not _held(batch).update(message=note[:500], **answers.named(batch)):
        raise LeaseLost
    return note


def _work(batch: Batch, network: LoadedNetwork) -> None:
    """Every image that waits, those last that a worker died of.

    Raises HandBack, LeaseLost, and OSError for a full disk.
    """
    waiting = batch.items.filter(state=ItemState.WAITING).order_by("attempts", "number")
    seconds: deque[float] = deque(maxlen=RECENT)
    turn_began = time.monotonic()
    for number, item in enumerate(list(waiting)):
        # A visitor watches the page of a training that waits: it goes first, once this turn has done one image.
        heartbeat.tick()
        if heartbeat.stopping.is_set() or (number and training_waits()):
            raise HandBack
        if time.monotonic() - turn_began > TURN and turns.others_wait(batch.visitor):
            raise HandBack
        item.batch = batch
        if item.attempts >= MAX_TRIES:
            _close(batch, item, ItemState.FAILED, DIED, None)
            continue
        _open(batch, item)
        began = time.monotonic()
        try:
            state, message = _segment(batch, item, network)
        except (HandBack, StoreUnreachable):
            BatchItem.objects.filter(pk=item.pk).update(attempts=F("attempts") - 1)
            raise
        seconds.append(time.monotonic() - began)
        _close(batch, item, state, message, sum(seconds) / len(seconds))


def _open(batch: Batch, item: BatchItem) -> None:
    """Count the try before it is made. The batch's own count starts again with each image: the images' bound it."""
    BatchItem.objects.filter(pk=item.pk).update(attempts=F("attempts") + 1)
    if not _held(batch).update(attempts=1):
        raise LeaseLost


def _segment(batch: Batch, item: BatchItem, network: LoadedNetwork) -> tuple[ItemState, str]:
    """Write the image's files and fill the item's fields; what is wrong with it when nothing came of it."""

    def watch(_: float) -> None:
        """Between the tiles of a large image."""
        heartbeat.tick()
        if heartbeat.stopping.is_set():
            raise HandBack
        _hold(batch)

    try:
        message = _predict(batch, item, network, watch)
    except (LeaseLost, StoreUnreachable):
        raise
    except InvalidFile as refused:
        return ItemState.FAILED, refused.message
    except Exception as error:
        _hold(batch)  # a batch that was cancelled meanwhile has lost its files
        if disk_is_full(error):
            raise
        logger.exception("batch %s, image %s failed", batch.public_id, item.number)
        return ItemState.FAILED, GONE if isinstance(error, FileNotFoundError) else FAILED
    item.model_key, item.model_sha256 = network.key, network.sha256
    return ItemState.DONE, message


def _predict(batch: Batch, item: BatchItem, network: LoadedNetwork, watch: Callable[[float], None]) -> str:
    """Write the image's files and fill the item's size and classes; returns what was decided on the way."""
    wanted = ImageInput.from_dict(batch.image_input).over(ImageInput.from_dict(network.spec.image_input))
    source = store.fetch(item.source)
    try:
        with source.open("rb") as file:
            decoded = decode.read_or_windows(file, item.name, wanted)
    except NeedsWindows:
        return _predict_windows(batch, item, network, source, wanted, watch)
    found = predict(network, np.asarray(decoded.image), watch, interior=bool(batch.objects_wanted))
    png = render.palette_png(found.ids, _colors(network))
    write_atomically(item.mask, lambda out: out.write(png))
    _write(item, decoded.image, found.ids, network)
    item.width, item.height = decoded.image.size
    item.classes = shares(found.ids, network.spec.classes)
    item.doubt = doubt(found.ids, found.coarse_confidence)
    not_counted = batch_objects.measure(batch, item, decoded, found, network, wanted) if batch.objects_wanted else ""
    return " ".join(filter(None, [*decoded.notes, not_counted]))


def _predict_windows(
    batch: Batch,
    item: BatchItem,
    network: LoadedNetwork,
    source: Path,
    wanted: ImageInput,
    watch: Callable[[float], None],
) -> str:
    """The same for an image that is too large to read at once."""
    item.windows = True
    item.mask.parent.mkdir(parents=True, exist_ok=True)
    found = windows.segment(network, source, item.name, item.mask, wanted, watch)
    png = render.palette_png(found.ids, _colors(network))
    write_atomically(item.mask_shown, lambda out: out.write(png))
    _write(item, found.shown, found.ids, network)
    item.width, item.height, item.classes = found.width, found.height, found.classes
    return " ".join([*found.notes, *([LARGE_NOT_COUNTED] if batch.objects_wanted else [])])


def _colors(network: LoadedNetwork) -> list[dict[str, object]]:
    return [{"id": c.id, "name": c.name, "color": c.color} for c in network.spec.classes]


def _write(item: BatchItem, image: Image.Image, ids: np.ndarray, network: LoadedNetwork) -> None:
    """What pages show of an image and its mask."""
    classes = _colors(network)
    small = render.thumbnail(images.draw_overlay(item.overlay, image, ids, classes), SMALL)
    write_atomically(item.small, lambda out: small.save(out, "WEBP", quality=80, method=1))
    shown = render.thumbnail(image, SHOWN)
    write_atomically(item.shown, lambda out: shown.save(out, "JPEG", quality=85))


def _close(batch: Batch, item: BatchItem, state: ItemState, message: str, pace: float | None) -> None:
    """The image and the batch's count of it, together or not at all. Raises LeaseLost."""
    batch.done += state == ItemState.DONE
    batch.failed += state == ItemState.FAILED
    values: dict[str, object] = {"done": batch.done, "failed": batch.failed}
    values["progress"] = min(0.999, (batch.done + batch.failed) / batch.total)
    if pace is not None:
        values |= {"pace": round(pace, 4), "eta_seconds": round(pace * batch.waiting, 1)}
    item.state, item.message = state, message[:500]
    with transaction.atomic():
        if not _held(batch).update(**values):
            raise LeaseLost
        item.save(
            update_fields=["state", "message", "width", "height", "windows", "classes", "counted", "doubt", *MODEL]
        )
    store.remove(item.source)


def _held(batch: Batch) -> QuerySet[Batch]:
    return Batch.objects.held(batch.pk, batch.lease)


def _hold(batch: Batch) -> None:
    """Raises LeaseLost when the batch was stopped, deleted, or taken over."""
    if not _held(batch).exists():
        raise LeaseLost


def _end(batch: Batch, state: State, message: str, error: Exception | None = None) -> None:
    """Running -> an end, if the lease still holds; a batch of which nothing came has failed."""
    if state == State.DONE and not batch.done:
        state, message = State.FAILED, NOTHING
    values: dict[str, object] = {"message": message[:500], "error": repr(error) if error else ""}
    if state == State.DONE:
        values["progress"] = 1.0
    try:
        if Batch.objects.end(batch.pk, batch.lease, state, **values):
            batches.complete(batch, message)
        else:
            _withdraw(batch)
    except DatabaseError:  # the reaper takes the row back
        logger.exception("batch %s: its end could not be written", batch.public_id)


def _withdraw(batch: Batch) -> None:
    """The batch ended without this worker: what was just being written for it goes."""
    logger.info("batch %s was ended or taken over; nothing finished here", batch.public_id)
    batches.clear_up(batch)
