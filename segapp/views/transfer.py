"""Moving to another device: make a code here, enter it there. A look at the link uses nothing up."""

from functools import wraps
from typing import Any

import segno
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from registry import services as registry
from segapp.forms import CodeForm
from segapp.services import limits, mydata, transfer
from segapp.views.common import PageRequest, flash


def _counted(view: Any) -> Any:
    """Holds an address to its share of codes, made or entered."""

    @wraps(view)
    def answer(request: PageRequest, **named: str) -> HttpResponse:
        try:
            if request.method == "POST":
                limits.check(request, limits.TRANSFERS)
        except limits.TooOften as error:
            return _ask(request, problem=str(error), status=429)
        return view(request, **named)

    return answer


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@_counted
def enter(request: PageRequest) -> HttpResponse:
    """The page to enter a code on; POST gives this browser the visitor who made it.

    A link brings its code along and is only asked about, whether it is good or not: a preview or a scanner that opens
    links uses nothing up and learns nothing.
    """
    if request.method != "POST":
        return _ask(request, code=request.GET.get("code", "")[:60])
    form = CodeForm(request.POST)
    if not form.is_valid():
        return _ask(request, problem=" ".join(form.words()), status=422)
    try:
        request.visitor = transfer.claim(request.visitor, form.cleaned_data["code"])
    except transfer.AlreadyHere as here:
        flash(request, str(here), level=messages.INFO)
        return redirect("models")
    except transfer.CodeRefused as refused:
        return _ask(request, problem=str(refused), status=422)
    count = registry.versions(request.visitor).count()
    models = f"{count} model{'' if count == 1 else 's'}" if count else "no model yet"
    flash(request, f"This browser and the other one are now the same visitor, with {models}.")
    return redirect("models")


def _ask(request: PageRequest, code: str = "", problem: str = "", status: int = 200) -> HttpResponse:
    own = [holding for holding in mydata.holdings(request.visitor) if holding.bytes is not None]
    return render(request, "transfer/enter.html", {"code": code, "problem": problem, "own": own}, status=status)


@never_cache
@require_POST
@_counted
def make(request: PageRequest) -> HttpResponse:
    """A new code, shown this once: as signs, as a link, as an image for a phone's camera."""
    row, code = transfer.make(request.visitor)
    address = request.build_absolute_uri(f"{reverse('transfer')}?code={code}")
    drawn = segno.make(address, error="m").svg_inline(scale=4, border=2, dark="#000", light="#fff", omitsize=True)
    context = {"row": row, "code": code, "address": address, "drawn": mark_safe(drawn)}
    return render(request, "transfer/code.html" if request.htmx else "transfer/made.html", context)


@require_POST
def revoke(request: PageRequest, public_id: str) -> HttpResponse:
    if not transfer.revoke(request.visitor, public_id):
        raise Http404("There is no such code. It was used, or it is over.")
    flash(request, "The code is revoked. Nobody can use it any more.")
    return _to_section()


@require_POST
def sign_out_others(request: PageRequest) -> HttpResponse:
    request.visitor = transfer.sign_out_others(request.visitor)
    flash(request, "Every other browser is signed out. Your models are in this one only.")
    return _to_section()


def _to_section() -> HttpResponse:
    return redirect(f"{reverse('models')}#devices")


urlpatterns = [
    path("", enter, name="transfer"),
    path("make/", make, name="transfer-make"),
    path("sign-out-others/", sign_out_others, name="transfer-sign-out"),
    path("<str:public_id>/revoke/", revoke, name="transfer-revoke"),
]
