"""Webhooks on the Models page: added, shown once with their secret, tried, looked at, deleted."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from segapp.forms import HookForm
from segapp.models import Delivery, DeliveryState, Event, Hook
from segapp.services import hooks, limits
from segapp.services.errors import UserError
from segapp.views.common import flash, shows_again
from segapp.visitors import VisitorRequest


@dataclass(frozen=True)
class Shown:
    """One webhook as the page shows it, with its latest deliveries."""

    row: Hook
    log: list[Delivery]

    @property
    def told_when(self) -> str:
        labels = [str(Event(event).label) for event in self.row.events]
        return " or ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))

    @property
    def waits(self) -> bool:
        """Whether a delivery is being sent for the first time, so that the page should poll soon."""
        return any(row.state == DeliveryState.WAITING and not row.attempts for row in self.log)


def shown(visitor: str) -> list[Shown]:
    return [Shown(row, hooks.log(row)) for row in hooks.listed(visitor)]


def _show_error(request: VisitorRequest, error: UserError, public_id: str = "") -> HttpResponse:
    if request.htmx:
        return render(request, "problems.html", {"problems": error.problems}, status=422)
    flash(request, str(error), level=messages.ERROR)
    return _to_section()


@never_cache
@require_POST
@shows_again(_show_error)
def make(request: VisitorRequest) -> HttpResponse:
    sent = HookForm(request.POST).checked()
    limits.check(request, limits.HOOKS)
    row = hooks.make(request.visitor, **sent)
    return render(request, "models/new_hook.html" if request.htmx else "models/hook_made.html", {"row": row})


@require_POST
@shows_again(_show_error)
def test(request: VisitorRequest, public_id: str) -> HttpResponse:
    row = hooks.owned(request.visitor, public_id)
    limits.check(request, limits.HOOKS)
    hooks.test(row)
    if request.htmx:
        return _row(request, row)
    flash(request, f"A test is on its way to {row.url}. Its outcome is in the log.")
    return _to_section()


@require_safe
def hook(request: VisitorRequest, public_id: str) -> HttpResponse:
    """One webhook with its log, which polls while a delivery is on its way."""
    row = hooks.owned(request.visitor, public_id)
    return _row(request, row) if request.htmx else _to_section()


@require_POST
def delete(request: VisitorRequest, public_id: str) -> HttpResponse:
    row = hooks.delete(request.visitor, public_id)
    flash(request, f"{row.url} is not notified any more.")
    return _to_section()


def _row(request: VisitorRequest, row: Hook) -> HttpResponse:
    return render(request, "models/hook.html", {"hook": Shown(row, hooks.log(row)), "open": True})


def _to_section() -> HttpResponse:
    return redirect(f"{reverse('models')}#hooks")
