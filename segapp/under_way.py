"""What a request stores while its visitor becomes another one lands where it belongs."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from segapp.services import moves
from segapp.visitors import VisitorRequest

SAFE = ("GET", "HEAD", "OPTIONS")


class UnderWayMiddleware:
    """Behind whatever decides who is asking, before the CSRF check, which reads the whole upload."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: VisitorRequest) -> HttpResponse:
        if request.method in SAFE:
            return self.get_response(request)
        visitor, seen = request.visitor, moves.latest()
        response = self.get_response(request)
        if request.visitor == visitor:  # else this very request moved it
            moves.move_stored(visitor, seen)
        return response
