"""One version by itself: its scores by class, what it found on held-out images, what it learnt from, its line."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from registry import services as registry
from registry import store
from registry.models import UserModel
from segapp.forms import ThingsForm
from segapp.imaging import object_options
from segapp.models import TrainingRun
from segapp.services import proposals
from segapp.views.common import flash
from segapp.visitors import VisitorRequest

MAX_IMAGES = 6
MAX_PARENTS = 20


@require_safe
def version(request: VisitorRequest, public_id: str) -> HttpResponse:
    model = registry.owned(request.visitor, public_id)
    run = TrainingRun.objects.filter(visitor=request.visitor, public_id=model.run_id or "-").first()
    context = {
        "model": model,
        "images": held_out(run) if run else [],
        "examples": run.examples.all() if run else [],
        "progress": proposals.progress(proposals.history(request.visitor, run.examples.all())) if run else None,
        "line": line(model),
        "children": registry.versions(request.visitor).filter(parent=model),
    }
    return render(request, "models/details.html", context)


@require_POST
def things(request: VisitorRequest, public_id: str) -> HttpResponse:
    """Which classes' objects are counted in results of this version; a box for each class."""
    model = registry.owned(request.visitor, public_id)
    ticked = ",".join(request.POST.getlist("things")) or object_options.NONE
    registry.count_things(model, ThingsForm({"things": ticked}, model.classes).checked()["things"])
    flash(request, f"Results of “{model.name}” count what you ticked from now on.")
    return redirect("model", model.public_id)


def held_out(run: TrainingRun) -> list[dict[str, Any]]:
    """Addresses of the held-out images that the training left, with what the model found on them."""
    found = []
    for row in run.metrics.get("held_out_images", [])[:MAX_IMAGES]:
        if store.fetch(run.folder / f"heldout_{row['index']}_custom.webp").exists():
            names = {kind: f"heldout_{row['index']}_{kind}.webp" for kind in ("image", "custom")}
            addresses = {kind: reverse("run-file", args=[run.public_id, name]) for kind, name in names.items()}
            found.append({"stem": row["stem"], **addresses})
    return found


def line(model: UserModel) -> list[UserModel]:
    """The versions it was trained on from, nearest first."""
    found: list[UserModel] = []
    while model.parent is not None and len(found) < MAX_PARENTS:
        model = model.parent
        found.append(model)
    return found
