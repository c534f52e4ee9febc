"""Fair scheduling: the next job is that of the waiting visitor whose jobs have cost this worker least so far; where
several are equal, of the one served least recently.

A job costs 1, an image as many forward passes as it takes: after an image of a thousand passes the others' next
thousand go first. A visitor who returns after a pause starts with the cost of the visitor being served, so a pause
earns no credit. One visitor's hundred jobs therefore delay another's first by no more than the job in progress. Each
worker keeps its own counters, uses no clock, and starts with none after a restart.
"""

from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from segapp.models import MAX_ATTEMPTS, Analysis, Batch, Export, State, VideoJob

MAX_KNOWN = 10_000  # visitors remembered
BESIDE_VIDEOS: tuple[type[Any], ...] = (VideoJob, Batch, Export)  # and images read in windows

_served: dict[str, tuple[float, int]] = {}  # visitor -> what they have had, and the count of their latest job
_counter = count(1)
_now = 0.0  # the share of the visitor served now, before this turn; a waiting visitor counts as having had no less


def begun(visitor: str, cost: float = 1) -> None:
    """Remember that a job of the visitor's was begun."""
    global _now
    _now = _had(visitor)[0]
    _served.pop(visitor, None)
    _served[visitor] = _now + cost, next(_counter)
    while len(_served) > MAX_KNOWN:
        _served.pop(next(iter(_served)))


def _had(visitor: str) -> tuple[float, int]:
    had, latest = _served.get(visitor, (0.0, 0))
    return max(had, _now), latest


def in_order(waiting: Iterable[tuple[int, str]], preferred: int | None = None) -> list[int]:
    """Primary keys of (primary key, visitor) by turn: of the visitor who has had least first, then the oldest.

    Of the same visitor's, `preferred` comes first.
    """
    return [pk for pk, who in sorted(waiting, key=lambda row: (_had(row[1]), row[0] != preferred, row[0]))]


def next_kind(asked: type[Any]) -> type[Any]:
    """Which kind of work beside videos to begin now that a message for one of kind `asked` came."""
    heads = [(_had(who), kind is not asked, created, kind) for created, who, kind in _beside_videos()]
    return min(heads, key=lambda head: head[:3])[3] if heads else asked


def others_wait(visitor: str) -> bool:
    """Whether another visitor's work waits beside the videos."""
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
