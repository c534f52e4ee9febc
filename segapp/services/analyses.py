"""One image in, one mask out, as the web sees it: submit, wait, look, and what the reaper does. Free of torch."""

import os
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, BinaryIO

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from registry import services as registry
from registry import store
from registry.files import write_atomically
from registry.models import UserModel
from segapp import dispatch, owner
from segapp.imaging import decode, memory, render, stored, tiling
from segapp.imaging.bare import bare
from segapp.imaging.confined import NeedsWindows
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_formats import WRITTEN_AT_ONCE
from segapp.imaging.object_options import ObjectOptions
from segapp.models import UNFINISHED, Analysis, Measurement, State, Worker
from segapp.models.measurement import wanted
from segapp.services import admission, handover, model_snapshot, queueing, schemas, storage
from segapp.services.admission import admit, waiter_slot
from segapp.services.errors import (
    Busy,
    InvalidForm,
    NotFound,
    Overloaded,
    RateLimited,
    ServerError,
    Unavailable,
    UserError,
)

MAX_WITHOUT_WORKER = 120  # seconds; a worker may warm up; when none has come by then, the analysis fails
REDISPATCH_AGE = timedelta(seconds=5)  # the first message was sent with the commit
MAX_UNFINISHED_AGE = 1200.0  # seconds; an accepted image is not given up before, while there are workers
MAX_ATTEMPTS = 2
MAX_WINDOWED = 3  # unfinished images of one visitor that are read in windows
SHOWN_SIDE = 2048  # pixels; larger images are looked at through a smaller copy


class TooManyLargeImages(RateLimited):
    """The visitor has enough unfinished images that are read in parts."""

    code = "too_many_large_images"


class Failed(ServerError):
    """A worker could not answer the image."""

    code = "failed"


class NotAnswered(Unavailable):
    """No worker came to the image, so it was given up."""

    code = "failed"
    title = "No worker answered"


def submit(
    visitor: str,
    file: IO[bytes],
    name: str,
    model: UserModel | None = None,
    *,
    answer: registry.ActiveModel | None = None,
    shared: bool = False,
    choice: ImageInput | None = None,
    objects: ObjectOptions | None = None,
) -> Analysis:
    """Store an image and queue it for the visitor's model, or for `model` (one of theirs), pinned from here on.

    `choice`: page and channels instead of the model's own. `answer` names what is to answer instead, as a share link
    (`shared`) or a comparison does. `objects`: count and measure them, too.

    Raises imaging.InvalidFile for what is not an image, Overloaded, StorageFull, DiskFull, and
    registry.services.NoBaseReady.
    """
    storage.hold_to_quota(visitor, file.seek(0, os.SEEK_END))
    answer = answer or registry.resolve(visitor)
    chosen = model or answer.model
    check_things(objects, chosen.classes if chosen else answer.base.card.get("classes", []) if answer.base else [])
    chosen_input = (choice or ImageInput()).over(ImageInput.from_dict(chosen.image_input if chosen else {}))
    admit(visitor, _passes(chosen, decode.glance(file, name)))
    with memory.decoding.hold(_cost(file, name)):
        try:
            decoded = decode.read_or_windows(file, name, chosen_input)
        except NeedsWindows as large:
            return _submit_windows(visitor, file, large, name, chosen, answer, chosen_input, shared, objects)
        return _submit_decoded(visitor, file, decoded, name, chosen, answer, chosen_input, shared, objects)


def _passes(model: UserModel | None, size: tuple[int, int], windows: bool = False) -> int:
    """Forward passes of an image of (width, height); 1 where size or model are not known."""
    width, height = size
    if model is None or not model.input_size or not width:
        return 1
    found = tiling.passes(height, width, model.input_size, model.example_side, max(1, len(model.classes)), windows)
    return 2 * found if model.recipe.get("mirrored") and not windows else found


def _cost(file: IO[bytes], name: str) -> int:
    """Bytes that taking the image in may take. Raises InvalidFile."""
    size = file.seek(0, os.SEEK_END)
    return decode.cost(file, name) + (0 if decode.reader_of(file) else 2 * size)  # a plain file is cut in memory


def _submit_decoded(
    visitor: str,
    file: IO[bytes],
    decoded: decode.Decoded,
    name: str,
    chosen: UserModel | None,
    answer: registry.ActiveModel,
    choice: ImageInput,
    shared: bool,
    objects: ObjectOptions | None,
) -> Analysis:
    image = decoded.image
    row = _pinned(visitor, image, name, chosen, answer)
    row.notes = list(decoded.notes)
    row.source = source_of(decoded)
    row.shared = shared
    if decoded.deep:  # a worker keeps its values and nothing else of it, see worker/intensities.py
        row.image_input = choice.to_dict()
        file.seek(0)
        write_atomically(row.upload_path, lambda out: shutil.copyfileobj(file, out, 1 << 20), durable=False)
    file.seek(0)
    plain = bare(file.read()) if decoded.as_stored else None
    if plain is None:
        return _queue(row, lambda out: image.save(out, "PNG", compress_level=1), objects, image)
    row.suffix, content = plain
    return _queue(row, lambda out: out.write(content), objects, image)


def check_things(objects: ObjectOptions | None, classes: list[dict[str, Any]]) -> None:
    """Raises InvalidForm for a class to count that the model does not have."""
    known = [int(row["id"]) for row in classes]
    unknown = [number for number in (objects.things if objects else None) or () if number not in known]
    if known and unknown:
        there = ", ".join(map(str, known))
        raise InvalidForm([f"things: The model has no class {unknown[0]}. It has {there}."])


def source_of(decoded: decode.Decoded) -> dict[str, Any]:
    """What the file says that measuring needs: {pixel_size, place, channels, deep}."""
    size, place = decoded.pixel_size, decoded.place
    return {
        "pixel_size": size.to_dict() if size else None,
        "place": place.to_dict() if place else None,
        "channels": decoded.layout.channels,
        "deep": decoded.deep,
    }


def _submit_windows(
    visitor: str,
    file: IO[bytes],
    large: NeedsWindows,
    name: str,
    model: UserModel | None,
    answer: registry.ActiveModel,
    choice: ImageInput,
    shared: bool,
    objects: ObjectOptions | None,
) -> Analysis:
    """An image that is too large to read at once: stored as it came, and read in parts by a worker."""
    unfinished = Analysis.objects.filter(visitor=visitor, windows=True, state__in=UNFINISHED).count()
    if unfinished >= MAX_WINDOWED:
        message = f"{unfinished} large images of yours are not finished yet. Wait for one, or cancel one first."
        raise TooManyLargeImages(message)
    row = _pinned(visitor, large, name, model, answer)
    row.shared, row.windows, row.suffix, row.image_input = shared, True, ".tif", choice.to_dict()
    file.seek(0)
    return _queue(row, lambda out: shutil.copyfileobj(file, out, 1 << 20), objects)


def cancel(analysis: Analysis) -> Analysis:
    """End an image that is still in the queue or read in parts; its worker finds it ended. Idempotent."""
    rows = Analysis.objects.filter(pk=analysis.pk, state__in=UNFINISHED)
    if rows.update(state=State.CANCELLED, ended=timezone.now(), message="Cancelled. No result was kept."):
        store.remove_folder(analysis.folder)
    analysis.refresh_from_db()
    return analysis


def progress(analysis: Analysis) -> schemas.AnalysisProgress:
    """How far an image is that has not been answered yet."""
    position, seconds = place(analysis)
    return {
        "analysis_id": analysis.public_id,
        "model_key": key_of(analysis),
        "state": analysis.state,
        "progress": round(analysis.progress, 3),
        "queue_position": position,
        "wait_seconds": seconds,
        "message": analysis.message,
    }


def place(analysis: Analysis) -> tuple[int, float | None]:
    """How many stand before a queued image at most, and the seconds until its turn; None when nothing tells."""
    if analysis.windows:
        return len(queueing.ahead(analysis)), queueing.wait_seconds(analysis)
    return admission.wait(analysis)


def progress_or_result(analysis: Analysis) -> schemas.AnalysisProgress | schemas.LargeAnalysis:
    """How far an image is that is read in parts; also the keys of a result when it is done."""
    known = progress(analysis)
    return {**status(analysis), **known, "progress": 1.0} if analysis.state == State.DONE else known


def again(analysis: Analysis, model: UserModel | None) -> Analysis:
    """The same image through another model, or through the base (`model` is None): for comparing.

    Raises Overloaded and registry.services.NoBaseReady.
    """
    if analysis.windows:
        raise NotFound("An image of this size is not kept. Send it again with the other model active.")
    admit(analysis.visitor, _passes(model, (analysis.width, analysis.height)))
    content = store.fetch(analysis.image_path).read_bytes()
    storage.hold_to_quota(analysis.visitor, len(content))
    row = _pinned(analysis.visitor, analysis, analysis.title, model, registry.resolve(analysis.visitor))
    row.suffix, row.source = analysis.suffix, analysis.source
    if store.fetch(analysis.values_path).is_file():
        values = analysis.values_path.read_bytes()
        write_atomically(row.values_path, lambda out: out.write(values), durable=False)
    return _queue(row, lambda out: out.write(content))


def _pinned(
    visitor: str,
    size: Image.Image | Analysis | NeedsWindows,
    title: str,
    model: UserModel | None,
    answer: registry.ActiveModel,
) -> Analysis:
    """A new row that names what is to answer. Raises NoBaseReady."""
    chosen = model_snapshot.chosen(model, answer)
    passes = _passes(model, (size.width, size.height), isinstance(size, NeedsWindows))
    return Analysis(visitor=visitor, title=title[:200], width=size.width, height=size.height, passes=passes, **chosen)


def _queue(
    row: Analysis,
    write: Callable[[BinaryIO], object],
    objects: ObjectOptions | None = None,
    decoded: Image.Image | None = None,
) -> Analysis:
    """Store the image, then the row, then send it off; or leave nothing behind. `decoded`: its pixels, if at hand."""
    try:
        write_atomically(row.image_path, write, durable=False)
        if decoded is not None:
            handover.leave(row, decoded)
        with transaction.atomic():
            row.save()
            storage.enter(row)
            if objects is not None:
                Measurement.objects.create(analysis=row, formats=list(WRITTEN_AT_ONCE), **wanted(objects))
            dispatch.analysis(row)
    except BaseException:
        store.remove_folder(row.folder)
        raise
    return row


def wait(analysis: Analysis, seconds: float) -> Analysis:
    """The row as it is when it has ended, or after `seconds`. The row decides, a notification only shortens it."""
    deadline = time.monotonic() + seconds
    while analysis.unfinished and (left := deadline - time.monotonic()) > 0:
        dispatch.wait_for_notification(analysis.public_id, max(0.05, min(left, 1.0)))
        analysis.refresh_from_db()
    return analysis


def wait_if_free(analysis: Analysis, seconds: float) -> Analysis:
    """As `wait` while the web server has threads to spare; else the row as it is now, and the page asks again."""
    try:
        with waiter_slot():
            return wait(analysis, seconds)
    except Overloaded:
        return wait(analysis, 0)


def owned(visitor: str, public_id: str) -> Analysis:
    """The visitor's result; raises NotFound, the same for what is another's and what does not exist."""
    row = Analysis.objects.filter(visitor=visitor, public_id=public_id).select_related("model").first()
    if row is None:
        raise NotFound("There is no such result among yours. Results are kept for some days; analyze it again.")
    return row


def recent(visitor: str, count: int = 12) -> QuerySet[Analysis]:
    """The visitor's latest finished results."""
    return Analysis.objects.filter(visitor=visitor, state=State.DONE)[:count]


def status(analysis: Analysis) -> schemas.Analysis:
    """A finished result as the JSON API shows it."""
    return {
        "analysis_id": analysis.public_id,
        "model_key": key_of(analysis),
        "model_name": analysis.model_name,
        "model_sha256": analysis.model_sha256,
        "base": analysis.base_key,
        "width": analysis.width,
        "height": analysis.height,
        "classes": analysis.classes,
        "inference_ms": analysis.timings.get("inference_ms"),
        "timings": analysis.timings,
        "notice": analysis.message or None,
        "notes": analysis.notes,
        "mask_url": reverse("analysis-file", args=[analysis.public_id, "mask"]),
        "overlay_url": reverse("analysis-file", args=[analysis.public_id, "overlay"]),
        "confidence_url": reverse("analysis-file", args=[analysis.public_id, "confidence"]),
    }


def not_done(analysis: Analysis) -> UserError:
    """What went wrong with a result that is not there; or where to ask for one that still waits for its worker."""
    if analysis.state == State.FAILED:
        return Failed(analysis.message) if analysis.worker else NotAnswered(analysis.message)
    address = reverse("api-segment-result", args=[analysis.public_id])
    position, seconds = place(analysis)
    before = f"Before it come {position} at most, about {seconds:.0f} s. " if position and seconds is not None else ""
    message = f"No worker has answered yet. {before}Your image keeps its place; ask GET {address} for it."
    return Busy(message, location=address)


def key_of(analysis: Analysis) -> str:
    """What answered, as its visitor may know it: a model behind a share link goes without its id."""
    if analysis.shared and analysis.model_key.startswith("user_"):
        return f"shared_{analysis.model_sha256[:16]}"
    return analysis.model_key


def file_of(analysis: Analysis, kind: str) -> Path:
    """The file to show: image, mask, confidence or overlay; what is not stored is drawn when first asked for.

    Raises NotFound for a result without such a file.
    """
    large = analysis.windows or max(analysis.width, analysis.height) > SHOWN_SIDE
    if analysis.windows and kind == "confidence":
        return store.fetch(analysis.folder / "sure.png")
    if kind == "image":
        path = analysis.folder / "shown.jpg" if large else analysis.image_path
    else:
        path = analysis.folder / ("overlay.jpg" if kind == "overlay" else f"{kind}.png")
        if kind == "mask" and analysis.windows:
            path = path.with_suffix(".tif")
    draw = {"image": _draw_shown, "overlay": _draw_overlay, "confidence": _draw_confidence}.get(kind)
    if draw is not None and not store.fetch(path).exists():
        draw(analysis, path)
        storage.measure(analysis)
    if not store.fetch(path).is_file():
        raise NotFound(f"This result has no {kind} file any more. Analyze the image again.")
    return path


def viewed_mask(analysis: Analysis) -> Path:
    """The mask to look at: a small copy of one that was written in windows. Raises NotFound when it is gone."""
    if not analysis.windows:
        return file_of(analysis, "mask")
    small = analysis.folder / "mask_small.png"
    if not store.fetch(small).is_file():
        raise NotFound("This result has no mask file any more. Analyze the image again.")
    return small


def _draw_shown(analysis: Analysis, path: Path) -> None:
    """A smaller copy to look at; where the image itself is small, or gone, there is nothing to draw."""
    if analysis.windows or path == analysis.image_path or not store.fetch(analysis.image_path).exists():
        return
    shown = render.thumbnail(Image.fromarray(decode.stored(analysis.image_path)), SHOWN_SIDE)
    write_atomically(path, lambda out: shown.save(out, "JPEG", quality=88), durable=False)


def _draw_overlay(analysis: Analysis, path: Path) -> None:
    if analysis.windows or analysis.state != State.DONE:
        return
    mask_path = store.fetch(analysis.folder / "mask.png")
    with stored.opened(mask_path, memory.SHOWN) as mask:
        image = Image.fromarray(decode.stored(store.fetch(analysis.image_path)))
        drawn = render.for_jpeg(render.overlay(image, decode.pixels(mask), analysis.classes, 0.5))
        write_atomically(path, lambda out: drawn.save(out, "JPEG", quality=88), durable=False)


def _draw_confidence(analysis: Analysis, path: Path) -> None:
    """The confidence at the image's own size, a grey PNG."""
    small = store.fetch(analysis.folder / "sure.png")
    if not small.exists() or analysis.windows:
        return
    with memory.decoding.hold(memory.STORED * analysis.width * analysis.height), stored.opened(small) as confidence:
        drawn = confidence.resize((analysis.width, analysis.height), Image.Resampling.BILINEAR)
        write_atomically(path, lambda out: drawn.save(out, "PNG", compress_level=1), durable=False)


def delete(analysis: Analysis) -> None:
    analysis.delete()
    store.remove_folder(analysis.folder)


def expired(days: int) -> QuerySet[Analysis]:
    return Analysis.objects.filter(created__lt=timezone.now() - timedelta(days=days))


# What this process saw last, on the monotonic clock: a wall clock that jumps an hour must fail nothing.
_unfinished: dict[int, float] = {}  # analysis -> since when it is known here
_beats: dict[str, tuple[int, float]] = {}  # worker -> its beats, and since when they have not changed
_without_worker: list[float] = []  # since when no worker answers images; empty while one does


def reap() -> None:
    """Requeue what a dead worker held, dispatch again what waits, and fail what no worker can answer.

    What was accepted is kept as long as there is a worker that may come to it.
    """
    now = time.monotonic()
    living = living_workers(now)
    rows = Analysis.objects.filter(state__in=UNFINISHED)
    pks = set(rows.values_list("pk", flat=True))
    for gone in _unfinished.keys() - pks:
        del _unfinished[gone]
    ages = {pk: now - _unfinished.setdefault(pk, now) for pk in pks}
    lost = rows.filter(state=State.RUNNING).exclude(worker__in=living)
    lost.filter(attempts__lt=MAX_ATTEMPTS).update(state=State.QUEUED)
    _give_up(lost, "Its worker stopped twice. Try again; if it fails again, try the image smaller or as PNG.")
    waiting = rows.filter(state=State.QUEUED)
    if any("predict" in queues for queues in living.values()):
        _without_worker.clear()
    else:
        _without_worker[:] = _without_worker or [now]
        if now - _without_worker[0] > MAX_WITHOUT_WORKER:
            message = f"No worker answered within {MAX_WITHOUT_WORKER // 60} minutes. Try again; your image was fine."
            _give_up(waiting.filter(pk__in=_older(ages, MAX_WITHOUT_WORKER)), message)
    message = "The server had too much to do. Try again later; your image was fine."
    _give_up(rows.filter(windows=False, pk__in=_older(ages, MAX_UNFINISHED_AGE)), message)
    for row in waiting.filter(created__lt=timezone.now() - REDISPATCH_AGE).order_by("pk")[:20]:
        dispatch.analysis(row)


def _older(ages: dict[int, float], seconds: float) -> list[int]:
    return [pk for pk, age in ages.items() if age > seconds]


def living_workers(now: float) -> dict[str, str]:
    """Name and queues of the workers whose heartbeat has moved lately, as this process watched it."""
    living = {}
    for worker in Worker.objects.all():
        beats, since = _beats.get(worker.name, (-1, now))
        if beats != worker.beats:
            _beats[worker.name] = (worker.beats, now)
        elif now - since > Worker.SILENCE:
            continue
        if not owner.has_died(worker.name):
            living[worker.name] = worker.queues
    for name in _beats.keys() - living.keys():
        if not Worker.objects.filter(name=name).exists():
            del _beats[name]
    return living


def _give_up(rows: QuerySet[Analysis], message: str) -> None:
    given_up = list(rows)
    rows.update(state=State.FAILED, ended=timezone.now(), message=message)
    for analysis in given_up:
        handover.forget(analysis)
