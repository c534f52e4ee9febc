"""Named training sets, and images with their masks as a zip."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from segapp.forms import RenameForm, SetForm
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import Example
from segapp.services import intake, runs, training_archive, training_sets, zips
from segapp.services.errors import NotFound, UserError
from segapp.views import finetune_context
from segapp.views.common import flash, offer, shows_again
from segapp.visitors import VisitorRequest


def _flash_error(request: VisitorRequest, error: UserError, **named: Any) -> HttpResponse:
    flash(request, str(error), level=messages.ERROR)
    return redirect("finetune")


@require_POST
@shows_again(_flash_error)
def save(request: VisitorRequest) -> HttpResponse:
    """Keep the uploaded images under a name."""
    sent = SetForm(request.POST).checked()
    made = training_sets.save(request.visitor, sent["name"], request.session.get(finetune_context.EDITS, {}))
    flash(request, f"Saved as “{made.name}”. What you add or change now belongs to it.")
    return redirect("finetune")


@require_POST
def open_set(request: VisitorRequest, public_id: str) -> HttpResponse:
    return _opened(request, public_id)


@require_POST
def close(request: VisitorRequest) -> HttpResponse:
    """Start an empty set; what was open or uploaded is kept."""
    return _opened(request, None)


@require_POST
@shows_again(_flash_error)
def rename(request: VisitorRequest, public_id: str) -> HttpResponse:
    found = training_sets.owned(request.visitor, public_id)
    sent = RenameForm(request.POST).checked()
    training_sets.rename(found, sent["name"])
    flash(request, f"“{found.name}” is now called “{sent['name']}”.")
    return redirect("finetune")


@require_POST
@shows_again(_flash_error)
def duplicate(request: VisitorRequest, public_id: str) -> HttpResponse:
    copy = training_sets.duplicate(training_sets.owned(request.visitor, public_id))
    flash(request, f"“{copy.name}” has the same images. Open it to change it.")
    return redirect("finetune")


@require_POST
def delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    found = training_sets.owned(request.visitor, public_id)
    was_open, name = found.open, found.name
    training_sets.delete(found)
    if was_open:
        _forget_edits(request)
    flash(request, f"The training set “{name}” is deleted. Models that were trained on it stay.")
    return redirect("finetune")


@require_safe
def download_set(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    found = training_sets.owned(request.visitor, public_id)
    examples = list(found.examples.select_related("painting"))
    return _zip(examples, intake.review(examples, found.edits), found.name)


@require_safe
def download_drafts(request: VisitorRequest) -> HttpResponseBase:
    drafts = list(intake.drafts(request.visitor))
    edits, known = request.session.get(finetune_context.EDITS, {}), finetune_context.known_classes(request)
    opened = training_sets.current(request.visitor)
    return _zip(drafts, intake.review(drafts, edits, known), opened.name if opened else "training set")


@require_safe
def download_run(request: VisitorRequest, public_id: str) -> HttpResponseBase:
    """What a training learnt from, as it was read then."""
    run = runs.owned(request.visitor, public_id)
    examples = [example for example in run.examples.select_related("painting") if example.image_path.exists()]
    return _zip(examples, ClassMapping.from_dict(run.reading), run.name)


def _zip(examples: Sequence[Example], mapping: ClassMapping, name: str) -> HttpResponseBase:
    """Raises NotFound without a finished mask."""
    ready = intake.ready(examples)
    if not ready:
        raise NotFound("There are no images with masks to download. Upload or paint some first.")
    members = training_archive.members(ready, mapping)
    response = StreamingHttpResponse(zips.stream(members), content_type="application/zip")
    return offer(response, f"{name}.zip")


def _opened(request: VisitorRequest, public_id: str | None) -> HttpResponse:
    edits = request.session.get(finetune_context.EDITS, {})
    opened, kept = training_sets.open_set(request.visitor, public_id, edits)
    _forget_edits(request)
    if opened is not None:
        request.session[finetune_context.EDITS] = opened.edits
    if kept is not None:
        flash(request, f"The images that had no name yet are kept as “{kept.name}”.")
    return redirect("finetune")


def _forget_edits(request: VisitorRequest) -> None:
    for key in (finetune_context.EDITS, finetune_context.CONTINUE):
        request.session.pop(key, None)
