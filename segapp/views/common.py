"""What several pages share: notes with an undo, the way back, and telling the page that the model changed."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import content_disposition_header, url_has_allowed_host_and_scheme
from django_htmx.http import trigger_client_event

from registry.services import NoBaseReady
from segapp import context
from segapp.imaging import InvalidFile
from segapp.services.errors import NotFound, UserError, user_error
from segapp.visitors import VisitorRequest

MODEL_CHANGED = "model-changed"
View = Callable[..., HttpResponseBase]


def flash(request: HttpRequest, text: str, undo: str = "", level: int = messages.SUCCESS) -> None:
    """Leave a note for the next page or partial; `undo` is the address whose POST takes it back."""
    messages.add_message(request, level, text, extra_tags=undo)


def shows_again(show: Callable[..., HttpResponseBase]) -> Callable[[View], View]:
    """For the view of a form: errors are shown by `show(request, error, **named)`, which keeps the form.

    What does not exist stays a 404.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(request: VisitorRequest, **named: Any) -> HttpResponseBase:
            try:
                return view(request, **named)
            except (UserError, InvalidFile, NoBaseReady) as error:
                found = user_error(error)
                if found is None or isinstance(found, NotFound):
                    raise
                return show(request, found, **named)

        return answer

    return decorate


def by_script(request: HttpRequest) -> bool:
    """The page's script sends the files itself, to show how far it is, and wants to know where to go."""
    return request.headers.get("Accept", "").startswith("application/json")


def offer(response: HttpResponseBase, name: str) -> HttpResponseBase:
    """To be saved under this name instead of shown."""
    header = content_disposition_header(True, name)
    if header:
        response["Content-Disposition"] = header
    return response


def back(request: HttpRequest, fallback: str) -> HttpResponse:
    """To the page that the form came from, when it is one of ours."""
    wanted = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        wanted = resolve_url(fallback)
    return redirect(wanted)


def changed(response: HttpResponse) -> HttpResponse:
    """Tells the page that another model answers from now on: pill, hero and memory refresh themselves."""
    return trigger_client_event(response, MODEL_CHANGED, after="settle")


def after_change(request: VisitorRequest, fallback: str) -> HttpResponse:
    """The answer to whatever changed the active model: the fresh pill with a note, or the way back."""
    if request.htmx and request.htmx.target == "status":
        fresh = {"status": context.of(request), "oob": True}
        return changed(render(request, "status_changed.html", fresh))
    return back(request, fallback)
