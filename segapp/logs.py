"""The request that a log line belongs to, in the web process and in the workers.

Knows nothing of Django's requests beyond their headers, and nothing of tasks beyond a message's headers.
"""

import logging
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
MESSAGE_HEADER = "request_id"
SAFE = re.compile(r"[A-Za-z0-9._-]{8,64}")

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestId:
    """Middleware: takes the proxy's id for the request, or makes one, and sends it back with the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        token = request_id.set(given if SAFE.fullmatch(given) else secrets.token_hex(8))
        try:
            response = self.get_response(request)
            response[HEADER] = request_id.get()
            return response
        finally:
            request_id.reset(token)


class AddRequestId(logging.Filter):
    """Puts `request_id` on every record; "-" outside of requests and tasks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True
