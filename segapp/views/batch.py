"""Many images at once: send them, watch them being done, look at each, take all of it along."""

from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F
from django.http import (
    FileResponse,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from PIL import Image

from registry import store
from segapp import context
from segapp.forms import BatchForm, StopForm
from segapp.imaging import decode, formats, stored
from segapp.imaging.object_formats import named
from segapp.imaging.render import overlay
from segapp.models import Batch, BatchItem, ItemState
from segapp.scopes import for_predict_keys
from segapp.services import batch_results, batches, limits, painting, queueing, zips
from segapp.services.errors import NotFound, UserError
from segapp.views.common import by_script, flash, offer, shows_again
from segapp.views.files import TYPES, webp
from segapp.visitors import VisitorRequest

ON_A_PAGE = 60  # results
LATEST = 8  # results that show while the others are being made


def _item(request: VisitorRequest, public_id: str, number: int) -> BatchItem:
    return batches.item_of(batches.owned(request.visitor, public_id), number)


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    if by_script(request):
        return render(request, "problems.html", {"problems": error.problems}, status=error.status)
    return _show(request, problems=error.problems, status=error.status)


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def batch(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    limits.check(request, limits.UPLOADS)
    sent = BatchForm(request.POST, request.FILES).checked()
    made = batches.submit(request.visitor, **sent)
    if by_script(request):
        return JsonResponse({"url": reverse("analyze-batch-job", args=[made.public_id])}, status=201)
    return redirect("analyze-batch-job", made.public_id)


def _show(
    request: VisitorRequest, batch: Batch | None = None, problems: list[dict[str, str]] | None = None, status: int = 200
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
        **(_details(batch, request.GET.get("page", ""), request.GET.get("order", "")) if batch else {}),
    }
    return render(request, "batch.html", shown, status=status)


def _details(batch: Batch, page: str = "", order: str = "") -> dict[str, Any]:
    """What stands under the batch's name: results, and what has none and why."""
    done = batch.items.filter(state=ItemState.DONE)
    if batch.unfinished:
        results: Any = done.order_by("-number")[:LATEST]
    else:
        by_doubt = (F("doubt").desc(nulls_last=True), "number")
        results = Paginator(done.order_by(*by_doubt if order == "doubt" else ("number",)), ON_A_PAGE).get_page(page)
    return {
        "order": "doubt" if order == "doubt" else "",
        "doubts": done.exclude(doubt=None).exists(),
        "results": results,
        "refused": batch.items.filter(state=ItemState.FAILED),
        "classes": _classes(batch),
        "object_files": [] if batch.unfinished else _object_files(batch),
    }


def _object_files(batch: Batch) -> list[dict[str, str]]:
    """Files of the objects of all images: address, label, and what for."""
    return [
        {
            "url": reverse("analyze-batch-objects", args=[batch.public_id, key]),
            "label": named(key).label,
            "for": named(key).purpose,
        }
        for key, path in batch_results.object_files(batch).items()
        if store.fetch(path).is_file()
    ]


def _classes(batch: Batch) -> list[dict[str, Any]]:
    """The classes over all images, the largest first, with how many objects each has; None where none are counted."""
    counts = batch_results.counts(batch) if batch.objects_wanted else {}
    rows = sorted(batch.classes, key=lambda found: -found["pixels"])
    return [{**row, "objects": counts.get(str(row["id"]))} for row in rows]


def _refuse_to_fix(request: VisitorRequest, error: UserError, public_id: str, number: int) -> HttpResponse:
    flash(request, " ".join(problem["message"] for problem in error.problems), level=messages.ERROR)
    return redirect("analyze-batch-job", public_id)


@require_safe
def batch_job(request: VisitorRequest, public_id: str) -> HttpResponse:
    return _show(request, batches.owned(request.visitor, public_id))


@require_safe
def batch_live(request: VisitorRequest, public_id: str) -> HttpResponse:
    """What changes while it runs; when it has ended, the page is loaded again."""
    found = batches.owned(request.visitor, public_id)
    if found.unfinished:
        return render(
            request,
            "batch/live.html",
            {"batch": found, "wait_seconds": queueing.wait_seconds(found), **_details(found)},
        )
    response = HttpResponse()
    response["HX-Refresh"] = "true"
    return response


@require_POST
@shows_again(_refuse_to_fix)
def batch_fix(request: VisitorRequest, public_id: str, number: int) -> HttpResponse:
    """From one image of a batch to the paint page, with what the model found as the proposal to mend."""
    limits.check(request, limits.UPLOADS)
    example = painting.from_batch(_item(request, public_id, number))
    return redirect("finetune-paint", example.public_id)


@require_POST
def batch_stop(request: VisitorRequest, public_id: str) -> HttpResponse:
    found = batches.owned(request.visitor, public_id)
    form = StopForm(request.POST)
    if form.is_valid():
        batches.stop(found, form.cleaned_data["keep"])
    return redirect("analyze-batch-job", public_id)


@require_POST
def batch_delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    found = batches.owned(request.visitor, public_id)
    batches.delete(found)
    flash(request, f"“{found.title}” is deleted, its results with it.")
    return redirect("analyze-batch")


@for_predict_keys
@require_safe
def batch_zip(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """Masks, overlays and the table as one zip, put together while it is sent."""
    found = _with_results(request, public_id)
    response = StreamingHttpResponse(zips.stream(batch_results.members(found)), content_type="application/zip")
    return offer(response, f"{_stem(found)}_results.zip")


@for_predict_keys
@require_safe
def batch_table(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """Class areas of every image as CSV."""
    found = _with_results(request, public_id)
    response = HttpResponse(batch_results.table(found), content_type="text/csv; charset=utf-8")
    return offer(response, f"{_stem(found)}_classes.csv")


@for_predict_keys
@require_safe
def batch_objects(request: VisitorRequest, public_id: str, key: str) -> HttpResponseBase:
    """Objects of every image as `csv`, `xlsx`, `coco` or `yolo`, or counts by image and class as `classes`."""
    found = batches.owned(request.visitor, public_id)
    path = batches.table_of(found, key)
    response = FileResponse(path.open("rb"), content_type=named(key).media_type)
    return offer(response, f"{_stem(found)}_{path.name}")


def _with_results(request: VisitorRequest, public_id: str) -> Batch:
    found = batches.owned(request.visitor, public_id)
    if not found.has_results:
        raise NotFound("This batch has no results yet. Wait until it is done, or stop it and keep what is done.")
    return found


def _stem(batch: Batch) -> str:
    return Path(batch.title.partition(" and ")[0]).stem or "batch"


@for_predict_keys
@require_safe
@cache_control(private=True, max_age=3600)
def batch_file(request: VisitorRequest, public_id: str, number: int, kind: str) -> HttpResponseBase:
    """An image's mask (class ids: palette PNG, tiled TIFF of a large image), overlay, shown or small; with ?download as
    a file."""
    item = _item(request, public_id, number)
    found = batches.file_of(item, kind)
    response = FileResponse(found.open("rb"), content_type=TYPES[found.suffix])
    return offer(response, f"{item.stem}{found.suffix}") if "download" in request.GET else response


@require_safe
@cache_control(private=True, max_age=3600)
def batch_colours(request: VisitorRequest, public_id: str, number: int) -> HttpResponseBase:
    """The mask in its colours, as large as the shown image: to lay over it."""
    item = _item(request, public_id, number)
    image_path, mask_path = batches.file_of(item, "shown"), batches.file_of(item, "mask_shown")
    with stored.opened(mask_path) as mask, stored.opened(image_path) as image:
        ids = mask.resize(image.size, Image.Resampling.NEAREST)
        return webp(overlay(image, np.asarray(decode.pixels(ids)), item.classes, 1.0))
