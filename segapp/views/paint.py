"""Painting masks: photos in, the page with the canvas, its saves; mending a result, and training on from a model."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry import services as registry
from registry.models import UserModel
from segapp.forms import TrainForm, UploadForm
from segapp.imaging import InvalidFile, formats, painted, palette
from segapp.imaging.render import palette_png
from segapp.models import Example
from segapp.paint_forms import PaintForm
from segapp.services import analyses, continuing, example_files, intake, limits, paint_classes, painting, runs
from segapp.views import finetune, finetune_context
from segapp.views.common import PageRequest, back, flash

TOOLS = (
    ("brush", "Brush", "B", "brush"),
    ("eraser", "Eraser", "E", "eraser"),
    ("polygon", "Polygon", "P", "polygon"),
    ("fill", "Fill", "F", "fill"),
    ("region", "Region select", "S", "region"),
    ("hand", "Move", "M", "hand"),
)
BRUSH = 0.035  # of the image's longer side, at first


def _owned(request: PageRequest, public_id: str) -> Example:
    try:
        return painting.owned(request.visitor, public_id)
    except painting.PaintingNotFound as error:
        raise Http404(str(error)) from error


def _model(request: PageRequest, public_id: str) -> UserModel:
    try:
        return registry.owned(request.visitor, public_id)
    except registry.ModelNotFound as error:
        raise Http404(str(error)) from error


@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: PageRequest) -> HttpResponse:
    """Photos without masks: they become drafts, and the first one is opened."""
    if request.method != "POST":
        return redirect("finetune")
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        words = [{"file": "", "message": "No images were chosen. Choose one or more to paint on."}]
        return finetune.refuse(request, words if not request.FILES else finetune.said(form))
    try:
        limits.check(request, limits.UPLOADS)
        made = painting.begin(request.visitor, form.cleaned_data["images"], finetune_context.known_classes(request))
    except intake.InvalidUpload as refusal:
        return finetune.refuse(request, refusal.problems)
    except limits.TooOften as late:
        return finetune.refuse(request, [{"file": "", "message": str(late)}])
    return redirect("finetune-paint", made[0].public_id)


@require_POST
def to_edit(request: PageRequest, public_id: str) -> HttpResponse:
    """Any draft as one to paint on; an uploaded mask becomes a painted one."""
    try:
        edits = request.session.get(finetune_context.EDITS, {})
        found = painting.to_edit(request.visitor, public_id, edits, finetune_context.known_classes(request))
    except painting.PaintingNotFound as error:
        raise Http404(str(error)) from error
    except InvalidFile as error:
        return finetune.refuse(request, [finetune.problem(error)])
    return redirect("finetune-paint", found.public_id)


@require_safe
@never_cache
def paint(request: PageRequest, public_id: str) -> HttpResponse:
    example = _owned(request, public_id)
    own = example.painting
    siblings = [draft for draft in intake.drafts(request.visitor).filter(runs=None) if hasattr(draft, "painting")]
    start = own.corrects or finetune_context.continued(request)
    place = next(k for k, draft in enumerate(siblings) if draft.pk == example.pk)
    context = {
        "example": example,
        "painting": own,
        "siblings": siblings if len(siblings) > 1 else [],
        "number": place + 1,
        "tools": TOOLS,
        "brush": max(3, min(120, round(BRUSH * max(example.width, example.height)))),
        "next": siblings[(place + 1) % len(siblings)],
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
        },
        **_mended(request, own.corrects),
    }
    return render(request, "paint.html", context)


def _classes(request: PageRequest, example: Example) -> list[dict[str, Any]]:
    """What to paint with: the image's own classes and those of the other drafts; a mended result keeps to its own."""
    own: list[dict[str, Any]] = example.painting.classes
    if example.painting.origin:
        return own
    drafts, edits = list(intake.drafts(request.visitor)), request.session.get(finetune_context.EDITS, {})
    try:
        there = paint_classes.starting_classes(drafts, edits, finetune_context.known_classes(request))
    except InvalidFile:
        there = []
    return painted.known_by_id([own, there]) if own else there


def _mended(request: PageRequest, model: UserModel | None) -> dict[str, Any]:
    """What can be trained on from here: the model, and how many images of which kind."""
    if not painting.usable(model) or model is None:
        return {}
    added = continuing.corrections(request.visitor, model)
    return {"model": model, "learnt": len(continuing.earlier(model)), "added": len(added)}


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def mask(request: PageRequest, public_id: str) -> HttpResponse:
    """The painted values as a grey PNG, with their revision; POST saves them."""
    example = _owned(request, public_id)
    if request.method == "POST":
        return _save(request, example)
    values = example_files.painted_values(example)
    response = HttpResponse(example_files.grey_png(values), content_type="image/png")
    response["X-Revision"] = str(example.painting.revision)
    return response


def _save(request: PageRequest, example: Example) -> JsonResponse:
    form = PaintForm(request.POST, request.FILES)
    if not form.is_valid():
        return _error(422, "invalid", " ".join(form.words()))
    before = {row["id"]: row for row in example.painting.classes}
    try:
        saved = painting.save(example, form.save_of())
    except InvalidFile as error:
        return _error(422, "refused", f"{error.problem} {error.advice}")
    except painting.PaintedElsewhere as other:
        return _error(409, "painted_elsewhere", str(other), revision=other.revision)
    except painting.PaintingClosed as closed:
        return _error(409, "closed", str(closed))
    _forget_edits(request, [row for row in saved.classes if row != before.get(row["id"])])
    return JsonResponse({"revision": saved.revision, "ready": saved.ready})


@require_POST
def forget_class(request: PageRequest, public_id: str, number: int) -> JsonResponse:
    """A class that was added and is painted nowhere goes, on all images."""
    _owned(request, public_id)
    try:
        paint_classes.remove(request.visitor, number, finetune_context.known_classes(request))
    except InvalidFile as error:
        return _error(422, "refused", f"{error.problem} {error.advice}")
    edits = request.session.get(finetune_context.EDITS, {})
    if edits.pop(f"painted {number}", None):
        request.session[finetune_context.EDITS] = edits
    return JsonResponse({"status": "ok"})


def _forget_edits(request: PageRequest, changed: list[dict[str, Any]]) -> None:
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


def _error(status: int, code: str, message: str, **more: Any) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message, **more}}, status=status)


@require_safe
@never_cache
def download(request: PageRequest, public_id: str) -> HttpResponse:
    """The mask as it will be learnt from: a palette PNG of class ids at the image's own size, 255 is ignore."""
    example = _owned(request, public_id)
    values = painted.as_mask(example_files.painted_values(example), example.painting.unpainted).codes
    response = HttpResponse(palette_png(values, example.painting.classes), content_type="image/png")
    response["Content-Disposition"] = f'attachment; filename="mask_{example.public_id[:8]}.png"'
    return response


@require_POST
def nothing(request: PageRequest, public_id: str) -> HttpResponse:
    """There is nothing to paint on this image: all of it is background."""
    example = _owned(request, public_id)
    try:
        unpainted = painting.nothing_there(example)
    except InvalidFile as error:
        return finetune.refuse(request, [finetune.problem(error)])
    name = next(row["name"] for row in example.painting.classes if row["id"] == unpainted)
    flash(request, f"All of “{example.stem}” counts as “{name}”.")
    return back(request, "finetune")


@require_POST
def fix(request: PageRequest, public_id: str) -> HttpResponse:
    """From a result to the paint page, with what the model found as the mask to mend."""
    try:
        analysis = analyses.owned(request.visitor, public_id)
        example = painting.from_analysis(analysis)
    except analyses.AnalysisNotFound as error:
        raise Http404(str(error)) from error
    except InvalidFile as error:
        flash(request, f"{error.problem} {error.advice}", level=messages.ERROR)
        return redirect("analyze-result", public_id)
    except intake.InvalidUpload as refusal:
        flash(request, " ".join(problem["message"] for problem in refusal.problems), level=messages.ERROR)
        return redirect("analyze-result", public_id)
    return redirect("finetune-paint", example.public_id)


@require_POST
def train_on(request: PageRequest, public_id: str) -> HttpResponse:
    """A new version from this model: all that it learnt from, and the results that were mended since."""
    model, form = _model(request, public_id), TrainForm(request.POST)
    if not form.is_valid():
        return finetune.refuse(request, finetune.said(form))
    added = continuing.corrections(request.visitor, model)
    try:
        limits.check(request, limits.TRAININGS)
        continuing.start(request.visitor, model, added, **form.cleaned_data)
    except InvalidFile as error:
        return finetune.refuse(request, [finetune.problem(error)])
    except limits.TooOften as late:
        return finetune.refuse(request, [{"file": "", "message": str(late)}])
    except runs.AlreadyTraining as busy:
        flash(request, str(busy), level=messages.WARNING)
    return redirect("finetune")


@require_POST
def improve(request: PageRequest, public_id: str) -> HttpResponse:
    """The next training starts from this model: images added in Fine-tune join what it learnt from."""
    model = _model(request, public_id)
    request.session[finetune_context.CONTINUE] = model.public_id
    return redirect("finetune")


@require_POST
def afresh(request: PageRequest) -> HttpResponse:
    """The next training starts from the base model again."""
    request.session.pop(finetune_context.CONTINUE, None)
    return redirect("finetune")
