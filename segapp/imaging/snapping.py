"""Which values of a mask are meant, and which are only the blur between two of them.

JPEG and anti-aliased brushes leave in-between values along edges; taken literally each would be a class. A value is
meant when it fills places: pixels that look like all their neighbours. Works on small summaries, so that a whole set
of masks is judged together without holding it in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from segapp.imaging.decode import MaskSource

MOST_CLASSES = 64
KEPT = 4096  # most frequent values that a summary keeps
NOISE = 6  # how far JPEG moves a flat value
NEAR, NEAR_COLOUR = 6, 12  # a pixel this near to a main value belongs to it without doubt
APART = 24  # two main values of a JPEG stand at least this far apart
GAP = 16  # anti-aliasing is looked for only between main values this far apart
TRANSPARENT = -1


@dataclass(frozen=True)
class Summary:
    """What a mask holds: per value (a number, a colour as 0xrrggbb, or TRANSPARENT) its pixels and its flat pixels."""

    kind: str
    lossy: bool
    pixels: int
    distinct: int
    counts: dict[int, tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        rows = [[key, *pair] for key, pair in self.counts.items()]
        return {"kind": self.kind, "lossy": self.lossy, "pixels": self.pixels, "distinct": self.distinct, "rows": rows}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Summary":
        counts = {int(key): (int(all_), int(flat)) for key, all_, flat in data["rows"]}
        return cls(data["kind"], data["lossy"], data["pixels"], data["distinct"], counts)


def keys_of(source: MaskSource) -> np.ndarray:
    """int32 (H, W): the value, the colour as 0xrrggbb, or TRANSPARENT, of each pixel."""
    if source.kind == "index":
        return source.values.astype(np.int32)
    red, green, blue, alpha = (source.values[..., channel].astype(np.int32) for channel in range(4))
    return np.where(alpha < 128, TRANSPARENT, (red << 16) | (green << 8) | blue)


def summarise(source: MaskSource) -> Summary:
    keys = keys_of(source)
    flat = _flat(source, keys)
    found, counts = np.unique(keys, return_counts=True)
    places = dict(zip(*(part.tolist() for part in np.unique(keys[flat], return_counts=True)), strict=True))
    order = np.argsort(-counts, kind="stable")[:KEPT]
    rows = {int(found[k]): (int(counts[k]), places.get(int(found[k]), 0)) for k in order}
    return Summary(source.kind, source.lossy, keys.size, len(found), rows)


def main_values(summaries: list[Summary]) -> list[int] | None:
    """The values that are meant, sorted; None when all are: a clean mask, or no mask at all but a photo."""
    totals: dict[int, list[int]] = {}
    for summary in summaries:
        for key, (count, flat) in summary.counts.items():
            total = totals.setdefault(key, [0, 0])
            total[0], total[1] = total[0] + count, total[1] + flat
    colour = any(summary.kind == "colour" for summary in summaries)
    everything = sum(summary.pixels for summary in summaries)
    if any(summary.lossy for summary in summaries) or len(totals) > MOST_CLASSES:
        mains = _peaks(totals, colour, everything)
        keys = np.array(list(totals))
        sizes = np.array([count for count, _ in totals.values()])
        near = sizes[_distance(keys, np.array(mains), colour).min(axis=1) <= (NEAR_COLOUR if colour else NEAR)].sum() if mains else 0
        # A drawn mask is nearly all plain areas. A photo is not: left as it is, it has too many values and is refused.
        return mains if near >= 0.8 * everything else None
    return _without_blends(totals, colour, everything)


def nearest(keys: np.ndarray, mains: np.ndarray, colour: bool) -> np.ndarray:
    """For each key the nearest main value; TRANSPARENT stays what it is."""
    best = mains[_distance(keys, mains, colour).argmin(axis=1)]
    return np.where(keys == TRANSPARENT, TRANSPARENT, best)


def _flat(source: MaskSource, keys: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels like all four neighbours, within JPEG's noise where there is any; borders are not flat."""
    flat = np.zeros(keys.shape, dtype=bool)
    if min(keys.shape) < 3:
        return np.ones(keys.shape, dtype=bool)
    values = source.values.astype(np.int32)
    middle = values[1:-1, 1:-1]
    inner = np.ones(middle.shape[:2], dtype=bool)
    for other in (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]):
        apart = np.abs(middle - other)
        inner &= (apart.max(axis=-1) if apart.ndim == 3 else apart) <= (NOISE if source.lossy else 0)
    flat[1:-1, 1:-1] = inner
    return flat


def _peaks(totals: dict[int, list[int]], colour: bool, everything: int) -> list[int]:
    """Main values, the one with most flat pixels first; what stands near one that was taken is its noise."""
    left = sorted((key for key in totals if key != TRANSPARENT), key=lambda key: -totals[key][1])
    least = max(4, everything * 2e-5)
    mains: list[int] = []
    for key in left:
        if totals[key][1] < least or len(mains) > MOST_CLASSES:
            break
        if not mains or _distance(np.array([key]), np.array(mains), colour).min() > APART:
            mains.append(key)
    return sorted(mains)


def _without_blends(totals: dict[int, list[int]], colour: bool, everything: int) -> list[int] | None:
    """The main values of an anti-aliased mask; None when nothing in it looks like blending.

    Thin true classes must survive, so all of it must fit: at least three values, none of them filling a place, all
    between two main values far apart, and together a small part of the mask.
    """
    mains = np.array([key for key, (_, flat) in totals.items() if flat and key != TRANSPARENT])
    thin = np.array([key for key, (_, flat) in totals.items() if not flat and key != TRANSPARENT])
    share = sum(totals[int(key)][0] for key in thin) / max(1, everything)
    if len(thin) < 3 or len(mains) < 2 or share > 0.2:
        return None
    blends = [key for key in thin if _between(int(key), mains, colour)]
    if len(blends) < 3 or len(blends) < 0.9 * len(thin):
        return None
    return sorted(int(key) for key in {*totals} - {int(b) for b in blends} if key != TRANSPARENT)


def _between(key: int, mains: np.ndarray, colour: bool) -> bool:
    """Whether the value lies on the way from one main value to another that is at least GAP away."""
    if not colour:
        below, above = mains[mains < key], mains[mains > key]
        return bool(len(below) and len(above) and above.min() - below.max() >= GAP)
    points, point = _split(mains).astype(float), _split(np.array([key]))[0].astype(float)
    for k, start in enumerate(points):
        ways = points[k + 1 :] - start
        lengths = (ways**2).sum(axis=1)
        along = ((point - start) @ ways.T) / np.maximum(lengths, 1)
        off = np.abs(start + along[:, None] * ways - point).max(axis=1)
        if bool(((lengths >= GAP**2) & (along > 0.02) & (along < 0.98) & (off <= 4)).any()):
            return True
    return False


def _distance(keys: np.ndarray, mains: np.ndarray, colour: bool) -> np.ndarray:
    """(keys, mains): how far values stand apart; for colours in the channel where they differ most."""
    if not colour:
        return np.abs(keys[:, None].astype(np.int64) - mains[None])
    return np.abs(_split(keys)[:, None] - _split(mains)[None]).max(axis=2)


def _split(keys: np.ndarray) -> np.ndarray:
    """(N, 3): red, green, blue of packed colours."""
    return np.stack([(keys >> 16) & 255, (keys >> 8) & 255, keys & 255], axis=1).astype(np.int64)
