"""Share links: made and revoked by the owner, and the page where guests analyze with that one model."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry import services as registry
from segapp.forms import AnalyzeForm, ShareForm
from segapp.models import Analysis, ModelShare
from segapp.services import analyses, limits, sharing
from segapp.services.errors import UserError
from segapp.views.analyze import LAYERS
from segapp.views.common import flash, shows_again
from segapp.visitors import VisitorRequest

POLL_SECONDS = 2.9  # nearly until the page asks again
WAIT_SECONDS = 10.0


# --- the owner --------------------------------------------------------------------------------------------


def _flash_error(request: VisitorRequest, error: UserError, public_id: str) -> HttpResponse:
    flash(request, str(error), level=messages.ERROR)
    return _to_panel(public_id)


@require_POST
@shows_again(_flash_error)
def share(request: VisitorRequest, public_id: str) -> HttpResponse:
    model = registry.owned(request.visitor, public_id)
    sharing.create(model, **ShareForm(request.POST).checked())
    flash(request, f"Whoever has the link can analyze with “{model.name}”, and nothing else.")
    return _to_panel(model.public_id)


@require_POST
def revoke(request: VisitorRequest, token: str) -> HttpResponse:
    gone = sharing.revoke(request.visitor, token)
    flash(request, f"The link to “{gone.model.name}” is revoked and can no longer be used.")
    return _to_panel(gone.model.public_id)


def _to_panel(public_id: str) -> HttpResponse:
    return redirect(f"{reverse('models')}?open={public_id}&panel=share#model-{public_id}")


# --- the guest --------------------------------------------------------------------------------------------


def _show_error(request: VisitorRequest, error: UserError, token: str) -> HttpResponse:
    found, _ = sharing.resolve(token)
    return _show(request, found, problems=error.problems)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def shared(request: VisitorRequest, token: str) -> HttpResponse:
    """The model behind a link: send it an image. The result is the guest's own."""
    found, _ = sharing.resolve(token)
    if request.method != "POST":
        return _show(request, found)
    file = AnalyzeForm(request.POST, request.FILES).checked()["file"][0]
    limits.check(request, limits.ANALYSES)
    analysis = sharing.submit(request.visitor, token, file, file.name or "image")
    analyses.wait(analysis, WAIT_SECONDS)
    return redirect("shared-result", token, analysis.public_id)


@never_cache
@require_safe
def shared_result(request: VisitorRequest, token: str, public_id: str) -> HttpResponse:
    """One of the guest's own results, below the link that it was made through."""
    found, _ = sharing.resolve(token)
    analysis = analyses.owned(request.visitor, public_id)
    if request.htmx and analysis.unfinished:
        analyses.wait(analysis, POLL_SECONDS)
        if analysis.unfinished:
            return HttpResponse(status=204)  # the page asks again
    return _show(request, found, analysis)


def _show(
    request: VisitorRequest,
    found: ModelShare,
    analysis: Analysis | None = None,
    problems: list[dict[str, str]] | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {
        "share": found,
        "model": found.model,
        "mine": found.model.visitor == request.visitor,
        "analysis": analysis,
        "problems": problems or [],
        "layers": LAYERS,
        "classes": sorted(analysis.classes, key=lambda row: -row["pixels"]) if analysis else [],
        "results": sharing.results(request.visitor, found),
    }
    return render(request, "share/shared.html", context, status=422 if problems else 200)
