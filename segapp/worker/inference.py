"""From a queued analysis to its mask, confidence and figures. Knows nothing of requests."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from django.db.models import F
from django.utils import timezone
from PIL import Image

from registry import services as registry
from registry import store
from registry.bases import CATALOGUE
from registry.files import write_atomically
from registry.runtime import BaseMissing, LoadedNetwork
from segapp import dispatch, heartbeat
from segapp.imaging import InvalidFile, decode, render
from segapp.imaging.image_input import ImageInput
from segapp.imaging.memory import DecodersBusy
from segapp.models import Analysis, Measurement, State
from segapp.pipeline.inference.predict import Prediction, predict, shares
from segapp.services import handover, storage
from segapp.worker import analysis_objects, claims, intensities, measuring, networks, turns, windows

logger = logging.getLogger(__name__)

WRITE_SECONDS = 0.7  # between two writes of progress

_encoder = ThreadPoolExecutor(1, thread_name_prefix="encode")


def run(pk: int) -> None:
    """Answer one analysis, whichever the message named. A doubled message finds nothing queued and does nothing."""
    windows = Analysis.objects.filter(pk=pk).values_list("windows", flat=True).first()
    claimed = _claim(pk, bool(windows))
    if claimed is not None:
        _run(claimed)


def run_windows(pk: int) -> None:
    """The same for one that is read in parts, by turn; `pk` may be 0."""
    claimed = _claim(pk, windows=True)
    if claimed is not None:
        _run(claimed)


def _claim(pk: int, windows: bool) -> int | None:
    """Take the image whose visitor's turn it is, of their own the one that the message names."""
    queued = Analysis.objects.filter(state=State.QUEUED, windows=windows)
    for candidate in turns.in_order(queued.values_list("pk", "visitor"), pk)[: claims.CANDIDATES]:
        mine = Analysis.objects.filter(pk=candidate, state=State.QUEUED)
        if mine.update(state=State.RUNNING, worker=heartbeat.NAME, attempts=F("attempts") + 1):
            return candidate
    return None


def _run(pk: int) -> None:
    analysis = Analysis.objects.select_related("model").get(pk=pk)
    turns.begun(analysis.visitor, 1 if analysis.windows else analysis.passes)
    try:
        with networks.pinned(analysis) as network:
            values = _answer(analysis, network)
    except Ended:
        if not Analysis.objects.filter(pk=pk, state=State.QUEUED).exists():
            store.remove_folder(analysis.folder)
        return
    except InvalidFile as refused:
        values = {"state": State.FAILED, "message": refused.message[:500]}
    except (BaseMissing, store.StoreUnreachable, DecodersBusy) as error:
        logger.warning("%s", error)
        values = {"state": State.FAILED, "message": str(error)[:500]}
    except Exception:
        logger.exception("analysis %s failed", analysis.public_id)
        message = "This image could not be analyzed. Try again; if it fails again, try it smaller or as PNG."
        values = {"state": State.FAILED, "message": message}
    mine = Analysis.objects.filter(pk=pk, state=State.RUNNING, worker=heartbeat.NAME)
    ended = mine.update(ended=timezone.now(), **values)
    dispatch.notify(analysis.public_id)  # the request waits: what it does not need comes after this
    handover.forget(analysis)
    _keep_intensities(analysis, done=values["state"] == State.DONE)
    if not ended and not Analysis.objects.filter(pk=pk).exists():  # deleted meanwhile
        store.remove_folder(analysis.folder)
    storage.measure_after_work(analysis)
    if analysis.model is not None and values.get("model_key") == analysis.model.key and not analysis.shared:
        registry.mark_used(analysis.model)  # guests leave the owner's "last used" as it is


def _keep_intensities(analysis: Analysis, done: bool) -> None:
    if not analysis.source.get("deep"):
        return
    try:
        (intensities.keep if done else intensities.forget)(analysis)
    except Exception:  # it has been answered: what goes wrong here costs a later measurement its intensities only
        logger.exception("the values of analysis %s could not be kept", analysis.public_id)


class Ended(Exception):
    """The image was cancelled, deleted or handed back while it was read in parts."""


class ProgressWriter:
    """Writes how far an image is into its row, for those that take long enough to be watched."""

    def __init__(self, analysis: Analysis, ended: bool = False) -> None:
        """`ended`: raise Ended when the row was cancelled or deleted, or this process is asked to stop."""
        self._pk, self._written, self._ended = analysis.pk, time.monotonic(), ended

    def __call__(self, progress: float) -> None:
        heartbeat.tick()
        if time.monotonic() - self._written >= WRITE_SECONDS:
            mine = Analysis.objects.filter(pk=self._pk, state=State.RUNNING)
            if not mine.update(progress=round(progress, 3)) and self._ended:
                raise Ended
            if self._ended and heartbeat.stopping.is_set():
                mine.update(state=State.QUEUED, worker="", attempts=0)
                raise Ended
            self._written = time.monotonic()


def _answer(analysis: Analysis, network: LoadedNetwork) -> dict[str, object]:
    """Run the network, write the files, and say what answered: the values of the finished row."""
    if analysis.windows:
        return _answer_windows(analysis, network)
    began = time.perf_counter()
    image = _image(analysis)
    read = time.perf_counter()
    found = predict(network, image, ProgressWriter(analysis), interior=True)  # objects may be asked for later
    ran = time.perf_counter()
    classes = _write(analysis, found, network)
    written = time.perf_counter()
    _measure(analysis, classes, found, image)
    timings = {
        "inference_ms": _ms(read, ran),
        "decode_ms": _ms(began, read),
        "encode_ms": _ms(ran, written),
        **{name: round(value, 1) for name, value in found.timings.items()},
    }
    if analysis.measurements.exists():
        timings["objects_ms"] = _ms(written, time.perf_counter())
    return _finished(analysis, network, classes, timings)


def _image(analysis: Analysis) -> np.ndarray:
    """uint8 (H, W, 3). Raises what decode.stored raises."""
    left = handover.pixels(analysis)
    return decode.stored(store.fetch(analysis.image_path)) if left is None else left


def _measure(
    analysis: Analysis, classes: list[Any], found: Prediction | None = None, image: np.ndarray | None = None
) -> None:
    """Count and measure what was asked for with the image."""
    rows = list(analysis.measurements.all())
    analysis.classes = classes
    for row in rows:
        row.analysis = analysis
        Measurement.objects.filter(pk=row.pk).update(**analysis_objects.attempt(row, found, image))


def _answer_windows(analysis: Analysis, network: LoadedNetwork) -> dict[str, object]:
    """The same for an image that is too large to read at once."""
    began = time.perf_counter()
    folder, choice = analysis.folder, ImageInput.from_dict(analysis.image_input)
    source = store.fetch(analysis.image_path)
    progress = ProgressWriter(analysis, ended=True)
    found = windows.segment(network, source, analysis.title, folder / "mask.tif", choice, progress)
    colors = [{"id": c.id, "name": c.name, "color": c.color} for c in network.spec.classes]
    drawn = render.overlay(found.shown, found.ids, colors, 0.5)
    small = Image.fromarray(found.confidence).resize(found.shown.size, Image.Resampling.BILINEAR)
    write_atomically(folder / "shown.jpg", lambda out: found.shown.save(out, "JPEG", quality=88), durable=False)
    write_atomically(folder / "overlay.jpg", lambda out: drawn.save(out, "JPEG", quality=88), durable=False)
    ids = render.palette_png(found.ids, colors)
    write_atomically(folder / "mask_small.png", lambda out: out.write(ids), durable=False)
    write_atomically(folder / "sure.png", lambda out: small.save(out, "PNG", compress_level=1), durable=False)
    store.remove(analysis.image_path)
    ran = time.perf_counter()
    classes, analysis.source = _stated(found.classes, network), found.source
    _measure(analysis, classes)
    finished = _finished(analysis, network, classes, {"inference_ms": _ms(began, ran)})
    return {**finished, "notes": [*analysis.notes, *found.notes], "source": found.source}


def _finished(
    analysis: Analysis, network: LoadedNetwork, classes: list[Any], timings: dict[str, float]
) -> dict[str, object]:
    """The values of the finished row."""
    model = analysis.model
    custom = model is not None and network.key == model.key
    if analysis.shared:
        if not custom:
            analysis.message = "The shared model could not be used any more, so the base model answered."
    elif model is not None and not custom:
        model.refresh_from_db()
        analysis.message = model.notice or analysis.message
    return {
        "state": State.DONE,
        "model_key": network.key,
        "model_name": model.name if model and custom else CATALOGUE[network.base_key].name,
        "model_sha256": network.sha256,
        "base_key": network.base_key,
        "base_sha256": network.base_sha256,
        "classes": classes,
        "message": analysis.message,
        "timings": timings,
    }


def _write(analysis: Analysis, found: Prediction, network: LoadedNetwork) -> list[dict[str, Any]]:
    """Both files, side by side; returns each class's share meanwhile."""
    beside = _encoder.submit(_write_confidence, analysis, found)
    try:
        classes = _stated(shares(found.ids, network.spec.classes), network)
        png = render.palette_png(found.ids, classes)
        write_atomically(analysis.folder / "mask.png", lambda out: out.write(png), durable=False)
    finally:
        wait([beside])  # whatever happened, nothing is written after this
    beside.result()
    return classes


def _stated(areas: list[Any], network: LoadedNetwork) -> list[Any]:
    """The areas with `things` where the model says it."""
    things = {row["id"]: row["things"] for row in measuring.classes_of(network) if row["things"] is not None}
    return [{**row, "things": things[row["id"]]} if row["id"] in things else row for row in areas]


def _write_confidence(analysis: Analysis, found: Prediction) -> None:
    small = Image.fromarray(found.coarse_confidence)
    write_atomically(analysis.folder / "sure.png", lambda out: small.save(out, "PNG", compress_level=1), durable=False)
    if found.coarse_interior is not None:
        inside = Image.fromarray(found.coarse_interior)
        path = analysis.folder / "interior.png"
        write_atomically(path, lambda out: inside.save(out, "PNG", compress_level=1), durable=False)


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 1)
