"""Whether an upload may come in, by its declared length and by who sends it, before its body is kept.

The web server asks for large ones as soon as their head is there (gunicorn_worker.py); for those that came another way
the answer is found when the request is there. Bodies on their way are counted, so that many at once do not each take
the same room for free.
"""

import secrets
import threading
from collections import Counter
from collections.abc import Mapping

from django.db import Error, close_old_connections
from django.http import HttpRequest
from django.http.cookie import parse_cookie

from segapp import upload_limits
from segapp.services import errors, limits, storage
from segapp.services.errors import UserError
from segapp.visitors import known_id

NOTE = "HTTP_X_SEGAPP_REFUSED"  # names a refusal of this process; what a client writes there names none
CHECKED_BYTES = 2**20  # smaller bodies hardly count; services hold what they store to the quotas anyway
MAX_REFUSALS = 1000

_coming: Counter[str] = Counter()  # source -> declared bytes of bodies on their way
_refused: dict[str, UserError] = {}
_lock = threading.Lock()


class Arriving:
    """One body on its way, counted until `done`."""

    def __init__(self, source: str, length: int) -> None:
        self._source, self._length = source, length

    def done(self) -> None:
        with _lock:
            _coming[self._source] -= self._length
            self._length = 0
            if not _coming[self._source]:
                del _coming[self._source]


def ask_in_thread(headers: Mapping[str, str], path: str, address: str, length: int) -> Arriving | str:
    """`ask` for a thread that no request belongs to."""
    close_old_connections()
    try:
        return ask(headers, path, address, length)
    finally:
        close_old_connections()


def ask(headers: Mapping[str, str], path: str, address: str, length: int) -> Arriving | str:
    """For the web server: count the body in, or the note that says why it is not taken.

    `headers` as WSGI names them without HTTP_. Where the database does not answer the body comes in: what wants to
    store it asks again.
    """
    request = HttpRequest()
    request.path = path
    request.META = {f"HTTP_{name}": value for name, value in headers.items()} | {"REMOTE_ADDR": address}
    request.COOKIES = parse_cookie(headers.get("COOKIE", ""))
    source = storage.source_of(limits.address(request))
    try:
        error = refusal(request, length)
    except Error:
        error = None
    with _lock:
        if error is None:
            _coming[source] += length
            return Arriving(source, length)
    return note(error)


def note(error: UserError) -> str:
    """A note by which `noted` finds the error again."""
    with _lock:
        while len(_refused) >= MAX_REFUSALS:  # of clients that never came to read theirs
            _refused.pop(next(iter(_refused)))
        name = secrets.token_hex(8)
        _refused[name] = error
        return name


def note_too_large() -> str:
    return note(errors.TooLarge())


def noted(request: HttpRequest) -> UserError | None:
    """Why the request's body is not taken; None when it is."""
    with _lock:
        error = _refused.pop(request.META.get(NOTE, ""), None)
    if error is not None:
        return error
    declared = request.META.get("CONTENT_LENGTH") or "0"
    length = int(declared[:18]) if declared.isdigit() else 0
    if length > upload_limits.max_bytes(request.path):
        return errors.TooLarge()
    return refusal(request, length) if length > CHECKED_BYTES else None


def refusal(request: HttpRequest, length: int) -> UserError | None:
    """Why a body of so many bytes cannot be stored for its sender; None when it can."""
    source = storage.source_of(limits.address(request))
    with _lock:
        # A body that was counted in when its head came is one of these: it may be refused a little early, never late.
        beside = {"coming": sum(_coming.values()), "coming_from_source": _coming[source] if source else 0}
    try:
        storage.hold_to_quota(known_id(request), length, source=source, copies=storage.COPIES, **beside)
    except (errors.StorageFull, errors.DiskFull) as error:
        return error
    return None
