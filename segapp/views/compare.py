"""Any two versions, or one and the base, on any image: choose, and see both on the comparison of Analyze."""

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from registry import services as registry
from registry.models import FileState, UserModel
from segapp.forms import CompareForm
from segapp.imaging import InvalidFile
from segapp.models import Analysis
from segapp.services import analyses, comparisons, intake, limits
from segapp.views.common import PageRequest

BASE = "base"
PATIENT_SECONDS = 10.0  # a post waits this long for both results before it shows the page that waits
SHOWN = 8  # of the last results


@require_http_methods(["GET", "HEAD", "POST"])
def compare(request: PageRequest) -> HttpResponse:
    if request.method != "POST":
        return _ask(request)
    form = CompareForm(request.POST, request.FILES)
    if not form.is_valid():
        return _ask(request, [{"file": "", "message": text} for text in form.words()])
    left, right = _model(request, form.cleaned_data["left"]), _model(request, form.cleaned_data["right"])
    try:
        limits.check(request, limits.ANALYSES)
        first, second = _run(request, form, left, right)
    except InvalidFile as error:
        return _ask(request, [{"file": error.file, "message": f"{error.problem} {error.advice}"}])
    except (analyses.Overloaded, limits.TooOften, registry.NoBaseReady, registry.ModelNotFound) as error:
        return _ask(request, [{"file": "", "message": str(error)}])
    for result in (first, second):
        analyses.wait(result, PATIENT_SECONDS)
    return redirect(f"{reverse('analyze-compare', args=[second.public_id])}?with={first.public_id}")


def _run(
    request: PageRequest, form: CompareForm, left: UserModel | None, right: UserModel | None
) -> tuple[Analysis, Analysis]:
    source = form.cleaned_data["source"]
    if source in ("upload", "sample"):
        file = form.cleaned_data["file"] if source == "upload" else intake.sample_image()
        return comparisons.of_upload(request.visitor, file, file.name or "image", left, right)
    try:
        return comparisons.of_result(analyses.owned(request.visitor, source), left, right)
    except analyses.AnalysisNotFound as error:
        raise Http404(str(error)) from error


def _ask(request: PageRequest, problems: list[dict[str, str]] | None = None) -> HttpResponse:
    """The form; `left` and `right` of the address, or of the refused post, are chosen in it."""
    choices = rivals(request.visitor)
    keys = [key for key, _ in choices]
    sent = request.POST if request.method == "POST" else request.GET
    right = sent.get("right", "")
    right = right if right in keys else keys[0] if keys else ""
    left = sent.get("left", "")
    left = left if left in keys and left != right else next((key for key in reversed(keys) if key != right), "")
    context = {
        "choices": choices,
        "left": left,
        "right": right,
        "source": sent.get("source", ""),
        "recent": analyses.recent(request.visitor, SHOWN),
        "problems": problems or [],
    }
    return render(request, "models/compare.html", context, status=422 if problems else 200)


def rivals(visitor: str) -> list[tuple[str, str]]:
    """(key, words) of all that can be compared: the versions, newest first, then the base."""
    own = registry.versions(visitor).filter(file_state=FileState.OK)
    found = [(model.public_id, f"{model.name}{' (active)' if model.active else ''}") for model in own]
    base = registry.current_base()
    return [*found, (BASE, f"{base.name} (base model)")] if base else found


def _model(request: PageRequest, key: str) -> UserModel | None:
    """The chosen version; None is the base."""
    if key == BASE:
        return None
    try:
        return registry.owned(request.visitor, key)
    except registry.ModelNotFound as error:
        raise Http404(str(error)) from error
