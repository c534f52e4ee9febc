"""Files to their owner. Nothing below media is served by its path, and another visitor's file is a plain 404."""

import io
import re
from pathlib import Path

import numpy as np
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.utils.http import content_disposition_header
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from PIL import Image

from registry import services as registry
from registry import store
from segapp.imaging import InvalidFile, decode, memory, render, stored
from segapp.imaging.object_formats import INSTANCES, named
from segapp.models import Analysis, Example
from segapp.models.measurement import VIEW
from segapp.scopes import for_predict_keys
from segapp.services import analyses, example_files, intake, measurements, runs
from segapp.services.errors import NotFound
from segapp.views import finetune_context
from segapp.visitors import VisitorRequest

RUN_FILE = re.compile(r"(preview|heldout_\d{1,3}_(image|truth|base|custom))\.webp")
SMALL, LARGE = 264, 1600  # pixels
KINDS = ("image", "mask", "overlay", "confidence")
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".geojson": "application/geo+json",
}

# Names are made by the server and their content never changes, except for what the address tells apart with ?v=.
_private = cache_control(private=True, max_age=3600)


def _send(path: Path, download: str = "", newer: bool = False) -> HttpResponseBase:
    if not store.fetch(path, newer).is_file():
        raise NotFound("This file is gone. It may have been deleted after some days; make it again.")
    return _as(FileResponse(path.open("rb"), content_type=TYPES[path.suffix]), download)


def _png(image: Image.Image) -> HttpResponse:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return HttpResponse(out.getvalue(), content_type="image/png")


def webp(image: Image.Image) -> HttpResponse:
    """An image drawn for this answer."""
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=1)
    return HttpResponse(out.getvalue(), content_type="image/webp")


def _as(response: FileResponse, download: str) -> HttpResponseBase:
    if download and (header := content_disposition_header(True, download)):
        response["Content-Disposition"] = header
    return response


@require_safe
@_private
def example(request: VisitorRequest, public_id: str, kind: str) -> HttpResponseBase:
    found = example_files.ensure_local(intake.owned(request.visitor, public_id))
    paths = {"image": found.image_path, "mask": found.mask_path, "thumbnail": found.thumbnail_path}
    if kind not in paths:
        raise NotFound("An image has no such file.")
    return _send(paths[kind])


@require_safe
@_private
def example_overlay(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """The image with its mask laid over, as the masks are read now; small, or with ?large to look at."""
    found = example_files.ensure_local(intake.owned(request.visitor, public_id))
    with example_files.in_memory(found, memory.SHOWN):
        return webp(_overlay(request, found, "large" in request.GET))


def _overlay(request: VisitorRequest, found: Example, large: bool) -> Image.Image:
    drafts = list(intake.drafts(request.visitor)) if found.draft else []
    mapping, ids = None, None
    try:
        mapping = finetune_context.mapping_of(request, found.runs.first(), drafts)
        ids = example_files.ids_of(found, mapping, small=not large) if mapping and not found.to_paint else None
    except InvalidFile:  # masks that do not go together: the image alone
        pass
    try:
        with stored.opened(found.image_path if large else found.thumbnail_path) as opened:
            small = render.thumbnail(opened, LARGE)
    except OSError as error:
        raise NotFound("The files of this image are gone. Remove it and upload it again.") from error
    if mapping is not None and ids is not None:
        shown = np.asarray(Image.fromarray(ids).resize(small.size, Image.Resampling.NEAREST))
        classes = [row for row in mapping.trained if row["name"] != "background"]
        small = render.overlay(small, shown, classes, 1.0 if large else 0.55)
        small = render.hatched(small, shown == render.IGNORE)
    return small


@require_safe
@_private
def run(request: VisitorRequest, public_id: str, name: str) -> HttpResponseBase:
    if not RUN_FILE.fullmatch(name):
        raise NotFound("A training has no such file.")
    found = runs.owned(request.visitor, public_id)
    return _send(found.folder / name, newer=found.unfinished)


@for_predict_keys
@require_safe
@_private
def analysis(request: VisitorRequest, public_id: str, kind: str) -> HttpResponseBase:
    """image, mask (palette PNG of class ids at the image's own size), overlay, confidence; with ?download as a file."""
    found = analyses.owned(request.visitor, public_id)
    path = analyses.file_of(found, kind if kind in KINDS else "")
    stem = Path(found.title).stem or "image"
    return _send(path, f"{stem}_{kind}{path.suffix}" if "download" in request.GET else "")


@for_predict_keys
@require_safe
def analysis_objects(request: VisitorRequest, public_id: str, key: str, format: str) -> HttpResponseBase:
    """A measurement's objects in one of the formats of imaging/object_formats.py, or `view` for the viewer.

    The object numbers' PNG is shown, everything else is offered as a download; with ?download that, too.
    """
    row = measurements.owned(request.visitor, public_id, key)
    path = measurements.file_of(row, format)
    if format == VIEW:
        return FileResponse(path.open("rb"), content_type="application/json")
    kind = named(format)
    response = FileResponse(path.open("rb"), content_type=kind.media_type)
    if format == INSTANCES.key and "download" not in request.GET:
        return response
    stem = Path(row.analysis.title).stem or "image"
    return _as(response, f"{stem}_{format}{path.suffix}")


@require_safe
@_private
def analysis_view(request: VisitorRequest, public_id: str, kind: str) -> HttpResponseBase:
    """What pages look at: class ids (`ids`) or confidence as a grey PNG of the shown image's size, or `small`.

    Grey, because a browser gives a script the colours of a palette PNG and never its indices.
    """
    found = analyses.owned(request.visitor, public_id)
    if kind in ("ids", "small"):
        path = analyses.viewed_mask(found)
    else:
        path = analyses.file_of(found, "confidence" if kind == "confidence" else "")
    image = analyses.file_of(found, "image")
    with stored.opened(path, memory.SHOWN) as opened:
        return _looked_at(found, kind, Image.fromarray(np.asarray(decode.pixels(opened))), image)


def _looked_at(found: Analysis, kind: str, values: Image.Image, image: Path) -> HttpResponse:
    if kind == "small":
        small = _thumbnail(found, image)
        ids = np.asarray(values.resize(small.size, Image.Resampling.NEAREST))
        return webp(render.overlay(small, ids, found.classes, 0.5))
    scale = analyses.SHOWN_SIDE / max(values.size)
    if scale < 1:
        size = (max(1, round(values.width * scale)), max(1, round(values.height * scale)))
        values = values.resize(size, Image.Resampling.NEAREST)
    return _png(values)


def _thumbnail(found: Analysis, image: Path) -> Image.Image:
    """Of the image as it came, or of the smaller copy that Segapp has made of a large one."""
    if image == found.image_path:
        return render.thumbnail(Image.fromarray(decode.stored(image)), SMALL)
    with stored.opened(image, memory.SHOWN) as opened:
        return render.thumbnail(opened, SMALL)


@require_safe
@_private
def model_preview(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    return _send(registry.owned(request.visitor, public_id).preview_path)
