"""API keys on the Models page: made, shown once, revoked."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from segapp.forms import KeyForm
from segapp.services import api_keys, limits
from segapp.services.errors import UserError
from segapp.views.common import flash, shows_again
from segapp.visitors import VisitorRequest


def _show_error(request: VisitorRequest, error: UserError) -> HttpResponse:
    if request.htmx:
        return render(request, "problems.html", {"problems": error.problems}, status=422)
    flash(request, str(error), level=messages.ERROR)
    return _to_section()


@never_cache
@require_POST
@shows_again(_show_error)
def make(request: VisitorRequest) -> HttpResponse:
    limits.check(request, limits.KEYS)
    row, key = api_keys.make(request.visitor, **KeyForm(request.POST).checked())
    context = {"row": row, "key": key, "address": request.build_absolute_uri(reverse("api-segment"))}
    return render(request, "models/new_key.html" if request.htmx else "models/key_made.html", context)


@require_POST
def revoke(request: VisitorRequest, public_id: str) -> HttpResponse:
    row = api_keys.revoke(request.visitor, public_id)
    flash(request, f"The key “{row.name}” is revoked. Programs that use it are refused from now on.")
    return _to_section()


def _to_section() -> HttpResponse:
    return redirect(f"{reverse('models')}#keys")
