"""From images and masks to a model: upload, look, edit classes, train, watch, judge."""

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from segapp.forms import ClassesForm, Spoken, TrainForm, UploadForm
from segapp.imaging import InvalidFile, sample
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import TrainingRun
from segapp.services import continuing, intake, limits, paint_classes, runs
from segapp.views import finetune_context
from segapp.views.common import PageRequest, changed, flash

STILL_TO_PAINT = "This image is not painted yet. Paint it, say that there is nothing to paint on it, or remove it."
NOTHING_YET = "There is nothing to train on yet. Upload images with their masks first."


def _owned(request: PageRequest, public_id: str) -> TrainingRun:
    try:
        return runs.owned(request.visitor, public_id)
    except runs.RunNotFound as error:
        raise Http404(str(error)) from error


@require_http_methods(["GET", "HEAD", "POST"])
def finetune(request: PageRequest) -> HttpResponse:
    if request.method != "POST":
        return _show(request)
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return refuse(request, said(form))
    sent = form.cleaned_data
    try:
        limits.check(request, limits.UPLOADS)
        intake.store(request.visitor, sent["images"], sent["masks"], sent["archives"])
    except intake.InvalidUpload as refusal:
        return refuse(request, refusal.problems)
    except limits.TooOften as late:
        return refuse(request, [{"file": "", "message": str(late)}])
    return _done(request)


@require_POST
def samples(request: PageRequest) -> HttpResponse:
    """The sample set as drafts: a tour for those who have no masks at hand."""
    try:
        intake.store_samples(request.visitor)
    except intake.InvalidUpload as refusal:
        return refuse(request, refusal.problems)
    names = {str(value): {"name": name} for value, name in enumerate(sample.CLASSES)}
    request.session[finetune_context.EDITS] = {**names, **request.session.get(finetune_context.EDITS, {})}
    return _done(request)


@require_POST
def remove(request: PageRequest, public_id: str) -> HttpResponse:
    intake.remove(request.visitor, public_id)
    if not intake.drafts(request.visitor).exists():
        request.session.pop(finetune_context.EDITS, None)  # names of other masks do not fit the next ones
    return _done(request)


@require_POST
def clear(request: PageRequest) -> HttpResponse:
    intake.clear_drafts(request.visitor)
    for key in (finetune_context.EDITS, finetune_context.CONTINUE):
        request.session.pop(key, None)
    return _done(request)


@require_POST
def classes(request: PageRequest) -> HttpResponse:
    """Keep what was changed in the class table, so that the images follow and a reload loses nothing."""
    try:
        _keep_edits(request)
    except InvalidFile as error:
        return refuse(request, [problem(error)])
    return _done(request)


@require_POST
def train(request: PageRequest) -> HttpResponse:
    form = TrainForm(request.POST)
    if not form.is_valid():
        return refuse(request, said(form))
    drafts = list(intake.drafts(request.visitor))
    if not drafts:
        return refuse(request, [{"file": "", "message": NOTHING_YET}])
    if unpainted := [draft.stem for draft in drafts if draft.to_paint]:
        return refuse(request, [{"file": stem, "message": STILL_TO_PAINT} for stem in unpainted])
    try:
        limits.check(request, limits.TRAININGS)
        mapping, model = _keep_edits(request), finetune_context.continued(request)
        if model is not None:
            edits = request.session[finetune_context.EDITS]
            continuing.start(request.visitor, model, drafts, edits, **form.cleaned_data)
        else:
            runs.start(request.visitor, drafts, mapping, **form.cleaned_data)
        for key in (finetune_context.EDITS, finetune_context.CONTINUE):
            request.session.pop(key, None)
    except InvalidFile as error:
        return refuse(request, [problem(error)])
    except limits.TooOften as late:
        return refuse(request, [{"file": "", "message": str(late)}])
    except runs.AlreadyTraining as busy:
        flash(request, str(busy), level=messages.WARNING)
    return _done(request)


@require_safe
def run(request: PageRequest, public_id: str) -> HttpResponse:
    """The live figures, asked once a second; the whole live part when its buttons are no longer those `shown`.

    When the run has ended it is the whole studio, which asks no more.
    """
    found = _owned(request, public_id)
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
def stop(request: PageRequest, public_id: str) -> HttpResponse:
    runs.stop(_owned(request, public_id), keep=request.POST.get("keep") == "true")
    return _done(request)


@require_POST
def again(request: PageRequest, public_id: str) -> HttpResponse:
    """The images of an earlier run as drafts again: more can be added, classes changed, and trained anew."""
    found = _owned(request, public_id)
    intake.draft_again(request.visitor, found.examples.all())
    request.session[finetune_context.EDITS] = {
        **finetune_context.edits_of(found),
        **request.session.get(finetune_context.EDITS, {}),
    }
    request.session.pop(finetune_context.CONTINUE, None)
    return redirect("finetune")


def _keep_edits(request: PageRequest) -> ClassMapping:
    """The drafts' mapping with what the class table says now, kept in the session. Raises InvalidFile."""
    drafts = list(intake.drafts(request.visitor))
    kept = dict(request.session.get(finetune_context.EDITS, {}))
    known = finetune_context.known_classes(request)
    mapping = intake.review(drafts, kept, known)
    source_of = {row["id"]: row["source"] for row in mapping.classes}
    for edit in ClassesForm(request.POST, mapping.classes).edits():
        kept[source_of[edit.pop("id")]] = edit
    mapping = intake.review(drafts, kept, known)
    request.session[finetune_context.EDITS] = kept
    paint_classes.share_classes(request.visitor, paint_classes.classes_of(mapping))
    return mapping


def said(form: Spoken) -> list[dict[str, str]]:
    """What is wrong with a form, as problems to show."""
    return [{"file": "", "message": text} for text in form.words()]


def problem(error: InvalidFile) -> dict[str, str]:
    return {"file": error.file, "message": f"{error.problem} {error.advice}"}


def _done(request: PageRequest) -> HttpResponse:
    return _show(request) if request.htmx else redirect("finetune")


def _show(request: PageRequest, problems: list[dict[str, str]] | None = None, status: int = 200) -> HttpResponse:
    """The page, or the studio alone when htmx asks."""
    context = finetune_context.context(request)
    if problems:
        context |= {"problems": problems, "problems_title": ""}
    context["oob"] = bool(request.htmx)
    return render(request, "finetune.html#studio" if request.htmx else "finetune.html", context, status=status)


def refuse(request: PageRequest, problems: list[dict[str, str]]) -> HttpResponse:
    """Said above the steps; what the visitor has chosen in a form stays chosen."""
    if not request.htmx:
        return _show(request, problems, status=422)
    response = render(request, "problems.html", {"problems": problems}, status=422)
    response["HX-Retarget"], response["HX-Reswap"] = "#studio-problems", "innerHTML"
    return response
