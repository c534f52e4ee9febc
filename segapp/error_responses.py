"""What cannot be done, as the client reads it: JSON for the API, a fragment for htmx, else a page.

The one place where exceptions become answers; which ones, and what they say, stands in services/errors.py. Forms that
show themselves again with what was wrong do so in their views.
"""

import logging
import sys
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html

from segapp import upload_admission
from segapp.api.errors import error_body
from segapp.services import errors, limits, storage
from segapp.services.errors import UserError, user_error
from segapp.upload_limits import drain

logger = logging.getLogger(__name__)


class ErrorResponses:
    """Stands before the CSRF check, which reads the whole upload, and behind what puts `visitor` and `htmx` on the
    request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):  # PostgreSQL takes none
            return error_response(request, errors.NotFound())
        storage.current_source.set(storage.source_of(limits.address(request)))
        refused = upload_admission.noted(request)
        if refused is not None:
            drain(request)
            return error_response(request, refused)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        found = user_error(error)
        if found is None:
            return None
        if found.status >= 500 and found is not error:
            logger.warning("%s %s answered with %s: %s", request.method, request.path, found.status, error)
        return error_response(request, found)


def error_response(request: HttpRequest, error: UserError) -> HttpResponse:
    if request.path.startswith("/api/"):
        response: HttpResponse = error_body(error)
    elif getattr(request, "wants_json", False):  # a page's script, which names the file itself
        response = error_body(error, " ".join(problem["message"] for problem in error.problems))
    else:
        response = HttpResponse(_page(request, error), status=error.status)
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.MethodNotAllowed):
        response["Allow"] = ", ".join(error.allowed)
    if error.location:
        response["Location"] = error.location
    response["Cache-Control"] = "no-store"
    return response


def _page(request: HttpRequest, error: UserError) -> str:
    context = {"code": error.status, "title": error.title, "message": error.message, "advice": error.advice}
    partial = bool(getattr(request, "htmx", False))
    try:
        return render_to_string("errors/partial.html" if partial else "errors/page.html", context, request)
    except Exception:
        # The page's frame asks the database for the status; when that is what failed, the text alone must do.
        logger.exception("could not render the page for status %s", error.status)
        frame = (
            '<p role="alert">{} {} {}</p>' if partial else "<!doctype html><title>{0}</title><h1>{0}</h1><p>{1} {2}</p>"
        )
        return format_html(frame, error.title, error.message, error.advice)


# --- Django's hooks ---------------------------------------------------------------------------------------


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW."""
    return error_response(request, errors.ExpiredForm())


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400, which also gets uploads over a limit when it is the CSRF check that reads them."""
    found = user_error(exception)
    if found is not None:
        drain(request)
    return error_response(request, found or errors.BadRequest())


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return error_response(request, errors.Forbidden())


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404: addresses that lead nowhere."""
    return error_response(request, errors.NotFound())


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500, called while the error is handled; a database that fails in a middleware ends here."""
    return error_response(request, user_error(sys.exc_info()[1]) or errors.ServerError())
