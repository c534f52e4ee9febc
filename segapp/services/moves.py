"""Requests that were under way while their visitor was joined, signed out elsewhere or deleted.

What such a request stored belongs to an id that is no longer in use: it goes where everything else went.
"""

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from segapp.models import VisitorMove
from segapp.services import mydata, restore
from segapp.visitors import current_id

KEPT = timedelta(days=1)  # longer than any request takes


def latest() -> int:
    """The number of the latest move, to be remembered when a request comes in."""
    return VisitorMove.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def move_stored(visitor: str, seen: int) -> None:
    """Take along what a request of `visitor` stored, if its visitor has moved since the move `seen`."""
    if (joined := current_id(visitor)) != visitor:
        restore.join(visitor, joined)
        return
    move = VisitorMove.objects.filter(old=visitor, pk__gt=seen).order_by("-pk").first()
    if move is None:
        return
    if move.joined:
        restore.join(visitor, move.new)
    elif move.new:
        restore.take_along(visitor, current_id(move.new))
    else:
        mydata.erase(visitor)


def expired() -> QuerySet[VisitorMove]:
    return VisitorMove.objects.filter(created__lt=timezone.now() - KEPT)
