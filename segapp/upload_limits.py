"""How much one post may have, decided by its address and its declared length, before anything of it is read."""

import time

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

# A browser shows the answer only when its upload was taken to the end, so a refused one is read and dropped, within
# reason.
DRAIN_BYTES = 1000 * 10**6
DRAIN_SECONDS = 30
ENVELOPE = 2**20  # what a form adds to hundreds of files


def max_bytes(path: str) -> int:
    """What one post to this address may have."""
    batch = path in (reverse("api-batch"), reverse("analyze-batch"))
    if batch:
        return settings.BATCH_LIMIT_BYTES + ENVELOPE
    if path in (reverse("api-segment"), reverse("analyze")):
        return max(settings.IMAGE_LIMIT_BYTES, settings.UPLOAD_LIMIT_BYTES) + ENVELOPE
    return settings.UPLOAD_LIMIT_BYTES


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
