"""How many visitors at a time a server holds: which number to try next, and what a tried one showed.

Knows nothing of servers and visitors.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segapp.bench.load import percentile

PAGE, ANALYZE = "page", "analyze"
MAX_P95_MS = {PAGE: 1000.0, ANALYZE: 3000.0}
FIRST = 4  # visitors; then twice as many each time
FINENESS = 8  # between held and not held there is at most one in so many of those held
OK, REFUSED = "ok", "refused"


@dataclass(frozen=True)
class Act:
    """A page that a visitor opened or an image that they sent: when it began (monotonic) and how many seconds it took
    until everything was there. `outcome`: OK, REFUSED (503), or what went wrong."""

    kind: str
    began: float
    seconds: float
    outcome: str = OK


def next_level(held: Mapping[int, bool], most: int) -> int | None:
    """The number of visitors to try next, after those in `held`; None when the largest number held is known.

    Doubles until one is not held, then halves what lies between; never above `most`.
    """
    failed = min((level for level, good in held.items() if not good), default=None)
    best = largest_held(held)
    if failed is None:
        return None if best >= most else min(most, max(FIRST, 2 * best))
    if failed - best <= max(1, best // FINENESS):
        return None
    return (best + failed) // 2


def largest_held(held: Mapping[int, bool]) -> int:
    """The largest number of visitors that was held, below every one that was not; 0 when there is none."""
    failed = min((level for level, good in held.items() if not good), default=None)
    return max((level for level, good in held.items() if good and (failed is None or level < failed)), default=0)


def figures(
    visitors: int, acts: Sequence[Act], requests: Sequence[float], since: float, until: float
) -> dict[str, Any]:
    """What a level showed from `since` to `until`, of all acts and of the times at which requests were sent.

    An act belongs to it that began in that time, whenever it ended: who waits longest would not be seen otherwise.
    """
    counted = [act for act in acts if since <= act.began < until]
    seconds = until - since
    errors = Counter(act.outcome for act in counted if act.outcome not in (OK, REFUSED))
    row: dict[str, Any] = {
        "visitors": visitors,
        "seconds": round(seconds, 1),
        "requests_per_second": round(sum(since <= sent < until for sent in requests) / seconds, 1),
    }
    for kind in (PAGE, ANALYZE):
        took = sorted(act.seconds * 1000 for act in counted if act.kind == kind and act.outcome == OK)
        row[f"{kind}s"] = len(took)
        row[f"{kind}_p50_ms"], row[f"{kind}_p95_ms"] = percentile(took, 50), percentile(took, 95)
    row["refused"] = sum(act.outcome == REFUSED for act in counted)
    row["errors"] = sum(errors.values())
    if errors:
        row["errors_by_kind"] = dict(errors)
    return {**row, "held": is_held(row)}


def is_held(row: Mapping[str, Any]) -> bool:
    """Whether nothing was refused or failed, and both kinds of acts were quick enough."""
    if row["refused"] or row["errors"]:
        return False
    return all(row[f"{kind}_p95_ms"] is not None and row[f"{kind}_p95_ms"] <= most for kind, most in MAX_P95_MS.items())
