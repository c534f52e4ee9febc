"""Videos in, the same videos with masks over them out: send one, watch it being made, look at it, take it along."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from registry import services as registry
from registry import store
from segapp import context
from segapp.api_forms import StopForm
from segapp.forms import VideoForm
from segapp.imaging import InvalidFile
from segapp.models import State, VideoJob
from segapp.services import limits, videos, zips
from segapp.views import api, ranges
from segapp.views.common import PageRequest, by_script, flash, offer

TYPES = {".mp4": "video/mp4", ".mkv": "video/x-matroska", ".csv": "text/csv; charset=utf-8", ".webp": "image/webp"}
RATE_WORDS = [
    (videos.AUTO, "Choose for me", "As many frames as this machine manages in sensible time."),
    (videos.EVERY, "Every frame", "The steadiest result, and the slowest."),
    ("5", "5 a second", "Masks are carried over the frames between."),
    ("1", "1 a second", "A quick look."),
]


def _owned(request: PageRequest, public_id: str) -> VideoJob:
    try:
        return videos.owned(request.visitor, public_id)
    except videos.VideoNotFound as error:
        raise Http404(str(error)) from error


@require_http_methods(["GET", "HEAD", "POST"])
def video(request: PageRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    form = VideoForm(request.POST, request.FILES)
    if not form.is_valid():
        return _refuse(request, [{"file": "", "message": words} for words in form.words()], 422)
    file = form.cleaned_data["file"]
    try:
        limits.check(request, limits.UPLOADS)
        job = videos.submit(request.visitor, file, file.name, form.cleaned_data["rate"])
    except InvalidFile as error:
        return _refuse(request, [{"file": error.file, "message": f"{error.problem} {error.advice}"}], 422)
    except (videos.TooMany, limits.TooOften) as error:
        return _refuse(request, [{"file": file.name, "message": str(error)}], 429)
    except registry.NoBaseReady as error:
        return _refuse(request, [{"file": file.name, "message": str(error)}], 503)
    if by_script(request):
        return JsonResponse({"url": reverse("video-job", args=[job.public_id])}, status=201)
    return redirect("video-job", job.public_id)


def _refuse(request: PageRequest, problems: list[dict[str, str]], status: int) -> HttpResponse:
    if by_script(request):
        return render(request, "problems.html", {"problems": problems}, status=status)
    return _show(request, problems=problems, status=status)


def _show(
    request: PageRequest, job: VideoJob | None = None, problems: list[dict[str, str]] | None = None, status: int = 200
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
def video_job(request: PageRequest, public_id: str) -> HttpResponse:
    return _show(request, _owned(request, public_id))


@require_safe
def video_live(request: PageRequest, public_id: str) -> HttpResponse:
    """What changes while it runs; when it has ended, the page is loaded anew."""
    job = _owned(request, public_id)
    if job.unfinished:
        return render(request, "video/live.html", _live(job))
    response = HttpResponse()
    response["HX-Refresh"] = "true"
    return response


def _live(job: VideoJob) -> dict[str, Any]:
    """What the part that asks for itself shows."""
    stamp = _preview_stamp(job) if job.unfinished else 0
    return {"job": job, "preview_stamp": stamp, "training_first": videos.waits_for_training(job)}


def _preview_stamp(job: VideoJob) -> int:
    """When the preview was drawn; 0 while there is none."""
    try:
        return store.fetch(job.folder / "preview.webp", newer=True).stat().st_mtime_ns
    except OSError:
        return 0


@require_POST
def video_stop(request: PageRequest, public_id: str) -> HttpResponse:
    job = _owned(request, public_id)
    form = StopForm(request.POST)
    if form.is_valid():
        videos.stop(job, form.cleaned_data["keep"])
    return redirect("video-job", public_id)


@require_POST
def video_delete(request: PageRequest, public_id: str) -> HttpResponse:
    job = _owned(request, public_id)
    videos.delete(job)
    flash(request, f"“{job.title}” is deleted, its results with it.")
    return redirect("video")


@require_safe
@cache_control(private=True, max_age=3600)
def video_file(request: PageRequest, public_id: str, name: str) -> HttpResponseBase:
    """A film, the table, the preview or the original, in parts where asked for; with ?download as a file."""
    job = _owned(request, public_id)
    try:
        found = videos.file_of(job, name)
    except videos.VideoNotFound as error:
        raise Http404(str(error)) from error
    response = ranges.send(request, found, TYPES[found.suffix])
    if "download" in request.GET:
        offer(response, _saved_as(job, found.name))
    return response


@require_safe
def video_masks(request: PageRequest, public_id: str) -> HttpResponseBase:
    """The index masks of every predicted frame as one zip, put together while it is sent."""
    job = _owned(request, public_id)
    try:
        archives = videos.mask_archives(job)
    except videos.VideoNotFound as error:
        raise Http404(str(error)) from error
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


# --- API ------------------------------------------------------------------------------------------------


def speaks_video(view: Any) -> Any:
    """The API's errors, and those of videos."""

    def answer(request: HttpRequest, **named: str) -> HttpResponse:
        try:
            return view(request, **named)
        except videos.VideoNotFound as missing:
            return api.error(404, "not_found", str(missing))
        except videos.TooMany as many:
            return api.error(429, "too_many_videos", str(many))

    return api.speaks_json(answer)


@require_POST
@speaks_video
def api_video(request: PageRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    form = VideoForm(request.POST, request.FILES)
    if not form.is_valid():
        return api.error(422, "invalid", " ".join(form.words()))
    file = form.cleaned_data["file"]
    job = videos.submit(request.visitor, file, file.name, form.cleaned_data["rate"])
    address = reverse("api-video-job", args=[job.public_id])
    return JsonResponse({"job_id": job.public_id, "status_url": address}, status=202)


@require_GET
@speaks_video
def api_video_job(request: PageRequest, public_id: str) -> JsonResponse:
    return JsonResponse(videos.status(videos.owned(request.visitor, public_id)))


@require_POST
@speaks_video
def api_video_stop(request: PageRequest, public_id: str) -> JsonResponse:
    job = videos.owned(request.visitor, public_id)
    form = StopForm(request.POST)
    if not form.is_valid():
        return api.error(422, "invalid", form.words())
    videos.stop(job, form.cleaned_data["keep"])
    return JsonResponse(videos.status(job))


urlpatterns = [
    path("", video, name="video"),
    path("<str:public_id>/", video_job, name="video-job"),
    path("<str:public_id>/live/", video_live, name="video-live"),
    path("<str:public_id>/stop/", video_stop, name="video-stop"),
    path("<str:public_id>/delete/", video_delete, name="video-delete"),
    path("<str:public_id>/masks.zip", video_masks, name="video-masks"),
    path("<str:public_id>/files/<str:name>", video_file, name="video-file"),
]
api_urlpatterns = [
    path("api/video", api_video, name="api-video"),
    path("api/video/<str:public_id>", api_video_job, name="api-video-job"),
    path("api/video/<str:public_id>/stop", api_video_stop, name="api-video-stop"),
]
