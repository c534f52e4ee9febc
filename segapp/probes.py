"""/live and /ready: what an orchestrator asks. No visitor, no cookie, nothing about hosts; both cost next to nothing.

Live: this process answers. Ready: it can also do its work, because database and media are there; a broker that is away
is no reason to send no requests here, since work waits in the database.
"""

from collections.abc import Callable

from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

LIVE, READY = "/live", "/ready"


class Probes:
    """Middleware before all that checks who is asking, or at the host's name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info not in (LIVE, READY):
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        away = missing() if request.path_info == READY else []
        body = {"status": "unavailable", "missing": away} if away else {"status": "ok"}
        return JsonResponse(body, status=503 if away else 200, headers={"Cache-Control": "no-store"})


def missing() -> list[str]:
    """What is not there of what every request needs."""
    found = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        found.append("database")
    if not settings.MEDIA_ROOT.is_dir():
        found.append("media")
    return found
