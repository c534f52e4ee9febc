"""Painting masks: photos in, the page with the canvas, its saves; mending a result, and training on from a model."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry import services as registry
from registry.models import UserModel
from segapp.forms import TrainForm, UploadForm
from segapp.imaging import InvalidFile, formats, memory, painted, palette
from segapp.imaging.render import palette_png
from segapp.models import Example
from segapp.paint_forms import PaintForm
from segapp.services import (
    analyses,
    continuing,
    example_files,
    intake,
    limits,
    paint_classes,
    painting,
    proposals,
    runs,
)
from segapp.services.errors import UserError
from segapp.views import finetune, finetune_context
from segapp.views.common import back, flash, shows_again
from segapp.visitors import VisitorRequest

TOOLS = (
    ("brush", "Brush", "B", "brush"),
    ("eraser", "Eraser", "E", "eraser"),
    ("polygon", "Polygon", "P", "polygon"),
    ("fill", "Fill", "F", "fill"),
    ("region", "Region select", "S", "region"),
    ("click", "Click", "R", "click"),
    ("hand", "Move", "M", "hand"),
)
BRUSH = 0.02  # of the image's longer side, at first
STATES = {"none": "no strokes", "proposed": "proposed", "corrected": "corrected", "accepted": "accepted"}


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(finetune.refuse)
def begin(request: VisitorRequest) -> HttpResponse:
    """Photos without masks: they become drafts, and the first one is opened."""
    if request.method != "POST":
        return redirect("finetune")
    sent = UploadForm(request.POST, request.FILES).checked() if request.FILES else {"images": []}
    limits.check(request, limits.UPLOADS)
    made = painting.begin(request.visitor, sent["images"], finetune_context.known_classes(request))
    return redirect("finetune-paint", made[0].public_id)


@require_POST
@shows_again(finetune.refuse)
def to_edit(request: VisitorRequest, public_id: str) -> HttpResponse:
    """Any draft as one to paint on; an uploaded mask becomes a painted one."""
    edits = request.session.get(finetune_context.EDITS, {})
    found = painting.to_edit(request.visitor, public_id, edits, finetune_context.known_classes(request))
    return redirect("finetune-paint", found.public_id)


@require_safe
@never_cache
def paint(request: VisitorRequest, public_id: str) -> HttpResponse:
    example = painting.owned(request.visitor, public_id)
    own = example.painting
    start = own.corrects or finetune_context.continued(request)
    strip = _strip(request, example)
    place = next(k for k, other in enumerate(strip) if other.pk == example.pk)
    context = {
        "example": example,
        "painting": own,
        "scribbles": own.unpainted == formats.UNPAINTED,
        "strip": strip,
        "tools": TOOLS,
        "brush": max(3, min(120, round(BRUSH * max(example.width, example.height)))),
        "next": strip[(place + 1) % len(strip)],
        "page": {
            "width": example.width,
            "height": example.height,
            "revision": own.revision,
            "unpainted": own.unpainted,
            "nothing": own.nothing_there,
            "classes": _classes(request, example),
            "taken": continuing.taken_ids(start) if start else [],
            "most": formats.MAX_CLASSES,
            "unpainted_id": formats.UNPAINTED,
            "palette": [palette.color(k) for k in range(formats.UNPAINTED)],
            "model": own.corrects.name if own.corrects else "",
        },
        **_mended(request, own.corrects),
    }
    return render(request, "paint.html", context)


def _strip(request: VisitorRequest, example: Example) -> list[Any]:
    """The visitor's images to paint on, the one that teaches most first.

    Each with `why`, `state`, `state_says`, `place` by name, and `used`: a training has used it, so that painting goes
    on with a copy.
    """
    strip: list[Any] = [draft for draft in intake.drafts(request.visitor) if hasattr(draft, "painting")]
    used = set(
        Example.objects.filter(pk__in=[other.pk for other in strip]).exclude(runs=None).values_list("pk", flat=True)
    )
    for place, other in enumerate(strip):
        other.place, other.used, other.why = place, other.pk in used, proposals.why(other.painting)
        other.state = other.painting.state
        other.state_says = STATES[other.state]
    return proposals.in_order(strip)


def _classes(request: VisitorRequest, example: Example) -> list[dict[str, Any]]:
    """What to paint with: the image's own classes and those of the other drafts; a corrected result keeps its own."""
    own: list[dict[str, Any]] = example.painting.classes
    if example.painting.origin:
        return own
    drafts, edits = list(intake.drafts(request.visitor)), request.session.get(finetune_context.EDITS, {})
    try:
        there = paint_classes.starting_classes(drafts, edits, finetune_context.known_classes(request))
    except InvalidFile:
        there = []
    return painted.known_by_id([own, there]) if own else there


def _mended(request: VisitorRequest, model: UserModel | None) -> dict[str, Any]:
    """What can be trained on from here: the model, and how many images of which kind."""
    if model is None or not painting.usable(model) or model.visitor != request.visitor:
        return {}
    added = intake.ready(continuing.corrections(request.visitor, model))
    return {"model": model, "learnt": len(continuing.earlier(model)), "added": len(added)}


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def mask(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The painted values as a grey PNG, with their revision; POST saves them."""
    example = painting.owned(request.visitor, public_id)
    if request.method == "POST":
        return _save(request, example)
    with example_files.in_memory(example, memory.STORED):
        png = example_files.grey_png(example_files.painted_values(example))
    response = HttpResponse(png, content_type="image/png")
    response["X-Revision"] = str(example.painting.revision)
    return response


def _save(request: VisitorRequest, example: Example) -> JsonResponse:
    request.wants_json = True
    form = PaintForm(request.POST, request.FILES)
    form.checked()
    before = {row["id"]: row for row in example.painting.classes}
    saved = painting.save(example, form.save_of())
    _forget_edits(request, [row for row in saved.classes if row != before.get(row["id"])])
    return JsonResponse({"revision": saved.revision, "ready": saved.ready})


@require_POST
def forget_class(request: VisitorRequest, public_id: str, number: int) -> JsonResponse:
    """A class that was added and is painted nowhere goes, on all images."""
    request.wants_json = True
    painting.owned(request.visitor, public_id)
    paint_classes.remove(request.visitor, number, finetune_context.known_classes(request))
    edits = request.session.get(finetune_context.EDITS, {})
    if edits.pop(f"painted {number}", None):
        request.session[finetune_context.EDITS] = edits
    return JsonResponse({"status": "ok"})


def _forget_edits(request: VisitorRequest, changed: list[dict[str, Any]]) -> None:
    """What was named while painting is the latest word: the class table's older name and colour give way."""
    edits = request.session.get(finetune_context.EDITS, {})
    sources = {str(row.get("source", f"painted {row['id']}")) for row in changed}
    stale = sources & edits.keys()
    if stale:
        kept = {
            source: {key: value for key, value in edit.items() if source not in stale or key not in ("name", "color")}
            for source, edit in edits.items()
        }
        request.session[finetune_context.EDITS] = kept


@require_safe
@never_cache
def download(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The mask as it will be learnt from: a palette PNG of class ids at the image's own size, 255 is ignore."""
    example = painting.owned(request.visitor, public_id)
    with example_files.in_memory(example, memory.STORED):
        values = painted.as_mask(example_files.painted_values(example), example.painting.unpainted).codes
        png = palette_png(values, example.painting.classes)
    response = HttpResponse(png, content_type="image/png")
    response["Content-Disposition"] = f'attachment; filename="mask_{example.public_id[:8]}.png"'
    return response


@require_POST
@shows_again(finetune.refuse)
def nothing(request: VisitorRequest, public_id: str) -> HttpResponse:
    """There is nothing to paint on this image: all of it is background."""
    example = painting.owned(request.visitor, public_id)
    unpainted = painting.nothing_there(example)
    name = next(row["name"] for row in example.painting.classes if row["id"] == unpainted)
    flash(request, f"All of “{example.stem}” counts as “{name}”.")
    return back(request, "finetune")


def _flash_error(request: VisitorRequest, error: UserError, public_id: str) -> HttpResponse:
    flash(request, " ".join(problem["message"] for problem in error.problems), level=messages.ERROR)
    return redirect("analyze-result", public_id)


@require_POST
@shows_again(_flash_error)
def fix(request: VisitorRequest, public_id: str) -> HttpResponse:
    """From a result to the paint page, with what the model found as the proposal to mend."""
    example = painting.from_analysis(analyses.owned(request.visitor, public_id))
    return redirect("finetune-paint", example.public_id)


@require_POST
@shows_again(finetune.refuse)
def train_on(request: VisitorRequest, public_id: str) -> HttpResponse:
    """A new version from this model: all that it learnt from, and the results that were corrected since."""
    model = registry.owned(request.visitor, public_id)
    sent = TrainForm(request.POST).checked()
    added = intake.ready(continuing.corrections(request.visitor, model))
    limits.check(request, limits.TRAININGS)
    try:
        continuing.start(request.visitor, model, added, **sent)
    except runs.AlreadyTraining as busy:
        flash(request, str(busy), level=messages.WARNING)
    return redirect("finetune")


@require_POST
def improve(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The next training starts from this model: images added in Fine-tune join what it learnt from."""
    model = registry.owned(request.visitor, public_id)
    request.session[finetune_context.CONTINUE] = model.public_id
    return redirect("finetune")


@require_POST
def start_new(request: VisitorRequest) -> HttpResponse:
    """The next training starts from the base model again."""
    request.session.pop(finetune_context.CONTINUE, None)
    return redirect("finetune")
