"""Many images at once: send them, watch them being done, look at each, take all of it along."""

from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.paginator import Paginator
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe
from PIL import Image

from registry import services as registry
from segapp import context
from segapp.api_forms import StopForm
from segapp.forms import BatchForm
from segapp.imaging import InvalidFile, decode, formats
from segapp.imaging.render import overlay
from segapp.models import Batch, BatchItem, ItemState
from segapp.services import batch_results, batches, limits, zips
from segapp.services.pairing import InvalidUpload
from segapp.views import api
from segapp.views.common import PageRequest, by_script, flash, offer
from segapp.views.files import TYPES, webp

ON_A_PAGE = 60  # results
LATEST = 8  # results that show while the others are being made


def _owned(request: PageRequest, public_id: str) -> Batch:
    try:
        return batches.owned(request.visitor, public_id)
    except batches.BatchNotFound as error:
        raise Http404(str(error)) from error


def _item(request: PageRequest, public_id: str, number: int) -> BatchItem:
    try:
        return batches.item_of(_owned(request, public_id), number)
    except batches.BatchNotFound as error:
        raise Http404(str(error)) from error


@require_http_methods(["GET", "HEAD", "POST"])
def batch(request: PageRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    form = BatchForm(request.POST, request.FILES)
    if not form.is_valid():
        return _refuse(request, [{"file": "", "message": words} for words in form.words()], 422)
    try:
        limits.check(request, limits.UPLOADS)
        made = batches.submit(request.visitor, form.cleaned_data["files"], form.cleaned_data["archive"])
    except InvalidUpload as refusal:
        return _refuse(request, refusal.problems, 422)
    except InvalidFile as error:
        return _refuse(request, [{"file": error.file, "message": f"{error.problem} {error.advice}"}], 422)
    except (batches.TooMany, limits.TooOften) as error:
        return _refuse(request, [{"file": "", "message": str(error)}], 429)
    except registry.NoBaseReady as error:
        return _refuse(request, [{"file": "", "message": str(error)}], 503)
    if by_script(request):
        return JsonResponse({"url": reverse("analyze-batch-job", args=[made.public_id])}, status=201)
    return redirect("analyze-batch-job", made.public_id)


def _refuse(request: PageRequest, problems: list[dict[str, str]], status: int) -> HttpResponse:
    if by_script(request):
        return render(request, "problems.html", {"problems": problems}, status=status)
    return _show(request, problems=problems, status=status)


def _show(
    request: PageRequest, batch: Batch | None = None, problems: list[dict[str, str]] | None = None, status: int = 200
) -> HttpResponse:
    shown = {
        "batch": batch,
        "problems": problems or [],
        "recent": batches.recent(request.visitor),
        "pace": batches.pace(context.of(request).device),
        "limits": {
            "files": settings.BATCH_LIMIT_FILES,
            "megabytes": settings.BATCH_LIMIT_BYTES // 10**6,
            "megapixels": formats.MAX_PIXELS // 10**6,
        },
        "result_days": settings.SEGAPP_RESULT_DAYS,
        **(_details(batch, request.GET.get("page", "")) if batch else {}),
    }
    return render(request, "batch.html", shown, status=status)


def _details(batch: Batch, page: str = "") -> dict[str, Any]:
    """What stands under the batch's name: results, and what has none and why."""
    done = batch.items.filter(state=ItemState.DONE)
    if batch.unfinished:
        results: Any = done.order_by("-number")[:LATEST]
    else:
        results = Paginator(done.order_by("number"), ON_A_PAGE).get_page(page)
    return {
        "results": results,
        "refused": batch.items.filter(state=ItemState.FAILED),
        "classes": sorted(batch.classes, key=lambda found: -found["pixels"]),
    }


@require_safe
def batch_job(request: PageRequest, public_id: str) -> HttpResponse:
    return _show(request, _owned(request, public_id))


@require_safe
def batch_live(request: PageRequest, public_id: str) -> HttpResponse:
    """What changes while it runs; when it has ended, the page is loaded anew."""
    found = _owned(request, public_id)
    if found.unfinished:
        return render(request, "batch/live.html", {"batch": found, **_details(found)})
    response = HttpResponse()
    response["HX-Refresh"] = "true"
    return response


@require_POST
def batch_stop(request: PageRequest, public_id: str) -> HttpResponse:
    found = _owned(request, public_id)
    form = StopForm(request.POST)
    if form.is_valid():
        batches.stop(found, form.cleaned_data["keep"])
    return redirect("analyze-batch-job", public_id)


@require_POST
def batch_delete(request: PageRequest, public_id: str) -> HttpResponse:
    found = _owned(request, public_id)
    batches.delete(found)
    flash(request, f"“{found.title}” is deleted, its results with it.")
    return redirect("analyze-batch")


@require_safe
def batch_zip(request: PageRequest, public_id: str) -> HttpResponseBase:
    """Masks, overlays and the table as one zip, put together while it is sent."""
    found = _with_results(request, public_id)
    response = StreamingHttpResponse(zips.stream(batch_results.members(found)), content_type="application/zip")
    return offer(response, f"{_stem(found)}_results.zip")


@require_safe
def batch_table(request: PageRequest, public_id: str) -> HttpResponseBase:
    """Class areas of every image as CSV."""
    found = _with_results(request, public_id)
    response = HttpResponse(batch_results.table(found), content_type="text/csv; charset=utf-8")
    return offer(response, f"{_stem(found)}_classes.csv")


def _with_results(request: PageRequest, public_id: str) -> Batch:
    found = _owned(request, public_id)
    if not found.has_results:
        raise Http404("This batch has no results yet. Wait until it is done, or stop it and keep what is done.")
    return found


def _stem(batch: Batch) -> str:
    return Path(batch.title.partition(" and ")[0]).stem or "batch"


@require_safe
@cache_control(private=True, max_age=3600)
def batch_file(request: PageRequest, public_id: str, number: int, kind: str) -> HttpResponseBase:
    """An image's mask (palette PNG of class ids), overlay, shown or small; with ?download as a file."""
    item = _item(request, public_id, number)
    try:
        found = batches.file_of(item, kind)
    except batches.BatchNotFound as error:
        raise Http404(str(error)) from error
    response = FileResponse(found.open("rb"), content_type=TYPES[found.suffix])
    return offer(response, f"{item.stem}{found.suffix}") if "download" in request.GET else response


@require_safe
@cache_control(private=True, max_age=3600)
def batch_colours(request: PageRequest, public_id: str, number: int) -> HttpResponseBase:
    """The mask in its colours, as large as the shown image: to lay over it."""
    item = _item(request, public_id, number)
    try:
        with Image.open(batches.file_of(item, "shown")) as image, Image.open(batches.file_of(item, "mask")) as mask:
            ids = mask.resize(image.size, Image.Resampling.NEAREST)
            return webp(overlay(image, np.asarray(decode.pixels(ids)), item.classes, 1.0))
    except batches.BatchNotFound as error:
        raise Http404(str(error)) from error


# --- API ------------------------------------------------------------------------------------------------


@require_POST
@api.speaks_json
def api_batch(request: PageRequest) -> JsonResponse:
    limits.check(request, limits.UPLOADS)
    form = BatchForm(request.POST, request.FILES)
    if not form.is_valid():
        return api.error(422, "invalid", " ".join(form.words()))
    made = batches.submit(request.visitor, form.cleaned_data["files"], form.cleaned_data["archive"])
    address = reverse("api-batch-job", args=[made.public_id])
    return JsonResponse({"batch_id": made.public_id, "status_url": address}, status=202)


@require_GET
@api.speaks_json
def api_batch_job(request: PageRequest, public_id: str) -> JsonResponse:
    return JsonResponse(batches.status(batches.owned(request.visitor, public_id)))


@require_POST
@api.speaks_json
def api_batch_stop(request: PageRequest, public_id: str) -> JsonResponse:
    found = batches.owned(request.visitor, public_id)
    form = StopForm(request.POST)
    if not form.is_valid():
        return api.error(422, "invalid", form.words())
    batches.stop(found, form.cleaned_data["keep"])
    return JsonResponse(batches.status(found))


urlpatterns = [
    path("", batch, name="analyze-batch"),
    path("<str:public_id>/", batch_job, name="analyze-batch-job"),
    path("<str:public_id>/live/", batch_live, name="analyze-batch-live"),
    path("<str:public_id>/stop/", batch_stop, name="analyze-batch-stop"),
    path("<str:public_id>/delete/", batch_delete, name="analyze-batch-delete"),
    path("<str:public_id>/results.zip", batch_zip, name="analyze-batch-zip"),
    path("<str:public_id>/classes.csv", batch_table, name="analyze-batch-table"),
    path("<str:public_id>/files/<int:number>/colours", batch_colours, name="analyze-batch-colours"),
    path("<str:public_id>/files/<int:number>/<str:kind>", batch_file, name="analyze-batch-file"),
]
api_urlpatterns = [
    path("api/batch", api_batch, name="api-batch"),
    path("api/batch/<str:public_id>", api_batch_job, name="api-batch-job"),
    path("api/batch/<str:public_id>/stop", api_batch_stop, name="api-batch-stop"),
]
