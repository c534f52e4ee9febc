"""Whose turn it is: of the visitors who wait, the one whom this worker has served least recently.

So one visitor's hundred jobs delay another's first by no more than the one that is being done. Each worker remembers
for itself, by a counter and not by a clock; after a restart everybody starts alike.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from segapp.models import MAX_ATTEMPTS, Analysis, Batch, Export, State, VideoJob

MAX_KNOWN = 10_000  # visitors remembered
BESIDE_VIDEOS: tuple[type[Any], ...] = (VideoJob, Batch, Export)  # and images read in windows

_served: dict[str, int] = {}  # visitor -> the count at which a job of theirs was begun last
_counter = count(1)


def begun(visitor: str) -> None:
    """Remember that a job of the visitor's was begun."""
    _served.pop(visitor, None)
    _served[visitor] = next(_counter)
    while len(_served) > MAX_KNOWN:
        _served.pop(next(iter(_served)))


def in_order(waiting: Iterable[tuple[int, str]], preferred: int | None = None) -> list[int]:
    """Primary keys of (primary key, visitor) by turn: the visitor served least recently first, then the oldest.

    Of the same visitor's, `preferred` comes first.
    """
    return [pk for pk, who in sorted(waiting, key=lambda row: (_served.get(row[1], 0), row[0] != preferred, row[0]))]


def next_kind(asked: type[Any]) -> type[Any]:
    """Which kind of work beside videos to begin now that a message for one of kind `asked` came."""
    heads = [(_served.get(who, 0), kind is not asked, created, kind) for created, who, kind in _beside_videos()]
    return min(heads, key=lambda head: head[:3])[3] if heads else asked


def others_wait(visitor: str) -> bool:
    """Whether somebody else's work waits beside the videos."""
    return any(who != visitor for _, who, _ in _beside_videos())


def _beside_videos() -> list[tuple[Any, str, type[Any]]]:
    found = []
    for kind in BESIDE_VIDEOS:
        rows = kind._default_manager.filter(state=State.QUEUED, attempts__lt=MAX_ATTEMPTS)
        found += [(created, who, kind) for created, who in rows.values_list("created", "visitor")]
    large = Analysis.objects.filter(state=State.QUEUED, windows=True).values_list("created", "visitor")
    return [*found, *((created, who, Analysis) for created, who in large)]


def take(asked: type[Any], pk: int, begin: dict[type[Any], Callable[[int], None]]) -> None:
    """Begin the work whose turn it is; `begin` gives each kind's beginning, which claims by turn again."""
    kind = next_kind(asked)
    begin[kind](pk if kind is asked else 0)
