"""The status pill as a partial that keeps itself fresh, and the hero's line with it."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from registry import services as registry
from segapp import context
from segapp.views.common import after_change
from segapp.visitors import VisitorRequest


@require_safe
def status(request: VisitorRequest) -> HttpResponse:
    """Nothing (204) while it looks as the page's copy, whose stamp it sends as `seen`."""
    if request.GET.get("part") == "hero":
        return render(request, "home.html#hero")
    now = context.of(request)
    if request.GET.get("seen") == now.stamp:
        return HttpResponse(status=204)
    return render(request, "status.html", {"status": now})


@require_POST
def dismiss(request: VisitorRequest) -> HttpResponse:
    """The visitor has read why their model was not used."""
    registry.dismiss_notice(request.visitor)
    return after_change(request, "home")
