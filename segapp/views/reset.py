"""Back to the base model: asks, resets, and offers the way back."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from registry import services as registry
from segapp.services import runs
from segapp.views.common import after_change, flash
from segapp.visitors import VisitorRequest


@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: VisitorRequest) -> HttpResponse:
    if request.method != "POST":
        return render(request, "reset.html")
    model = registry.resolve(request.visitor).model
    runs.use_base_model(request.visitor)
    undo = reverse("model-activate", args=[model.public_id]) if model else ""
    name = registry.resolve(request.visitor).name
    flash(request, f"The base model ({name}) is in use now. Your models are kept.", undo=undo)
    return after_change(request, "reset")
