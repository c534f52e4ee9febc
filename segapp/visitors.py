"""Who is asking: a random id in a signed cookie.

Knows nothing of models: an id that verifies is all it gives. A cookie that does not verify makes a new visitor.
"""

import secrets
from collections.abc import Callable

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from segapp.models import VisitorAlias

COOKIE = "segapp_visitor"
COOKIE_SALT = "segapp.visitors.cookie"
YEAR = 365 * 24 * 3600
RENEW_AFTER = 30 * 24 * 3600  # a visitor who keeps coming back is never forgotten


class VisitorRequest(HttpRequest):
    """A request as views see it. `visitor_known`: the client sent a valid cookie."""

    visitor: str
    visitor_known: bool


class VisitorMiddleware:
    """Puts `visitor` on every request and sees to it that the answer's client knows its id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: VisitorRequest) -> HttpResponse:
        sent = _read(request, max_age=YEAR)
        request.visitor = current_id(sent) if sent else new_id()
        request.visitor_known = bool(sent)
        response = self.get_response(request)
        # A view may have changed who is asking (restore), an alias may have led elsewhere, the cookie may age.
        if request.visitor != _read(request, max_age=RENEW_AFTER):
            _write(response, request.visitor)
        return response


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def current_id(visitor: str) -> str:
    """The id that `visitor` was joined into, or itself."""
    joined = VisitorAlias.objects.filter(old=visitor).values_list("new", flat=True).first()
    return joined or visitor


def _read(request: HttpRequest, max_age: int) -> str:
    """The id in the cookie, or "" when there is none that this server's keys have signed."""
    try:
        value = request.get_signed_cookie(COOKIE, salt=COOKIE_SALT, max_age=max_age)
    except (KeyError, signing.BadSignature):
        return ""
    return value or ""


def _write(response: HttpResponse, visitor: str) -> None:
    response.set_signed_cookie(
        COOKIE,
        visitor,
        salt=COOKIE_SALT,
        max_age=YEAR,
        httponly=True,
        samesite="Lax",
        secure=settings.SECURE,
    )
