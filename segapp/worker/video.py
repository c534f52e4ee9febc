"""One video from claim to end. Knows nothing of requests or tasks.

Complete segments stay: a worker that dies, is asked to end, or makes room for a training leaves a job that another
worker resumes.
"""

import logging
import time
from typing import Any

import numpy as np
from django.conf import settings
from django.db import DatabaseError
from PIL import Image

from registry import store
from registry.files import disk_is_full, write_atomically
from registry.runtime import BaseMissing, LoadedNetwork
from segapp import dispatch, heartbeat
from segapp.imaging import render
from segapp.imaging.object_options import ObjectOptions
from segapp.measurement.objects import TooManyObjects
from segapp.models import State, Stop, VideoJob
from segapp.pipeline.video.demux import InvalidVideo, Limits
from segapp.pipeline.video.job import Cancelled, Paused, Report, Verdict
from segapp.pipeline.video.plan import AUTO, EVERY, Options
from segapp.pipeline.video.process import Outcome, process
from segapp.pipeline.video.sandbox import examine
from segapp.services import storage, videos
from segapp.worker import answers, claims, networks, video_objects
from segapp.worker.progress import HandBack, training_waits
from segapp.worker.publishing import LeaseLost
from segapp.worker.video_objects import VideoObjects

logger = logging.getLogger(__name__)

LABEL = "segapp.VideoJob"
PREVIEW_SECONDS = 2.0
ALPHA = 0.5
DISK_FULL = "The disk is full, so the video could not be finished. Free some space and upload it again."
UNKNOWN = "The video failed on the server. Upload it again; if it fails again, try it as H.264 in MP4."


def run(pk: int) -> None:
    """Work on a queued video until it ends, or until something else goes first."""
    videos.sweep()
    job = claims.by_turn(VideoJob.objects.all(), pk)
    if job is None:
        return
    heartbeat.hold(LABEL, job.pk, job.lease)
    try:
        _segment(job)
    except (Paused, HandBack):
        store.push_folder(job.folder)  # the worker that resumes it may be on another machine
        VideoJob.objects.hand_back(job.pk, job.lease)
        dispatch.video(job)
    except LeaseLost:
        logger.warning("video %s went to another worker; nothing finished here", job.public_id)
        if not VideoJob.objects.filter(pk=job.pk).exists():  # its visitor has deleted it
            store.remove_folder(job.folder)
    except Cancelled:
        _end(job, State.CANCELLED, "Cancelled. No results of this video were kept.")
    except (InvalidVideo, BaseMissing) as error:
        _end(job, State.FAILED, str(error))
    except Exception as error:
        logger.exception("video %s failed", job.public_id)
        _end(job, State.FAILED, DISK_FULL if disk_is_full(error) else UNKNOWN, error)
    finally:
        heartbeat.release(LABEL, job.pk)
        storage.measure_after_work(job)


def _end(job: VideoJob, state: State, message: str, error: Exception | None = None) -> None:
    store.remove_folder(job.folder)
    try:
        VideoJob.objects.end(job.pk, job.lease, state, message=message[:500], error=repr(error) if error else "")
    except DatabaseError:  # the reaper takes the row back
        logger.exception("video %s: its end could not be written", job.public_id)


def _segment(job: VideoJob) -> None:
    if job.segments_done:  # perhaps on another machine
        store.fetch_folder(job.folder)
    original = store.fetch(videos.original(job))
    if not original.is_file():
        raise InvalidVideo("The uploaded video is gone. Upload it again.")
    limits = Limits(settings.VIDEO_LIMIT_BYTES, settings.VIDEO_LIMIT_SECONDS, settings.VIDEO_LIMIT_PIXELS)
    options = Options(per_second=per_second(job), alpha=ALPHA)
    source = examine(original, limits)
    with networks.pinned(job) as network:
        note = answers.name_what_answers(job, network)
        outcome = process(network, original, job.folder, options, limits, Watcher(job), source)
        counted, problem = _count(job, network)
    publish(job, outcome, f"{note} {problem}".strip(), counted)


def _count(job: VideoJob, network: LoadedNetwork) -> tuple[VideoObjects | None, str]:
    """How many objects there are over time, where it was asked for, or why they are not counted.

    Raises as Watcher does, and Cancelled.
    """
    if not job.options.get("objects"):
        return None, ""

    def hold() -> None:
        heartbeat.tick()
        stop = VideoJob.objects.held(job.pk, job.lease).values_list("stop", flat=True).first()
        if stop is None:
            raise LeaseLost
        if stop == Stop.DISCARD:
            raise Cancelled
        if heartbeat.stopping.is_set():
            raise HandBack

    try:
        return video_objects.count(job.folder, network, ObjectOptions.from_dict(job.options["objects"]), hold), ""
    except TooManyObjects as refused:
        return None, str(refused)


def per_second(job: VideoJob) -> float:
    rate = job.options.get("rate", videos.AUTO)
    if rate == videos.AUTO:
        return AUTO
    return EVERY if rate == videos.EVERY else float(rate)


def publish(job: VideoJob, outcome: Outcome, note: str, counted: VideoObjects | None = None) -> None:
    """Running -> done, if the lease still holds; then the segments' videos, which are joined now, may go."""
    notes = [note, *outcome.notes]
    for path in [*job.folder.glob("*.mp4"), *job.folder.glob("*.csv"), *(job.folder / "parts").glob("*.zip")]:
        store.push(path)
    values = described(job, outcome.source.to_dict(), outcome.plan.per_second, outcome.plan.pace)
    ended = VideoJob.objects.end(
        job.pk,
        job.lease,
        State.DONE,
        progress=1.0,
        frames=outcome.frames,
        frames_skipped=outcome.skipped,
        segments_done=outcome.segments,
        classes=_with_counts(outcome.classes, counted),
        timeline=outcome.timeline,
        doubtful=outcome.doubtful,
        object_timeline=counted.timeline if counted else [],
        message=" ".join(note for note in notes if note)[:500],
        **{**values, "source": {**values["source"], "predicted": outcome.predicted}},
    )
    if not ended:
        raise LeaseLost
    for path in [*(job.folder / "parts").glob("*.mp4"), *(job.folder / "parts").glob("*.json")]:
        store.remove(path)


def _with_counts(classes: list[Any], counted: VideoObjects | None) -> list[Any]:
    """The classes with the mean count of their objects in a frame, and the most, where they are counted."""
    if counted is None:
        return classes
    keys = {"mean": "objects_mean", "most": "objects_most"}
    found = {k: {keys[name]: value for name, value in row.items()} for k, row in counted.summary.items()}
    return [{**row, **found.get(str(row["id"]), {})} for row in classes]


def described(job: VideoJob, source: dict[str, Any], rate: float, pace: float) -> dict[str, Any]:
    """What the row says about the video and the model that answers."""
    return {
        "source": {**job.source, **source, "per_second": rate, "pace": round(pace, 4)},
        **answers.named(job),
    }


class Watcher:
    """The pipeline's `watch`: writes progress into the row, and returns how to go on."""

    def __init__(self, job: VideoJob) -> None:
        self.job = job
        self.drawn = float("-inf")
        self.shown = False  # whether a preview was drawn
        self.begun = False

    def __call__(self, report: Report) -> Verdict:
        """Raises LeaseLost, or HandBack when the worker was asked to end."""
        heartbeat.tick()
        held = VideoJob.objects.held(self.job.pk, self.job.lease)
        if not held.update(**self._values(report)):
            raise LeaseLost
        stop = held.values_list("stop", flat=True).first()
        if stop == Stop.DISCARD:
            return Verdict.DISCARD
        if heartbeat.stopping.is_set():
            raise HandBack
        if stop == Stop.KEEP:
            return Verdict.KEEP
        wanted = self.begun and training_waits()
        self.begun = True
        return Verdict.PAUSE if wanted and report.phase == "predicting" else Verdict.GO

    def _values(self, report: Report) -> dict[str, Any]:
        values: dict[str, Any] = {
            "progress": min(report.fraction, 0.99),
            "eta_seconds": report.eta_seconds,
            "frames": report.frames,
            "frames_skipped": report.skipped,
            "segments_done": report.segments,
        }
        first = not self.shown and report.image is not None
        if first or time.monotonic() - self.drawn >= PREVIEW_SECONDS:
            self.drawn, self.shown = time.monotonic(), self.shown or first
            draw_preview(self.job, report)
            values |= described(self.job, report.source.to_dict(), report.plan.per_second, report.plan.pace)
            values |= {"classes": report.stats.summary(), "timeline": report.stats.timeline()}
        return values


def draw_preview(job: VideoJob, report: Report) -> None:
    """`preview.webp`: the latest frame with its mask, as small as the network sees it."""
    if report.image is None or report.ids is None:
        return
    image = Image.fromarray(report.image)
    ids = np.asarray(Image.fromarray(report.ids).resize(image.size, Image.Resampling.NEAREST))
    classes = [{"id": c.id, "color": c.color} for c in report.stats.classes]
    drawn = render.overlay(image, ids, classes, ALPHA)
    write_atomically(job.folder / "preview.webp", lambda out: drawn.save(out, "WEBP", quality=80, method=1))
