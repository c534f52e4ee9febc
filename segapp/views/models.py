"""The visitor's versions: look, activate, rename, download, delete and bring back."""

import json
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from registry import services as registry
from registry import store
from registry.models import UserModel
from segapp.forms import RenameForm
from segapp.models import Event, Export, ModelShare
from segapp.services import api_keys, exports, mydata, sharing, storage, transfer
from segapp.services.errors import NotFound, UserError
from segapp.views import hooks
from segapp.views.common import after_change, back, flash, shows_again
from segapp.views.exports import Offer, offers
from segapp.visitors import VisitorRequest


@dataclass(frozen=True)
class Version:
    """One model as the page shows it. `older`: trained before the active one, so activating it is a step back."""

    model: UserModel
    older: bool
    offers: list[Offer]
    shares: list[tuple[ModelShare, str]]  # with their addresses

    @property
    def busy(self) -> bool:
        return any(offer.row is not None and offer.row.unfinished for offer in self.offers)


@require_safe
def models(request: VisitorRequest) -> HttpResponse:
    shown = versions(request)
    context: dict[str, Any] = {
        "versions": shown,
        "busy": any(version.busy for version in shown),
        "open": (request.GET.get("open", ""), request.GET.get("panel", "")),
        "trashed": UserModel.objects.filter(visitor=request.visitor).exclude(trashed_at=None).order_by("-trashed_at"),
        "trash_days": settings.SEGAPP_TRASH_DAYS,
        "result_days": settings.SEGAPP_RESULT_DAYS,
        "keys": api_keys.listed(request.visitor),
        "hooks": hooks.shown(request.visitor),
        "events": Event.choices,
        "now": timezone.now(),
        "codes": transfer.listed(request.visitor),
        "holdings": mydata.holdings(request.visitor),
        "storage_used": storage.in_use(request.visitor),
        "storage_limit": settings.SEGAPP_STORAGE_BYTES,
    }
    return render(request, "models.html", context)


def versions(request: VisitorRequest) -> list[Version]:
    """The visitor's models, newest first, each with its files and links."""
    rows = list(registry.versions(request.visitor).select_related("parent"))
    made: dict[int, dict[str, Export]] = {}
    for row in Export.objects.filter(model__in=rows).select_related("model"):
        made.setdefault(row.model_id, {})[row.format] = row
    shared: dict[int, list[ModelShare]] = {}
    for share in sharing.of(request.visitor):
        shared.setdefault(share.model_id, []).append(share)
    active = next((number for number, model in enumerate(rows) if model.active), len(rows))
    found = []
    for number, model in enumerate(rows):
        links = [(share, _address(request, share)) for share in shared.get(model.pk, [])]
        found.append(Version(model, number > active, offers(model, made.get(model.pk, {})), links))
    return found


def _address(request: VisitorRequest, share: ModelShare) -> str:
    return request.build_absolute_uri(reverse("shared", args=[share.token]))


@require_POST
def activate(request: VisitorRequest, public_id: str) -> HttpResponse:
    before = registry.resolve(request.visitor).model
    model = registry.activate(request.visitor, public_id)
    undo = reverse("model-activate", args=[before.public_id]) if before and before != model else reverse("reset")
    flash(request, f"“{model.name}” is now used on every page.", undo=undo)
    return after_change(request, "models")


def _flash_error(request: VisitorRequest, error: UserError, public_id: str) -> HttpResponse:
    flash(request, str(error), level=messages.ERROR)
    return redirect("models")


@require_POST
@shows_again(_flash_error)
def rename(request: VisitorRequest, public_id: str) -> HttpResponse:
    model = registry.owned(request.visitor, public_id)
    sent = RenameForm(request.POST).checked()
    registry.rename(request.visitor, public_id, sent["name"])
    flash(request, f"“{model.name}” is now called “{sent['name']}”.")
    return redirect("models")


@require_POST
def delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    model = registry.owned(request.visitor, public_id)
    registry.trash(request.visitor, model.public_id)
    days = settings.SEGAPP_TRASH_DAYS
    undo = reverse("model-undelete", args=[model.public_id])
    flash(request, f"“{model.name}” is in the trash and will be deleted for good after {days} days.", undo=undo)
    return back(request, "models")


@require_POST
def undelete(request: VisitorRequest, public_id: str) -> HttpResponse:
    model = registry.untrash(request.visitor, public_id)
    flash(request, f"“{model.name}” is back in the list.")
    return redirect("models")


@require_safe
def download(request: VisitorRequest, public_id: str, kind: str) -> HttpResponseBase:
    """The weights as they are kept (pth), or what they are: `card` for programs, `readme` for people."""
    model = registry.owned(request.visitor, public_id)
    if kind == "pth":
        if not store.fetch(model.path).is_file():
            raise NotFound(f"The file of “{model.name}” is gone. Choose another version, or train again.")
        return FileResponse(model.path.open("rb"), as_attachment=True, filename=model.path.name)
    if kind == "readme":
        response = HttpResponse(exports.card_text(model), content_type="text/markdown; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{model.key}.md"'
        return response
    text = json.dumps(exports.card(model), indent=2, ensure_ascii=False)
    response = HttpResponse(text, content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{model.key}.json"'
    return response
