"""Masks that number objects instead of classes: how they are recognised over a whole set, and their object numbers.

Knows nothing of files. A set is judged on one short table a mask, so fifty large masks cost no memory.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from segapp.imaging.decode import MaskSource
from segapp.imaging.values import TRANSPARENT, bands, keys_of

VOID = 255  # in 8 bits and without a 254: the border that PASCAL VOC draws around objects
MAX_OBJECTS = 65535  # numbers of 16 bits, from 1
MAX_RUNS = 4_000_000  # runs of equal pixels; a photo has more, a mask far fewer

WHOLE_SHARE = 0.95  # of the values that must be one connected area
GAPLESS_SHARE = 0.8  # of the numbers between the lowest and the highest that must occur
BACKGROUND_SHARE = 0.03  # of the pixels that one value must fill between the objects
MIN_AREA = 9  # pixels of the median object
MIN_OBJECTS, MIN_TOTAL = 4, 6  # in the fullest mask and in all: fewer are as likely to be classes
MIN_ALONE = 20  # in a set of one mask, where counts cannot differ
MAX_CLASSES = 64  # more values than these can only be objects
SUSPICIOUS = 8  # classes from which one-area values are worth a warning


@dataclass(frozen=True)
class Objects:
    """What one mask would hold if its values were object numbers.

    count: values beside the background; whole: those that are one connected area; low, high: the smallest and largest
    number, or place in PASCAL VOC's colour map (0, 0 for colours of another order); area: pixels of the median object;
    background: the key between them; between: its share of the pixels; void: 255 is a border and no object.
    """

    count: int
    whole: int
    low: int
    high: int
    area: float
    background: int
    between: float
    void: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def survey(source: MaskSource) -> Objects | None:
    """None for a mask that was compressed with loss or has no areas to speak of."""
    if source.lossy:
        return None
    keys = keys_of(source, slice(None))
    runs = _runs(keys)
    if runs is None:
        return None
    label, start, end, width = runs
    values, places = np.unique(label, return_inverse=True)
    areas = np.bincount(places, weights=end - start)
    background = _background(values, areas)
    void = _has_void(source, values)
    kept = (values != background) & (values != TRANSPARENT) & ~((values == VOID) & void)
    if not kept.any():
        return Objects(0, 0, 0, 0, 0.0, background, 1.0, void)
    pieces = _components(places, start, end, width, len(values))
    low, high = _range(values[kept], source.kind)
    between = float(areas[values == background].sum() / keys.size)
    return Objects(
        int(kept.sum()),
        int((pieces[kept] == 1).sum()),
        low,
        high,
        float(np.median(areas[kept])),
        background,
        between,
        void,
    )


def numbers(source: MaskSource, found: Objects) -> np.ndarray:
    """uint16 (H, W): 1 to n in the order of the mask's own values, 0 between."""
    rows = [part for part, _ in bands(source.values.shape)]  # the whole mask at once would take 40 bytes a pixel
    values = np.unique(np.concatenate([np.unique(keys_of(source, part)) for part in rows]))
    kept = (values != found.background) & (values != TRANSPARENT) & ~((values == VOID) & found.void)
    table = np.where(kept, np.cumsum(kept), 0)
    table[table > MAX_OBJECTS] = 0
    out = np.empty(source.values.shape[:2], dtype=np.uint16)
    for part in rows:
        out[part] = table[np.searchsorted(values, keys_of(source, part))]
    return out


def are_objects(surveys: Sequence[Objects | None], colours: Sequence[frozenset[int]] | None = None) -> bool:
    """The contract's rule over a set. `colours`: of a set of coloured masks, the colours of the objects in each."""
    if not surveys or any(found is None for found in surveys):
        return False
    found = [one for one in surveys if one is not None]
    counts = [one.count for one in found]
    total, most = sum(counts), max(counts)
    if most < MIN_OBJECTS or total < MIN_TOTAL or len({one.background for one in found if one.count}) > 1:
        return False
    if len(set(counts)) == 1 and most <= MAX_CLASSES and not (len(counts) == 1 and most >= MIN_ALONE):
        return False
    if sum(one.whole for one in found) < WHOLE_SHARE * total:
        return False
    if float(np.median([one.area for one in found if one.count])) < MIN_AREA:
        return False
    if float(np.mean([one.between for one in found])) < BACKGROUND_SHARE:
        return False
    return _are_numbered(found) or (colours is not None and _differ(colours))


def look_like_objects(surveys: Sequence[Objects | None]) -> bool:
    """Whether a set that is read as classes holds many values of one area each: worth asking about."""
    found = [one for one in surveys if one is not None and one.count]
    total = sum(one.count for one in found)
    return (
        bool(found)
        and max(one.count for one in found) >= SUSPICIOUS
        and sum(one.whole for one in found) >= WHOLE_SHARE * total
    )


def is_plausible(found: Objects | None) -> bool:
    """Whether a single mask may be one of numbered objects; the set decides."""
    if found is None:
        return False
    return are_objects([found, Objects(0, 0, 0, 0, 0.0, found.background, found.between, False)], [])


def _are_numbered(found: Sequence[Objects]) -> bool:
    """Whether the numbers have hardly any gaps."""
    spans = [(one.count, one.high - one.low + 1) for one in found if one.count]
    return all(one.high for one in found if one.count) and sum(c for c, _ in spans) >= GAPLESS_SHARE * sum(
        span for _, span in spans
    )


def _differ(colours: Sequence[frozenset[int]]) -> bool:
    """Whether objects were given colours at random: then hardly any occurs in two masks."""
    return sum(map(len, colours)) <= 1.1 * len(frozenset().union(*colours))


def _background(values: np.ndarray, areas: np.ndarray) -> int:
    for usual in (0, TRANSPARENT):
        if usual in values:
            return usual
    return int(values[areas.argmax()])


def _has_void(source: MaskSource, values: np.ndarray) -> bool:
    if source.kind != "index":
        return False
    return source.values.dtype == np.uint8 and VOID in values and VOID - 1 not in values


def _range(values: np.ndarray, kind: str) -> tuple[int, int]:
    if kind == "index":
        return int(values.min()), int(values.max())
    places = [_VOC.get(int(value), 0) for value in values]
    return (min(places), max(places)) if all(places) else (0, 0)


def _voc_colour(number: int) -> int:
    """The colour 0xrrggbb that PASCAL VOC's map gives a number."""
    red = green = blue = 0
    for bit in range(8):
        red |= (number & 1) << (7 - bit)
        green |= (number >> 1 & 1) << (7 - bit)
        blue |= (number >> 2 & 1) << (7 - bit)
        number >>= 3
    return red << 16 | green << 8 | blue


_VOC = {_voc_colour(number): number for number in range(1, 256)}


def _runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int] | None:
    """(value, start, end, width) of the runs of equal pixels in rows, as places in rows that are `width` apart."""
    height, width = keys.shape
    changes = np.ones((height, width), dtype=bool)
    np.not_equal(keys[:, 1:], keys[:, :-1], out=changes[:, 1:])
    flat = np.flatnonzero(changes)
    if len(flat) > MAX_RUNS:
        return None
    ends = np.append(flat[1:], keys.size)
    row = flat // width
    apart = width + 2  # so that no run touches one at the other end of the next row
    return keys.ravel()[flat], flat + 2 * row, ends + 2 * row, apart


def _components(label: np.ndarray, start: np.ndarray, end: np.ndarray, width: int, count: int) -> np.ndarray:
    """How many connected areas (also over corners) each of `count` labels has."""
    first = np.searchsorted(end, start + width, "left")
    last = np.searchsorted(start, end + width, "right")
    many = np.maximum(last - first, 0)
    one = np.repeat(np.arange(len(start)), many)
    offsets = np.arange(len(one)) - np.repeat(np.cumsum(many) - many, many)
    other = np.repeat(first, many) + offsets
    same = label[one] == label[other]
    root = _united(len(start), one[same], other[same])
    return np.bincount(label[np.unique(root)], minlength=count)


def _united(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node it is connected with."""
    root = np.arange(count)
    while len(one):
        a, b = root[one], root[other]
        apart = a != b
        if not apart.any():
            break
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(shorter := root[root], root):
            root = shorter
    return root
