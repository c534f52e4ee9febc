"""Any two versions, or one and the base, on any image: choose, and see both on the comparison of Analyze."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from registry import services as registry
from registry.models import FileState, UserModel
from segapp.forms import CompareForm
from segapp.models import Analysis
from segapp.services import analyses, comparisons, intake, limits
from segapp.services.errors import Problem, UserError
from segapp.views.common import shows_again
from segapp.visitors import VisitorRequest

BASE = "base"
WAIT_SECONDS = 10.0  # a post waits this long for both results before it shows the page that waits
SHOWN = 8  # of the last results


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    return _ask(request, error.problems)


@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def compare(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return _ask(request)
    form = CompareForm(request.POST, request.FILES)
    sent = form.checked()
    left, right = _model(request, sent["left"]), _model(request, sent["right"])
    limits.check(request, limits.ANALYSES)
    first, second = _run(request, form, left, right)
    for result in (first, second):
        analyses.wait(result, WAIT_SECONDS)
    return redirect(f"{reverse('analyze-compare', args=[second.public_id])}?with={first.public_id}")


def _run(
    request: VisitorRequest, form: CompareForm, left: UserModel | None, right: UserModel | None
) -> tuple[Analysis, Analysis]:
    source = form.cleaned_data["source"]
    if source in ("upload", "sample"):
        file = form.cleaned_data["file"] if source == "upload" else intake.sample_image()
        return comparisons.of_upload(request.visitor, file, file.name or "image", left, right)
    return comparisons.of_result(analyses.owned(request.visitor, source), left, right)


def _ask(request: VisitorRequest, problems: list[Problem] | None = None) -> HttpResponse:
    """The form; `left` and `right` of the address, or of the refused post, are chosen in it."""
    choices = alternatives(request.visitor)
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


def alternatives(visitor: str) -> list[tuple[str, str]]:
    """(key, label) of all that can be compared: the versions, newest first, then the base."""
    own = registry.versions(visitor).filter(file_state=FileState.OK)
    found = [(model.public_id, f"{model.name}{' (active)' if model.active else ''}") for model in own]
    base = registry.current_base()
    return [*found, (BASE, f"{base.name} (base model)")] if base else found


def _model(request: VisitorRequest, key: str) -> UserModel | None:
    """The chosen version; None is the base."""
    return None if key == BASE else registry.owned(request.visitor, key)
