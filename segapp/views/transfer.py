"""Moving to another device: make a code here, enter it there. A look at the link uses nothing up."""

import segno
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from registry import services as registry
from segapp.forms import CodeForm
from segapp.services import limits, mydata, transfer
from segapp.services.errors import NotFound, UserError
from segapp.views.common import flash, shows_again
from segapp.visitors import VisitorRequest


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    return _ask(request, problem=str(error), status=error.status)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@shows_again(_show_error)
def enter(request: VisitorRequest) -> HttpResponse:
    """The page to enter a code on; POST gives this browser the visitor who made it.

    A link brings its code along and is only asked about, whether it is good or not: a preview or a scanner that opens
    links uses nothing up and learns nothing.
    """
    if request.method != "POST":
        return _ask(request, code=request.GET.get("code", "")[:60])
    limits.check(request, limits.TRANSFERS)
    try:
        request.visitor = transfer.claim(request.visitor, **CodeForm(request.POST).checked())
    except transfer.AlreadyHere as here:
        flash(request, str(here), level=messages.INFO)
        return redirect("models")
    count = registry.versions(request.visitor).count()
    models = f"{count} model{'' if count == 1 else 's'}" if count else "no model yet"
    flash(request, f"This browser and the other one are now the same visitor, with {models}.")
    return redirect("models")


def _ask(request: VisitorRequest, code: str = "", problem: str = "", status: int = 200) -> HttpResponse:
    own = [holding for holding in mydata.holdings(request.visitor) if holding.bytes is not None]
    return render(request, "transfer/enter.html", {"code": code, "problem": problem, "own": own}, status=status)


@never_cache
@require_POST
@shows_again(_show_error)
def make(request: VisitorRequest) -> HttpResponse:
    """A new code, shown this once: as signs, as a link, as an image for a phone's camera."""
    limits.check(request, limits.TRANSFERS)
    row, code = transfer.make(request.visitor)
    address = request.build_absolute_uri(f"{reverse('transfer')}?code={code}")
    drawn = segno.make(address, error="m").svg_inline(scale=4, border=2, dark="#000", light="#fff", omitsize=True)
    context = {"row": row, "code": code, "address": address, "drawn": mark_safe(drawn)}
    return render(request, "transfer/code.html" if request.htmx else "transfer/made.html", context)


@require_POST
def revoke(request: VisitorRequest, public_id: str) -> HttpResponse:
    if not transfer.revoke(request.visitor, public_id):
        raise NotFound("There is no such code. It was used or has expired.")
    flash(request, "The code is revoked and can no longer be used.")
    return _to_section()


@require_POST
def sign_out_others(request: VisitorRequest) -> HttpResponse:
    request.visitor = transfer.sign_out_others(request.visitor)
    flash(request, "Every other browser is signed out. Your models are in this one only.")
    return _to_section()


def _to_section() -> HttpResponse:
    return redirect(f"{reverse('models')}#devices")
