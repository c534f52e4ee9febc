"""`Authorization: Bearer KEY`: who is asking, for programs.

A key stands for its visitor without cookie and CSRF token, because no browser sends it by itself: on every call of the
API, and for looking at what the calls name (masks, tables, videos). Pages' forms take no key.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse

from segapp.error_responses import error_response
from segapp.models import Scope
from segapp.services import api_keys
from segapp.services.errors import user_error
from segapp.visitors import VisitorRequest, current_id

SAFE = ("GET", "HEAD", "OPTIONS")
OWN_TOKENS = ("/metrics", "/admin/")  # addresses that mean something else by this header, or never take a key


class BearerMiddleware:
    """Behind what makes answers of errors, before the CSRF check."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: VisitorRequest) -> HttpResponse:
        key = sent_key(request)
        if not key:
            return self.get_response(request)
        try:
            row = api_keys.authenticate(key)
        except Exception as error:
            found = user_error(error)
            if found is None:
                raise
            response = error_response(request, found)
            if found.status == 401:
                response["WWW-Authenticate"] = "Bearer"
            return response
        request.api_key, request.visitor, request.visitor_known = row, current_id(row.visitor), True
        setattr(request, "_dont_enforce_csrf_checks", True)  # noqa: B010 (Django reads it; its stubs do not know it)
        return self.get_response(request)

    def process_view(
        self, request: VisitorRequest, view: Callable[..., Any], args: Any, named: Any
    ) -> HttpResponse | None:
        row = getattr(request, "api_key", None)
        if row is not None and row.scope == Scope.PREDICT and not getattr(view, "for_predict_keys", False):
            return error_response(request, api_keys.OutOfScope())
        return None


def sent_key(request: HttpRequest) -> str:
    """The key of a request that may carry one, or ""."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or request.path.startswith(OWN_TOKENS):
        return ""
    if not request.path.startswith("/api/") and request.method not in SAFE:
        return ""
    return key.strip() or "-"  # an empty key is a wrong one, not none
