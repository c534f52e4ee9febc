"""Videos in, the same videos with masks over them out: send one, follow its progress, watch and download it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry import store
from segapp import context
from segapp.forms import StopForm, VideoForm
from segapp.models import State, VideoJob
from segapp.scopes import for_predict_keys
from segapp.services import limits, queueing, videos, zips
from segapp.services.errors import UserError
from segapp.views import ranges
from segapp.views.common import by_script, flash, offer, shows_again
from segapp.visitors import VisitorRequest

TYPES = {
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".csv": "text/csv; charset=utf-8",
    ".webp": "image/webp",
}
RATE_WORDS = [
    (videos.AUTO, "Choose for me", "As many frames as this machine manages in sensible time."),
    (videos.EVERY, "Every frame", "The steadiest result, and the slowest."),
    ("5", "5 a second", "Masks are carried over the frames between."),
    ("1", "1 a second", "A quick look."),
]


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    if by_script(request):
        return render(request, "problems.html", {"problems": error.problems}, status=error.status)
    return _show(request, problems=error.problems, status=error.status)


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def video(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    limits.check(request, limits.UPLOADS)
    sent = VideoForm(request.POST, request.FILES).checked()
    file = sent["file"]
    job = videos.submit(request.visitor, file, file.name, sent["rate"], objects=sent["objects"])
    if by_script(request):
        return JsonResponse({"url": reverse("video-job", args=[job.public_id])}, status=201)
    return redirect("video-job", job.public_id)


def _show(
    request: VisitorRequest,
    job: VideoJob | None = None,
    problems: list[dict[str, str]] | None = None,
    status: int = 200,
) -> HttpResponse:
    shown = {
        **(_live(job) if job else {"job": None}),
        "kept_until": videos.kept_until(job) if job else None,
        "status_json": videos.status(job) if job and job.state == State.DONE else None,
        "problems": problems or [],
        "recent": videos.recent(request.visitor),
        "rates": RATE_WORDS,
        "pace": videos.pace(context.of(request).device),
        "limits": {
            "megabytes": settings.VIDEO_LIMIT_BYTES // 10**6,
            "minutes": settings.VIDEO_LIMIT_SECONDS // 60,
            "pixels": f"{settings.VIDEO_LIMIT_PIXELS / 1e6:.1f}",
        },
        "result_days": settings.SEGAPP_RESULT_DAYS,
    }
    return render(request, "video.html", shown, status=status)


@require_safe
def video_job(request: VisitorRequest, public_id: str) -> HttpResponse:
    return _show(request, videos.owned(request.visitor, public_id))


@require_safe
def video_live(request: VisitorRequest, public_id: str) -> HttpResponse:
    """What changes while it runs; when it has ended, the page is loaded again."""
    job = videos.owned(request.visitor, public_id)
    if job.unfinished:
        return render(request, "video/live.html", _live(job))
    response = HttpResponse()
    response["HX-Refresh"] = "true"
    return response


def _live(job: VideoJob) -> dict[str, Any]:
    """What the part that polls shows."""
    stamp = _preview_stamp(job) if job.unfinished else 0
    return {
        "job": job,
        "preview_stamp": stamp,
        "training_first": videos.waits_for_training(job),
        "wait_seconds": queueing.wait_seconds(job),
    }


def _preview_stamp(job: VideoJob) -> int:
    """When the preview was drawn; 0 while there is none."""
    try:
        return store.fetch(job.folder / "preview.webp", newer=True).stat().st_mtime_ns
    except OSError:
        return 0


@require_POST
def video_stop(request: VisitorRequest, public_id: str) -> HttpResponse:
    job = videos.owned(request.visitor, public_id)
    form = StopForm(request.POST)
    if form.is_valid():
        videos.stop(job, form.cleaned_data["keep"])
    return redirect("video-job", public_id)


@require_POST
def video_delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    job = videos.owned(request.visitor, public_id)
    videos.delete(job)
    flash(request, f"“{job.title}” is deleted, its results with it.")
    return redirect("video")


@for_predict_keys
@require_safe
@cache_control(private=True, max_age=3600)
def video_file(request: VisitorRequest, public_id: str, name: str) -> HttpResponseBase:
    """A rendered video, the table, the preview or the original, in parts where asked for; with ?download as a file."""
    job = videos.owned(request.visitor, public_id)
    found = videos.file_of(job, name)
    response = ranges.send(request, found, TYPES[found.suffix])
    if "download" in request.GET:
        offer(response, _saved_as(job, found.name))
    return response


@for_predict_keys
@require_safe
def video_masks(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """The index masks of every predicted frame as one zip, put together while it is sent."""
    job = videos.owned(request.visitor, public_id)
    archives = videos.mask_archives(job)
    response = StreamingHttpResponse(zips.stream(mask_members(archives, job)), content_type="application/zip")
    return offer(response, _saved_as(job, "masks.zip"))


def _saved_as(job: VideoJob, name: str) -> str:
    return f"{Path(job.title).stem or 'video'}_{name}"


def mask_members(archives: Iterator[Path], job: VideoJob) -> Iterator[zips.Member]:
    """All archives' entries, and the table that says which frame has which mask."""
    yield "frames.csv", store.fetch(job.folder / "frames.csv")
    for archive in archives:
        with zipfile.ZipFile(archive) as part:
            for entry in part.infolist():
                yield entry.filename, part.read(entry)
