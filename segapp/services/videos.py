"""Videos as the web sees them: submit, look, stop, hand out, forget. Free of torch and of everything that decodes."""

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from registry import store
from registry.files import write_atomically
from segapp import dispatch
from segapp.imaging import InvalidFile, container, formats
from segapp.imaging.object_options import ObjectOptions
from segapp.models import UNFINISHED, State, Stop, TrainingRun, VideoJob
from segapp.services import queueing, runs, schemas, storage
from segapp.services.errors import NotFound, RateLimited
from segapp.services.model_snapshot import pin

MAX_UNFINISHED = 5  # of one visitor
AUTO, EVERY = "auto", "every"
RATES = (AUTO, EVERY, "10", "5", "2", "1")  # frames to predict in a second
GUESSED_PACE = {"CPU": 0.3, "CUDA": 0.01}  # seconds a frame, until a first job has measured it
RESULT_VIDEOS = ("overlay.mp4", "mask.mp4")


class TooMany(RateLimited):
    """The visitor has enough unfinished videos."""

    code = "too_many_videos"


def submit(
    visitor: str,
    file: UploadedFile,
    name: str,
    rate: str = AUTO,
    model: str = "",
    objects: ObjectOptions | None = None,
) -> VideoJob:
    """Store a video and queue it for the model named, or the one that answers now; later changes do not reach it.

    `objects`: count them in every predicted frame.

    Only the first bytes are looked at here; the worker's probe has the last word.
    Raises InvalidFile, TooMany, Overloaded, StorageFull, DiskFull, NoBaseReady and ModelNotFound; nothing is stored
    then.
    """
    head = file.read(container.HEAD)
    file.seek(0)
    check(visitor, file, head, name)
    job = VideoJob(
        visitor=visitor,
        title=name[:200],
        options={
            "rate": rate,
            "suffix": container.suffix(head),
            **({"objects": objects.to_dict()} if objects else {}),
        },
        source={"bytes": file.size or 0},
        **pin(visitor, model),
    )
    try:
        write_atomically(original(job), lambda out: shutil.copyfileobj(file, out, 2**20))
        with transaction.atomic():
            job.save()
            storage.enter(job)
            dispatch.video(job)
    except BaseException:
        store.remove_folder(job.folder)
        raise
    return job


def check(visitor: str, file: UploadedFile, head: bytes, name: str) -> None:
    """Refuse what is not a video by its first bytes, is too large, or does not fit the visitor's storage."""
    size = file.size or 0
    if not size:
        raise InvalidFile(name, "The file is empty.", "Save or upload it again.")
    if container.family(head) is None:
        raise InvalidFile(
            name,
            f"This is not an {formats.listed(formats.VIDEO_KINDS)} file.",
            "Convert it to MP4 and upload it again.",
        )
    if size > settings.VIDEO_LIMIT_BYTES:
        most = settings.VIDEO_LIMIT_BYTES // 10**6
        raise InvalidFile(name, f"The file is over {most} MB.", "Shorten it or lower its quality.")
    if VideoJob.objects.filter(visitor=visitor, state__in=UNFINISHED).count() >= MAX_UNFINISHED:
        raise TooMany(f"{MAX_UNFINISHED} videos of yours are not finished yet. Wait for one, or stop one first.")
    queueing.admit(VideoJob)
    storage.hold_to_quota(visitor, size)


def original(job: VideoJob) -> Path:
    """The video as it was sent, under a name of the server's."""
    return job.folder / f"original{job.options.get('suffix', '.mp4')}"


def owned(visitor: str, public_id: str) -> VideoJob:
    """The visitor's video; raises NotFound, the same for what is another's and what does not exist."""
    job = VideoJob.objects.filter(visitor=visitor, public_id=public_id).select_related("model").first()
    if job is None:
        raise NotFound("There is no such video among yours. Results are kept for some days; upload it again.")
    return job


def recent(visitor: str, count: int = 12) -> QuerySet[VideoJob]:
    """The visitor's newest videos, newest first."""
    return VideoJob.objects.filter(visitor=visitor)[:count]


def waits_for_training(job: VideoJob) -> bool:
    """Whether this video waits for a training, of any visitor."""
    return job.state == State.QUEUED and TrainingRun.objects.filter(state__in=UNFINISHED).exists()


def kept_until(job: VideoJob) -> datetime:
    """When the cleanup may remove the results."""
    return job.created + timedelta(days=settings.SEGAPP_RESULT_DAYS)


def status(job: VideoJob) -> schemas.Video:
    """The job as the JSON API shows it."""
    done = job.state == State.DONE
    return {
        "job_id": job.public_id,
        "state": job.state,
        "progress": round(job.progress, 4),
        "eta_seconds": job.eta_seconds,
        "queue_position": job.queue_position(),
        "wait_seconds": queueing.wait_seconds(job),
        "model_key": job.model_key,
        "model_name": job.model_name,
        "model_sha256": job.model_sha256,
        "base": job.base_key,
        "overlay_url": reverse("video-file", args=[job.public_id, "overlay.mp4"]) if done else None,
        "mask_url": reverse("video-file", args=[job.public_id, "mask.mp4"]) if done else None,
        "table_url": reverse("video-file", args=[job.public_id, "frames.csv"]) if done else None,
        "masks_url": reverse("video-masks", args=[job.public_id]) if done else None,
        "frames": job.frames,
        "frames_skipped": job.frames_skipped,
        "frames_per_second_predicted": job.source.get("per_second"),
        "segments_done": job.segments_done,
        "source": {
            "width": job.source.get("width"),
            "height": job.source.get("height"),
            "seconds": job.source.get("seconds"),
            "frames": job.source.get("frames"),
            "rate": job.source.get("rate"),
            "audio": job.source.get("audio"),
        },
        "classes": job.classes,
        "timeline": job.timeline,
        "object_timeline": job.object_timeline,
        "doubtful": [{"seconds": at, "doubt": doubt, "frame": frame} for at, doubt, frame in job.doubtful],
        "message": job.message,
    }


def stop(job: VideoJob, keep: bool) -> None:
    """Stop a video, keeping what is done or nothing; what has not started never does. Idempotent."""
    if keep and job.segments_done:
        # Handed back between two segments: a worker must take it again to join the finished segments.
        waiting = VideoJob.objects.filter(pk=job.pk, state=State.QUEUED, segments_done__gt=0)
        if waiting.exclude(stop=Stop.DISCARD).update(stop=Stop.KEEP):
            job.refresh_from_db()
            return
    runs.stop(job, keep)
    if job.state == State.CANCELLED:
        store.remove_folder(job.folder)


def delete(job: VideoJob) -> None:
    """Forget a video and its files; one that is running is stopped and removed afterwards."""
    stop(job, keep=False)
    if job.unfinished:
        VideoJob.objects.filter(pk=job.pk).update(visitor="")
        return
    job.delete()
    store.remove_folder(job.folder)


def sweep() -> None:
    """Remove what a worker that died left behind: files of videos that failed, were cancelled or deleted."""
    failed = Q(state__in=(State.FAILED, State.CANCELLED)) | Q(visitor="", state=State.DONE)
    for job in VideoJob.objects.filter(failed).only("public_id", "visitor"):
        if job.folder.exists():
            store.remove_folder(job.folder)
        if not job.visitor:
            job.delete()


def file_of(job: VideoJob, name: str) -> Path:
    """A result video, the table, the preview or the original, by name; raises NotFound where it is missing."""
    names = {**{video: job.folder / video for video in RESULT_VIDEOS}, "frames.csv": job.folder / "frames.csv"}
    path = names.get(name) if job.state == State.DONE else None
    if name == "preview.webp":
        path = job.folder / name
    elif name == "original":
        path = original(job)
    if path is None or not store.fetch(path, newer=job.unfinished).is_file():
        raise NotFound("This video has no such file, or not any more. Upload it again.")
    return path


def mask_archives(job: VideoJob) -> Iterator[Path]:
    """The segments' archives of index masks, in order; raises NotFound when there are none."""
    found = sorted(store.fetch_folder(job.folder / "parts").glob("*.zip")) if job.state == State.DONE else []
    if not found:
        raise NotFound("This video has no index masks, or not any more. Upload it again.")
    return iter(found)


def pace(device: str) -> float:
    """Seconds that a frame takes here, as the latest finished video measured it: for an estimate before uploading."""
    latest = VideoJob.objects.filter(state=State.DONE).order_by("-ended").values_list("source", flat=True).first()
    return float((latest or {}).get("pace") or GUESSED_PACE.get(device, GUESSED_PACE["CPU"]))
