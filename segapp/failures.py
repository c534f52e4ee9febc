"""What a person or a program reads when a request cannot be answered: a page, a partial, or JSON for the API.

Knows nothing of the pages' own refusals (a bad image, a run in progress): those are answers, made by views.
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from registry.files import disk_is_full
from registry.store import StoreUnreachable

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
# A browser shows the answer only when its upload was taken to the end, so a refused one is read and dropped, within
# reason.
DRAIN_BYTES = 1000 * 10**6
DRAIN_SECONDS = 30
ENVELOPE = 2**20  # what a form adds to hundreds of files


@dataclass(frozen=True)
class Failure:
    """One answer: HTTP status, the API's code, and the words."""

    status: int
    code: str
    title: str
    message: str
    advice: str


CSRF = Failure(
    403,
    "csrf",
    "This form has expired",
    "The page was open for too long, or cookies are switched off, so the request was not accepted.",
    "Reload the page and try again; allow cookies for this site.",
)
FORBIDDEN = Failure(403, "forbidden", "Not allowed", "This is not open to you.", "Go back to the start page.")
NOT_FOUND = Failure(
    404,
    "not_found",
    "There is nothing here",
    "The address is wrong, or what it named is gone or belongs to someone else.",
    "Go back to the start page.",
)
BAD_REQUEST = Failure(
    400,
    "bad_request",
    "The request could not be read",
    "Something in it was malformed or cut off.",
    "Reload the page and try again.",
)
SERVER_ERROR = Failure(
    500,
    "server_error",
    "Something went wrong here",
    "The request could not be finished. The server's log says why; your models are as they were.",
    "Try again in a moment.",
)
BUSY = Failure(
    503,
    "busy",
    "The server is busy",
    "The database did not answer in time, so nothing was changed.",
    "Try again in a few seconds.",
)
OVERLOADED = Failure(
    503,
    "overloaded",
    "Many images are waiting right now",
    "The server has as much to do as it can promise, so nothing was stored.",
    "Go back and try again in a few seconds.",
)
STORE_DOWN = Failure(
    503,
    "storage",
    "The server's storage did not answer",
    "Your models and results are kept there; nothing was changed.",
    "Try again in a few seconds.",
)
DISK_FULL = Failure(
    507,
    "disk_full",
    "The server's disk is full",
    "There was no room to store this. Nothing was kept of it, and your models are as they were.",
    "Delete results or models you no longer need, or ask whoever runs this server to make room.",
)
TOO_LARGE = Failure(
    413,
    "too_large",
    "That is too much at once",
    f"One upload may have at most {settings.UPLOAD_LIMIT_BYTES // 10**6} MB, "
    f"a batch of images {settings.BATCH_LIMIT_BYTES // 10**6} MB.",
    "Send fewer or smaller files.",
)
TOO_MANY_FILES = Failure(
    413,
    "too_many_files",
    "Those are too many files at once",
    f"One upload may have at most {settings.UPLOAD_LIMIT_FILES} files, a batch of images {settings.BATCH_LIMIT_FILES}.",
    "Send fewer files, or put them into one zip archive.",
)


def known(error: BaseException | None) -> Failure | None:
    """The answer to an error that is no mistake of the program, or None."""
    if isinstance(error, TooManyFilesSent):
        return TOO_MANY_FILES
    if isinstance(error, RequestDataTooBig | TooManyFieldsSent):
        return TOO_LARGE
    if isinstance(error, StoreUnreachable):
        return STORE_DOWN
    if isinstance(error, UnreadablePostError):
        return BAD_REQUEST
    if isinstance(error, OSError) and disk_is_full(error):
        return DISK_FULL
    if isinstance(error, OperationalError | InterfaceError):
        full = any(words in str(error).lower() for words in ("disk is full", "no space left"))
        return DISK_FULL if full else BUSY
    return None


def answer(request: HttpRequest, failure: Failure, retry_after: int = RETRY_SECONDS) -> HttpResponse:
    """The failure in the form the client reads: JSON below /api/, a fragment for htmx, else a page.

    `retry_after` is in seconds, for what may be tried again.
    """
    response: HttpResponse
    if request.path.startswith("/api/"):
        words = f"{failure.message} {failure.advice}"
        response = JsonResponse({"error": {"code": failure.code, "message": words}}, status=failure.status)
    else:
        response = HttpResponse(_page(request, failure), status=failure.status)
    if failure.status == 503:
        response["Retry-After"] = str(retry_after)
    response["Cache-Control"] = "no-store"
    return response


def _page(request: HttpRequest, failure: Failure) -> str:
    context = {
        "code": failure.status,
        "title": failure.title,
        "message": failure.message,
        "advice": failure.advice,
    }
    partial = bool(getattr(request, "htmx", False))
    try:
        return render_to_string("errors/partial.html" if partial else f"errors/{failure.status}.html", context, request)
    except Exception:
        # The page's frame asks the database for the status; when that is what failed, the words alone must do.
        logger.exception("could not render the page for status %s", failure.status)
        frame = (
            '<p role="alert">{} {} {}</p>' if partial else "<!doctype html><title>{0}</title><h1>{0}</h1><p>{1} {2}</p>"
        )
        return format_html(frame, failure.title, failure.message, failure.advice)


class FriendlyFailures:
    """Turns the failures that machines and uploads bring into answers. Stands before the CSRF check, which reads
    the whole upload, and behind what puts `visitor` and `htmx` on the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if _length(request) > most_bytes(request.path):
            drain(request)
            return answer(request, TOO_LARGE)
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        failure = known(error)
        if failure is None:
            return None
        logger.warning("%s %s answered with %s: %s", request.method, request.path, failure.status, error)
        return answer(request, failure)


def most_bytes(path: str) -> int:
    """What one post to this address may have."""
    batch = path in (reverse("api-batch"), reverse("analyze-batch"))
    return settings.BATCH_LIMIT_BYTES + ENVELOPE if batch else settings.UPLOAD_LIMIT_BYTES


def drain(request: HttpRequest) -> None:
    """Read the rest of an upload that is refused, up to a bound."""
    left, until = DRAIN_BYTES, time.monotonic() + DRAIN_SECONDS
    try:
        while left > 0 and time.monotonic() < until:
            piece = request.read(2**18)
            if not piece:
                return
            left -= len(piece)
    except OSError:
        return  # the client has given up


def _length(request: HttpRequest) -> int:
    value = request.META.get("CONTENT_LENGTH") or "0"
    return int(value) if value.isdigit() else 0


# --- Django's hooks ---------------------------------------------------------------------------------------


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW."""
    return answer(request, CSRF)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400, which also gets uploads over a limit when it is the CSRF check that reads them."""
    failure = known(exception)
    if failure is not None:
        drain(request)
    return answer(request, failure or BAD_REQUEST)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return answer(request, FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404: the same words whether it does not exist or is another's."""
    return answer(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500, called while the error is handled; a database that fails in a middleware ends here."""
    return answer(request, known(sys.exc_info()[1]) or SERVER_ERROR)
