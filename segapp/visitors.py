"""Who is asking: a random id in a signed cookie.

Knows nothing of models: an id that verifies is all it gives. A cookie that does not verify makes a new visitor. Behind
the id stands the browser's chain of restore tokens, once it has used one (services/restore.py).
"""

import secrets
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from segapp.models import ApiKey, VisitorAlias

COOKIE = "segapp_visitor"
HOST_COOKIE = "__Host-segapp_visitor"  # over https: a browser takes it from this very host only
COOKIE_SALT = "segapp.visitors.cookie"
SEPARATOR = "."  # of what a cookie may hold without quotes
YEAR = 365 * 24 * 3600
RENEW_AFTER = 30 * 24 * 3600  # a visitor who keeps coming back is never forgotten


class VisitorRequest(HttpRequest):
    """A request as views see it. `visitor_known`: the client sent a valid cookie; `htmx`: false for a whole page."""

    visitor: str
    visitor_known: bool
    restore_chain: str  # of this browser's restore tokens, "" before it has used one
    htmx: Any
    api_key: ApiKey | None  # set by segapp.bearer: the key that the request came with
    wants_json: bool  # set by a view whose script reads errors as JSON


class VisitorMiddleware:
    """Puts `visitor` on every request and makes sure that the client keeps its id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: VisitorRequest) -> HttpResponse:
        sent = _read(request, cookie_name(), YEAR)
        if settings.SECURE and not sent:  # the earlier cookie is still read, and replaced: no visitor loses models
            sent = _read(request, COOKIE, YEAR)
        visitor, _, request.restore_chain = sent.partition(SEPARATOR)
        request.visitor = current_id(visitor) if visitor else new_id()
        request.visitor_known = bool(sent)
        response = self.get_response(request)
        _keep_private(response)
        if getattr(request, "api_key", None) is not None:
            return response  # a cookie could do more than the key
        # A view may have changed who is asking (restore), an alias may have led elsewhere, the cookie may age.
        value = _value(request.visitor, request.restore_chain)
        if value != _read(request, cookie_name(), RENEW_AFTER):
            _write(response, value)
        return response


def _keep_private(response: HttpResponse) -> None:
    """No answer is anybody else's: caches keep what may be kept for this cookie only, and pages and JSON not at all."""
    patch_vary_headers(response, ["Cookie", "Authorization"])
    if not response.has_header("Cache-Control"):
        response["Cache-Control"] = "private, no-store" if _is_json(response) else "private, no-cache"


def _is_json(response: HttpResponse) -> bool:
    return str(response.get("Content-Type", "")).startswith("application/json")


def cookie_name() -> str:
    return HOST_COOKIE if settings.SECURE else COOKIE


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def known_id(request: HttpRequest) -> str:
    """The visitor whom the request's cookie names, "" for none; for requests that the middleware has not seen."""
    sent = _read(request, cookie_name(), YEAR) or (_read(request, COOKIE, YEAR) if settings.SECURE else "")
    visitor = sent.partition(SEPARATOR)[0]
    return current_id(visitor) if visitor else ""


def current_id(visitor: str) -> str:
    """The id that `visitor` was joined into, or itself."""
    joined = VisitorAlias.objects.filter(old=visitor).values_list("new", flat=True).first()
    return joined or visitor


def _value(visitor: str, chain: str) -> str:
    return f"{visitor}{SEPARATOR}{chain}" if chain else visitor


def _read(request: HttpRequest, name: str, max_age: int) -> str:
    """What the cookie holds, or "" when there is none that this server's keys have signed."""
    try:
        value = request.get_signed_cookie(name, salt=COOKIE_SALT, max_age=max_age)
    except (KeyError, signing.BadSignature):
        return ""
    return value or ""


def _write(response: HttpResponse, value: str) -> None:
    response.set_signed_cookie(
        cookie_name(),
        value,
        salt=COOKIE_SALT,
        max_age=YEAR,
        httponly=True,
        samesite="Lax",
        secure=settings.SECURE,
    )
    if settings.SECURE:
        response.delete_cookie(COOKIE, samesite="Lax")
