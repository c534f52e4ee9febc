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
    """What a mask holds: per value (a number, a colour as 0xrrggbb, or TRANSPARENT) how many pixels have it, how many
    of them are flat (like their neighbours), and how many lie between theirs (one is darker, one is lighter)."""

    kind: str
    lossy: bool
    pixels: int
    distinct: int
    counts: dict[int, tuple[int, int, int]]

    def to_dict(self) -> dict[str, Any]:
        rows = [[key, *pair] for key, pair in self.counts.items()]
        return {"kind": self.kind, "lossy": self.lossy, "pixels": self.pixels, "distinct": self.distinct, "rows": rows}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Summary":
        counts = {int(key): (int(all_), int(flat), int(between)) for key, all_, flat, between in data["rows"]}
        return cls(data["kind"], data["lossy"], data["pixels"], data["distinct"], counts)


def keys_of(source: MaskSource) -> np.ndarray:
    """int32 (H, W): the value, the colour as 0xrrggbb, or TRANSPARENT, of each pixel."""
    if source.kind == "index":
        return source.values.astype(np.int32)
    red, green, blue, alpha = (source.values[..., channel].astype(np.int32) for channel in range(4))
    return np.where(alpha < 128, TRANSPARENT, (red << 16) | (green << 8) | blue)


def summarise(source: MaskSource) -> Summary:
    keys = keys_of(source)
    flat, between = _neighbourhood(source)
    found, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    place = place.ravel()
    flats = np.bincount(place, weights=flat.ravel(), minlength=len(found))
    betweens = np.bincount(place, weights=between.ravel(), minlength=len(found))
    order = np.argsort(-counts, kind="stable")[:KEPT]
    rows = {int(found[k]): (int(counts[k]), int(flats[k]), int(betweens[k])) for k in order}
    return Summary(source.kind, source.lossy, keys.size, len(found), rows)


def main_values(summaries: list[Summary]) -> list[int] | None:
    """The values that are meant, sorted; None when all are: a clean mask, or no mask at all but a photo."""
    totals: dict[int, list[int]] = {}
    for summary in summaries:
        for key, figures in summary.counts.items():
            totals[key] = [sum(pair) for pair in zip(totals.get(key, (0, 0, 0)), figures, strict=True)]
    colour = any(summary.kind == "colour" for summary in summaries)
    everything = sum(summary.pixels for summary in summaries)
    if any(summary.lossy for summary in summaries) or len(totals) > MOST_CLASSES:
        mains = _peaks(totals, colour, everything)
        keys = np.array(list(totals))
        sizes = np.array([count for count, _, _ in totals.values()])
        near = (
            sizes[_distance(keys, np.array(mains), colour).min(axis=1) <= (NEAR_COLOUR if colour else NEAR)].sum()
            if mains
            else 0
        )
        # A drawn mask is nearly all plain areas. A photo is not: left as it is, it has too many values and is refused.
        return mains if near >= 0.8 * everything else None
    return _without_blends(totals, colour, everything)


def nearest(keys: np.ndarray, mains: np.ndarray, colour: bool) -> np.ndarray:
    """For each key the nearest main value; TRANSPARENT stays what it is."""
    best = mains[_distance(keys, mains, colour).argmin(axis=1)]
    return np.where(keys == TRANSPARENT, TRANSPARENT, best)


def _neighbourhood(source: MaskSource) -> tuple[np.ndarray, np.ndarray]:
    """Two bool (H, W): pixels like all four neighbours (within JPEG's noise where there is any), and pixels with a
    darker and a lighter one among the eight around, in some channel. The border is neither."""
    values = source.values if source.kind == "index" else source.values[..., :3]
    values = values.astype(np.int32).reshape(*source.values.shape[:2], -1)
    flat, between = np.zeros((2, *values.shape[:2]), dtype=bool)
    if min(flat.shape) < 3:
        return ~flat, between
    middle = values[1:-1, 1:-1]
    height, width = middle.shape[:2]
    around = {(y, x): values[y : y + height, x : x + width] for y in range(3) for x in range(3) if (y, x) != (1, 1)}
    low, high = np.full_like(middle, 2**30), np.full_like(middle, -1)
    for other in around.values():
        np.minimum(low, other, out=low)
        np.maximum(high, other, out=high)
    crosses = [np.abs(middle - around[place]).max(axis=2) for place in ((0, 1), (2, 1), (1, 0), (1, 2))]
    flat[1:-1, 1:-1] = np.max(crosses, axis=0) <= (NOISE if source.lossy else 0)
    between[1:-1, 1:-1] = ((low < middle) & (middle < high)).any(axis=2)
    return flat, between


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
    between two main values far apart, most of their pixels between a darker and a lighter one, and together a small
    part of the mask.
    """
    mains = np.array([key for key, (_, flat, _) in totals.items() if flat and key != TRANSPARENT])
    thin = [key for key, (_, flat, _) in totals.items() if not flat and key != TRANSPARENT]
    share = sum(totals[key][0] for key in thin) / max(1, everything)
    if len(thin) < 3 or len(mains) < 2 or share > 0.2:
        return None
    lie_between = sum(totals[key][2] for key in thin) >= 0.6 * sum(totals[key][0] for key in thin)
    blends = {key for key in thin if lie_between and _between(key, mains, colour)}
    if len(blends) < 3 or len(blends) < 0.9 * len(thin):
        return None
    return sorted(key for key in totals.keys() - blends if key != TRANSPARENT)


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
