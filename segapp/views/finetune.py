"""From images and masks to a model: upload, look, edit classes, train, watch, judge."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from segapp.forms import ClassesForm, ReadAgainForm, ReadingForm, TrainForm, UploadForm
from segapp.imaging import sample
from segapp.imaging.class_mapping import ClassMapping
from segapp.services import continuing, example_copies, intake, limits, paint_classes, runs, training_sets
from segapp.services.errors import InvalidForm, Overloaded, Problem, UserError
from segapp.views import finetune_context
from segapp.views.common import changed, flash, shows_again
from segapp.visitors import VisitorRequest

NOTHING_YET = "There is nothing to train on yet. Upload images with their masks first."
NOTHING_PAINTED = "Nothing is painted yet. Draw a few strokes of each class on an image first."


def refuse(request: VisitorRequest, error: UserError, **named: Any) -> HttpResponse:
    """Shown above the steps; what the visitor has chosen in a form stays chosen."""
    if not request.htmx:
        overloaded = isinstance(error, Overloaded)
        response = _show(request, error.problems, status=503 if overloaded else 422)
        if overloaded:
            response["Retry-After"] = str(error.retry_after)
        return response
    response = render(request, "problems.html", {"problems": error.problems}, status=422)
    response["HX-Retarget"], response["HX-Reswap"] = "#studio-problems", "innerHTML"
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(refuse)
def finetune(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    sent = UploadForm(request.POST, request.FILES).checked()
    limits.check(request, limits.UPLOADS)
    choice = sent["image_input"]
    intake.store(request.visitor, sent["images"], sent["masks"], sent["archives"], image_input=choice)
    return _done(request)


@require_POST
@shows_again(refuse)
def samples(request: VisitorRequest) -> HttpResponse:
    """The sample set as drafts: a tour for those who have no masks at hand."""
    intake.store_samples(request.visitor)
    names = {str(value): {"name": name} for value, name in enumerate(sample.CLASSES)}
    _store_edits(request, {**names, **request.session.get(finetune_context.EDITS, {})})
    return _done(request)


@require_POST
def remove(request: VisitorRequest, public_id: str) -> HttpResponse:
    intake.remove(request.visitor, public_id)
    if not intake.drafts(request.visitor).exists():
        request.session.pop(finetune_context.EDITS, None)  # names of other masks do not fit the next ones
    return _done(request)


@require_POST
def clear(request: VisitorRequest) -> HttpResponse:
    intake.clear_drafts(request.visitor)
    for key in (finetune_context.EDITS, finetune_context.CONTINUE):
        request.session.pop(key, None)
    return _done(request)


@require_POST
@shows_again(refuse)
def classes(request: VisitorRequest) -> HttpResponse:
    """Keep what was changed in the class table, so that the images follow and a reload loses nothing."""
    _keep_edits(request)
    return _done(request)


@require_POST
@shows_again(refuse)
def reading(request: VisitorRequest) -> HttpResponse:
    """Another way to read all masks: as numbered objects or classes, turned round, or with what was ignored."""
    sent = ReadingForm(request.POST).checked()
    kept = dict(request.session.get(finetune_context.EDITS, {}))
    choices = dict(kept.get(intake.CHOICES, {}))
    if sent["objects"]:
        choices["objects"] = {"true": True, "false": False}.get(sent["objects"])
    if sent["swap"]:
        choices["swap"] = sent["swap"] == "true"
    kept[intake.CHOICES] = choices
    if sent["take"]:
        kept[sent["take"]] = {**kept.get(sent["take"], {}), "ignore": False, "name": "background"}
    intake.review(list(intake.drafts(request.visitor)), kept, finetune_context.known_classes(request))
    _store_edits(request, kept)
    return _done(request)


@require_POST
@shows_again(refuse)
def image_input(request: VisitorRequest) -> HttpResponse:
    """Another page or other channels of the images that have a choice."""
    sent = ReadAgainForm(request.POST).checked()
    example_copies.read_again(request.visitor, sent["image_input"])
    return _done(request)


@require_POST
@shows_again(refuse)
def train(request: VisitorRequest) -> HttpResponse:
    """On all that has a mask. Images that are not painted on wait, and then the others stay beside them."""
    sent = TrainForm(request.POST).checked()
    drafts = list(intake.drafts(request.visitor))
    painted = intake.ready(drafts)
    if not painted:
        raise InvalidForm([NOTHING_PAINTED if drafts else NOTHING_YET])
    limits.check(request, limits.TRAININGS)
    mapping, model = _keep_edits(request), finetune_context.continued(request)
    waiting = len(painted) < len(drafts)
    try:
        if model is not None:
            edits = request.session[finetune_context.EDITS]
            continuing.start(request.visitor, model, painted, edits, keep_drafts=waiting, **sent)
        else:
            runs.start(request.visitor, painted, mapping, keep_drafts=waiting, **sent)
        for key in () if waiting else (finetune_context.EDITS, finetune_context.CONTINUE):
            request.session.pop(key, None)
    except runs.AlreadyTraining as busy:
        flash(request, str(busy), level=messages.WARNING)
    return _done(request)


@require_safe
def run(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The live figures, asked once a second; the whole live part when its buttons are no longer those `shown`.

    When the run has ended it is the whole studio, which asks no more.
    """
    found = runs.owned(request.visitor, public_id)
    if not request.htmx:
        return redirect("finetune")
    if found.unfinished:
        same = request.GET.get("shown") == f"{found.state}-{found.stop}"
        context = {"run": found, **finetune_context.live_parts(found)}
        response = render(request, "finetune/figures.html" if same else "finetune/live.html", context)
        if not same:
            response["HX-Retarget"] = "#run-live"
        return response
    response = _show(request)
    response["HX-Retarget"], response["HX-Reswap"] = "#studio", "outerHTML"
    return changed(response)


@require_POST
def stop(request: VisitorRequest, public_id: str) -> HttpResponse:
    runs.stop(runs.owned(request.visitor, public_id), keep=request.POST.get("keep") == "true")
    return _done(request)


@require_POST
def again(request: VisitorRequest, public_id: str) -> HttpResponse:
    """The images of an earlier run as drafts again: more can be added, classes changed, and trained again."""
    found = runs.owned(request.visitor, public_id)
    intake.draft_again(request.visitor, found.examples.all())
    _store_edits(request, {**finetune_context.edits_of(found), **request.session.get(finetune_context.EDITS, {})})
    request.session.pop(finetune_context.CONTINUE, None)
    return redirect("finetune")


def _keep_edits(request: VisitorRequest) -> ClassMapping:
    """The drafts' mapping with what the class table says now, kept in the session. Raises InvalidFile."""
    drafts = list(intake.drafts(request.visitor))
    kept = dict(request.session.get(finetune_context.EDITS, {}))
    known = finetune_context.known_classes(request)
    mapping = intake.review(drafts, kept, known)
    source_of = {row["id"]: row["source"] for row in mapping.classes}
    for edit in ClassesForm(request.POST, mapping.classes).edits():
        kept[source_of[edit.pop("id")]] = edit
    mapping = intake.review(drafts, kept, known)
    _store_edits(request, kept)
    paint_classes.share_classes(request.visitor, paint_classes.classes_of(mapping))
    return mapping


def _store_edits(request: VisitorRequest, edits: dict[str, Any]) -> None:
    """Keep the class table's changes in the session, and with the training set that is open."""
    request.session[finetune_context.EDITS] = edits
    training_sets.keep_edits(request.visitor, edits)


def _done(request: VisitorRequest) -> HttpResponse:
    return _show(request) if request.htmx else redirect("finetune")


def _show(request: VisitorRequest, problems: list[Problem] | None = None, status: int = 200) -> HttpResponse:
    """The page, or the studio alone when htmx asks."""
    context = finetune_context.context(request)
    if problems:
        context |= {"problems": problems, "problems_title": ""}
    context["oob"] = bool(request.htmx)
    return render(request, "finetune.html#studio" if request.htmx else "finetune.html", context, status=status)
