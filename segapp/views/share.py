"""Share links: made and revoked by the owner, and the page where guests analyze with that one model."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from registry import services as registry
from segapp import api_forms
from segapp.forms import AnalyzeForm, ShareForm
from segapp.imaging import InvalidFile
from segapp.models import Analysis, ModelShare
from segapp.services import analyses, limits, sharing
from segapp.views import api
from segapp.views.analyze import LAYERS
from segapp.views.common import PageRequest, flash
from segapp.views.models import owned

POLL_SECONDS = 2.0
PATIENT_SECONDS = 10.0


# --- the owner --------------------------------------------------------------------------------------------


@require_POST
def share(request: PageRequest, public_id: str) -> HttpResponse:
    model, form = owned(request, public_id), ShareForm(request.POST)
    if not form.is_valid():
        flash(request, " ".join(form.words()), level=messages.ERROR)
        return _to_panel(model.public_id)
    try:
        sharing.create(model, form.cleaned_data["label"])
    except sharing.TooManyLinks as error:
        flash(request, str(error), level=messages.ERROR)
    else:
        flash(request, f"Whoever has the link can analyze with “{model.name}”, and nothing else.")
    return _to_panel(model.public_id)


@require_POST
def revoke(request: PageRequest, token: str) -> HttpResponse:
    try:
        gone = sharing.revoke(request.visitor, token)
    except sharing.ShareNotFound as error:
        raise Http404(str(error)) from error
    flash(request, f"The link to “{gone.model.name}” is revoked: it leads nowhere any more.")
    return _to_panel(gone.model.public_id)


def _to_panel(public_id: str) -> HttpResponse:
    return redirect(f"{reverse('models')}?open={public_id}&panel=share#model-{public_id}")


# --- the guest --------------------------------------------------------------------------------------------


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def shared(request: PageRequest, token: str) -> HttpResponse:
    """The model behind a link: send it an image. The result is the guest's own."""
    try:
        found, _ = sharing.resolve(token)
    except sharing.ShareNotFound as error:
        return _gone(request, error)
    if request.method != "POST":
        return _show(request, found)
    form = AnalyzeForm(request.POST, request.FILES)
    if not form.is_valid():
        return _show(request, found, problems=[{"file": "", "message": text} for text in form.words()])
    file = form.cleaned_data["file"][0]
    try:
        limits.check(request, limits.ANALYSES)
        analysis = sharing.submit(request.visitor, token, file, file.name or "image")
    except sharing.ShareNotFound as error:
        return _gone(request, error)
    except InvalidFile as error:
        return _show(request, found, problems=[{"file": error.file, "message": f"{error.problem} {error.advice}"}])
    except (analyses.Overloaded, limits.TooOften, registry.NoBaseReady) as error:
        return _show(request, found, problems=[{"file": file.name or "", "message": str(error)}])
    analyses.wait(analysis, PATIENT_SECONDS)
    return redirect("shared-result", token, analysis.public_id)


@never_cache
@require_safe
def shared_result(request: PageRequest, token: str, public_id: str) -> HttpResponse:
    """One of the guest's own results, below the link that it was made through."""
    try:
        found, _ = sharing.resolve(token)
        analysis = analyses.owned(request.visitor, public_id)
    except sharing.ShareNotFound as error:
        return _gone(request, error)
    except analyses.AnalysisNotFound as error:
        raise Http404(str(error)) from error
    if request.htmx and analysis.unfinished:
        analyses.wait(analysis, POLL_SECONDS)
        if analysis.unfinished:
            return HttpResponse(status=204)  # the page asks again
    return _show(request, found, analysis)


def _show(
    request: PageRequest,
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


def _gone(request: PageRequest, error: sharing.ShareNotFound) -> HttpResponse:
    return render(request, "share/gone.html", {"message": str(error)}, status=404)


# --- API --------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@api.speaks_json
def api_shares(request: PageRequest, model_id: str) -> JsonResponse:
    """The model's links; POST makes one, with an optional `label`."""
    model = registry.owned(request.visitor, model_id)
    if request.method == "GET":
        rows = sharing.of(request.visitor).filter(model=model)
        return JsonResponse({"shares": [_plain(request, row) for row in rows]})
    form = api_forms.ShareForm(request.POST)
    if not form.is_valid():
        return api.error(422, "invalid", form.words())
    try:
        made = sharing.create(model, form.cleaned_data["label"])
    except sharing.TooManyLinks as many:
        return api.error(409, "too_many_links", str(many))
    return JsonResponse(_plain(request, made), status=201)


@require_http_methods(["DELETE"])
@api.speaks_json
def api_share(request: PageRequest, token: str) -> JsonResponse:
    sharing.revoke(request.visitor, token)
    return JsonResponse({"status": "ok"})


def _plain(request: HttpRequest, row: ModelShare) -> dict[str, Any]:
    return {
        "token": row.token,
        "url": request.build_absolute_uri(reverse("shared", args=[row.token])),
        "label": row.label,
        "uses": row.uses,
        "created": row.created.isoformat(),
        "last_used": row.last_used.isoformat() if row.last_used else None,
    }


urlpatterns = [
    path("<str:token>/", shared, name="shared"),
    path("<str:token>/<str:public_id>/", shared_result, name="shared-result"),
]
api_urlpatterns = [
    path("api/models/<str:model_id>/shares", api_shares, name="api-shares"),
    path("api/shares/<str:token>", api_share, name="api-share"),
]
