"""A version as a file for elsewhere: asked for, made by a worker, downloaded. Lives in the models page's cards."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import FileResponse, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from registry import store
from registry.models import UserModel
from segapp.models import Export, ExportFormat, State
from segapp.services import exports, limits
from segapp.services.errors import NotFound, RateLimited
from segapp.views.common import flash
from segapp.visitors import VisitorRequest

ABOUT = {
    ExportFormat.PTH: "the whole network for plain smp.FPN",
    ExportFormat.DETAILED: "the same and the detail branch (detail.*), which plain smp.FPN does not take",
    ExportFormat.SAFETENSORS: "the same, without pickle",
    ExportFormat.ONNX: "for runtimes without torch",
}


@dataclass(frozen=True)
class Offer:
    """One format of one version: not made yet (`row` is None), under way, ready or failed."""

    model: UserModel
    format: str
    label: str
    about: str
    row: Export | None
    usual: float | None = None


def offers(model: UserModel, made: dict[str, Export]) -> list[Offer]:
    """What the version can be had as, with what is there of it already."""
    return [offer(model, format, made.get(format)) for format in exports.formats(model)]


def offer(model: UserModel, format: str, row: Export | None) -> Offer:
    kind = ExportFormat(format)
    if row is not None and row.state == State.DONE and not store.fetch(row.path).is_file():
        row = None
    usual = exports.usual_seconds(row) if row is not None and row.unfinished else None
    lacks = exports.without_detail(model) if kind in (ExportFormat.PTH, ExportFormat.SAFETENSORS) else ""
    about = f"{ABOUT[kind]}, {lacks}" if lacks else ABOUT[kind]
    return Offer(model, kind.value, str(kind.label), about, row, usual)


@require_http_methods(["GET", "HEAD", "POST"])
def export(request: VisitorRequest, public_id: str, format: str) -> HttpResponse:
    """POST asks for the file; htmx gets the format's line, and polls until it is ready."""
    model = exports.exportable(request.visitor, public_id, format)
    if request.method == "POST":
        try:
            limits.check(request, limits.EXPORTS)
            exports.request(model, format)
        except RateLimited as error:
            flash(request, str(error), level=messages.ERROR)
    if request.htmx:
        row = exports.current(model, format)
        return render(request, "models/offer.html", {"offer": offer(model, format, row)})
    return redirect(f"{reverse('models')}?open={model.public_id}&panel=download#model-{model.public_id}")


@require_safe
def export_file(request: VisitorRequest, public_id: str, format: str) -> HttpResponseBase:
    row = exports.current(exports.exportable(request.visitor, public_id, format), format)
    if row is None or row.state != State.DONE:
        raise NotFound("This file is not there, or not any more. Open Models and make it again.")
    return FileResponse(row.path.open("rb"), as_attachment=True, filename=row.path.name)
