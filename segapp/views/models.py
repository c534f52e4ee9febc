"""The visitor's versions: look, activate, rename, download, delete and bring back."""

import json

from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from registry import services as registry
from registry import store
from registry.models import UserModel
from segapp.forms import RenameForm
from segapp.views.common import PageRequest, after_change, back, say


def _owned(request: PageRequest, public_id: str) -> UserModel:
    try:
        return registry.owned(request.visitor, public_id)
    except registry.ModelNotFound as error:
        raise Http404(str(error)) from error


@require_safe
def models(request: PageRequest) -> HttpResponse:
    context = {
        "versions": registry.versions(request.visitor),
        "trashed": UserModel.objects.filter(visitor=request.visitor).exclude(trashed_at=None).order_by("-trashed_at"),
        "trash_days": settings.SEGAPP_TRASH_DAYS,
        "storage_used": registry.storage_used(request.visitor),
        "storage_limit": settings.SEGAPP_STORAGE_BYTES,
    }
    return render(request, "models.html", context)


@require_POST
def activate(request: PageRequest, public_id: str) -> HttpResponse:
    try:
        model = registry.activate(request.visitor, public_id)
    except registry.ModelNotFound as error:
        raise Http404(str(error)) from error
    say(request, f"“{model.name}” answers now, on every page.", undo=reverse("reset"))
    return after_change(request, "models")


@require_POST
def rename(request: PageRequest, public_id: str) -> HttpResponse:
    model, form = _owned(request, public_id), RenameForm(request.POST)
    if not form.is_valid():
        say(request, " ".join(form.words()), level=messages.ERROR)
        return redirect("models")
    registry.rename(request.visitor, model.public_id, form.cleaned_data["name"])
    say(request, f"“{model.name}” is now called “{form.cleaned_data['name']}”.")
    return redirect("models")


@require_POST
def delete(request: PageRequest, public_id: str) -> HttpResponse:
    model = _owned(request, public_id)
    registry.trash(request.visitor, model.public_id)
    days = settings.SEGAPP_TRASH_DAYS
    undo = reverse("model-undelete", args=[model.public_id])
    say(request, f"“{model.name}” is in the trash and will be deleted for good after {days} days.", undo=undo)
    return back(request, "models")


@require_POST
def undelete(request: PageRequest, public_id: str) -> HttpResponse:
    try:
        model = registry.untrash(request.visitor, public_id)
    except registry.ModelNotFound as error:
        raise Http404(str(error)) from error
    say(request, f"“{model.name}” is back in the list.")
    return redirect("models")


@require_safe
def download(request: PageRequest, public_id: str, kind: str) -> HttpResponseBase:
    """The weights as they are kept (pth), or the card that says what they are (json)."""
    model = _owned(request, public_id)
    if kind == "pth":
        if not store.fetch(model.path).is_file():
            raise Http404(f"The file of “{model.name}” is gone. Choose another version, or train again.")
        return FileResponse(model.path.open("rb"), as_attachment=True, filename=model.path.name)
    response = HttpResponse(json.dumps(_card(model), indent=2, ensure_ascii=False), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{model.key}.json"'
    return response


def _card(model: UserModel) -> dict[str, object]:
    return {
        "key": model.key,
        "name": model.name,
        "base": {"key": model.base_key, "name": model.base_name, "sha256": model.base_sha256},
        "classes": model.classes,
        "metrics": model.metrics,
        "recipe": model.recipe,
        "images": model.image_count,
        "training_seconds": model.seconds,
        "created": model.created.isoformat(),
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
    }
