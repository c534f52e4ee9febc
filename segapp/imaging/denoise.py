"""Which values of a mask are meant, and which are only the blur between two of them.

JPEG, scaling and anti-aliased brushes leave in-between values along edges; taken literally each would be a class. A
value is meant when it fills places: pixels that look like all their neighbours. A pixel of the blur goes to the
nearest of the main values around it, so that an edge from 0 to 255 never makes a thin line of class 128.

Thin true classes (a crack, a pole) fill no place either: they stay, because they do not lie between their neighbours
or because they are few and stand close to the other numbers.
"""

import numpy as np

from segapp.imaging import blur, palette, peaks
from segapp.imaging.decode import MaskSource
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import TRANSPARENT, Mask, Summary, bands, channels, encode, histogram

MAX_CLASSES = 64
MAX_COUNTED = 256  # an exact mask with more values than these is looked at as a noisy one
MAX_NAMED = 4096  # beyond this a message says "more than"
IGNORE = 255

PLAIN_SHARE = 0.05  # a main value's pixels are flat at least to this share
BLENDED = ((32, 0.25), (8, 0.5), (1, 0.9))  # (in-between values, share of their pixels that must blend neighbours)
FEW_BLENDS, FEW_APART = 8, 16  # so few blends must stand this far from every main value
STANDS_OUT = 64  # a thin line's value lies this far beyond what fills places
NEAR, NEAR_COLOUR = 5, 10  # noise around a main value; a photo has less than half its pixels so near to its peaks
NEAR_SHARE, SURE_SHARE = 0.65, 0.9  # of a mask that must be noisy, and of one that might be exact
MOVED_SHARE = 0.3  # of the pixels that may be blends
ASTRAY_SHARE = 0.03  # of the pixels that may be far from a main value and from an edge
EDGE, EDGE_NOISE = 4, 8  # pixels on either side of an edge that blur reaches, and JPEG with its blocks of eight
CROWDED = 40  # class numbers up to here stand too close together to survive JPEG


def settle(source: MaskSource, name: str) -> Mask:
    """The mask with its main values only. Raises InvalidFile for what holds too many values to be a mask."""
    found = histogram(source, MAX_COUNTED)
    if source.palette is not None and found is not None:
        return _exact(source, found) if _class_count(source, found) <= MAX_CLASSES else settle(_painted(source), name)
    if found is not None and len(found) <= 2 and not (source.lossy and _is_crowded(found)):
        return _exact(source, found)
    if source.lossy or found is None:
        return _denoised(source, name, NEAR_SHARE)
    mask = _exact(source, found)
    mains, blends = _mains_and_blends(mask)
    if mains and (snapped := _snapped(mask, mains)):
        return snapped
    if _class_count(source, found) > MAX_CLASSES:
        return _denoised(source, name, NEAR_SHARE)
    if blends >= FEW_BLENDS:
        try:
            return _denoised(source, name, SURE_SHARE)
        except InvalidFile:
            pass  # not noise: its values are meant as they are
    return mask


def _class_count(source: MaskSource, found: dict[int, int]) -> int:
    return len(found) - (TRANSPARENT in found) - (source.kind == "index" and IGNORE in found)


def _painted(source: MaskSource) -> MaskSource:
    """A palette mask by its colours: one with so many indices was blended before it got its palette."""
    table = np.zeros((256, 4), dtype=np.uint8)
    own = [palette.rgb(color) for color in source.palette or ()]
    table[: len(own), :3] = own
    table[:, 3] = 255
    return MaskSource("colour", table[source.values], source.lossy)


def _exact(source: MaskSource, found: dict[int, int]) -> Mask:
    keys = list(found)
    own = source.palette or ()
    colours = {key: own[key] for key in keys if 0 <= key < len(own)}
    return Mask(encode(source, keys), Summary(source.kind, tuple(keys), tuple(found.values()), palette=colours))


def _mains_and_blends(mask: Mask) -> tuple[list[int], int]:
    """The codes that are main values, none when the rest does not look like blends; and how many the rest are."""
    summary = mask.summary
    keys, counts = np.array(summary.keys), np.array(summary.counts)
    opaque = keys != TRANSPARENT
    fills = (_flat_counts(mask) >= np.maximum(1, PLAIN_SHARE * counts)) & opaque
    rest = ~fills & opaque
    mains, blends = np.flatnonzero(fills), np.flatnonzero(rest)
    number = len(blends)
    if not number or not len(mains):
        return [], number
    if summary.kind == "index" and number >= FEW_BLENDS:
        mains = _with_thin_lines(keys, mains, blends)
    if len(mains) < 2:
        return [], number
    if number < FEW_BLENDS and _distance(keys[blends], keys[mains], summary.kind) < FEW_APART:
        return [], number
    needed = next(share for least, share in BLENDED if number >= least)
    if _blending_pixels(mask, rest) < needed * counts[blends].sum():
        return [], number
    return [int(code) for code in mains], number


def _with_thin_lines(keys: np.ndarray, mains: np.ndarray, blends: np.ndarray) -> np.ndarray:
    """The main codes, and the extreme of the others where it stands out: the true value of lines one pixel wide."""
    lowest, highest = blends[keys[blends].argmin()], blends[keys[blends].argmax()]
    if keys[highest] - keys[mains].max() >= STANDS_OUT:
        mains = np.append(mains, highest)
    if keys[mains].min() - keys[lowest] >= STANDS_OUT:
        mains = np.append(mains, lowest)
    return np.sort(mains)


def _distance(some: np.ndarray, others: np.ndarray, kind: str) -> int:
    """The least distance between one of `some` and one of the `others`, by the channel that differs most."""
    apart = np.abs(channels(some, kind)[:, None] - channels(others, kind)[None]).max(axis=2)
    return int(apart.min())


def _flat_counts(mask: Mask) -> np.ndarray:
    counts = np.zeros(256, dtype=np.int64)
    for rows, proper in bands(mask.codes.shape, halo=1):
        codes = mask.codes[rows]
        plain = blur.flat(codes[..., None].astype(np.int16), 0)
        counts += np.bincount(codes[proper][plain[proper]], minlength=256)
    return counts[: len(mask.summary.keys)]


def _blending_pixels(mask: Mask, wanted: np.ndarray) -> int:
    """How many pixels of the wanted codes lie between their neighbours."""
    table = np.zeros(256, dtype=bool)
    table[: len(wanted)] = wanted
    look, found = _values_of_codes(mask), 0
    for rows, proper in bands(mask.codes.shape, halo=1):
        here = np.zeros(mask.codes[rows].shape, dtype=bool)
        here[proper] = table[mask.codes[rows][proper]]
        down, right = np.nonzero(here)
        found += int(blur.blending(look(rows), down, right, 0).sum())
    return found


def _values_of_codes(mask: Mask) -> blur.Values:
    keys = np.array(mask.summary.keys)
    table = channels(keys, mask.summary.kind)
    table[keys == TRANSPARENT] = -1
    return lambda rows: table[mask.codes[rows]]


def _snapped(mask: Mask, mains: list[int]) -> Mask | None:
    """The exact mask with its blends given to the main values; None when that explains too little of it."""
    keys = np.array(mask.summary.keys)
    kept = keys[mains]
    values = channels(kept, mask.summary.kind)
    size = mask.codes.size
    result = blur.assign(
        *(_values_of_codes(mask), mask.codes.shape, values), near=0, noise=0, edge=EDGE, most=MOVED_SHARE * size
    )
    if result is None or len(mains) > MAX_CLASSES or result[3] > ASTRAY_SHARE * size:
        return None
    index, _, moved, _ = result
    return _collected(index, kept, mask.summary.kind, moved, mask.summary.palette)


def _denoised(source: MaskSource, name: str, share: float) -> Mask:
    """The mask without the noise of compression. Raises InvalidFile when it has no main values to speak of."""
    shape = (source.values.shape[0], source.values.shape[1])
    deep = source.kind == "index" and int(source.values.max()) > 255  # 16 bits: looked at through the upper eight
    look = _values_of_pixels(source, deep)
    count = 1 if source.kind == "index" else 3
    mains = peaks.find(look, shape, count)
    if count == 1 and len(mains):
        mains = peaks.with_thin_lines(mains, int(source.values.max()) >> (8 if deep else 0))
    if not len(mains) or len(mains) > MAX_CLASSES:
        raise _too_many(source, name)
    _hold_crowded(source, name)
    near = NEAR if source.kind == "index" else NEAR_COLOUR
    size = shape[0] * shape[1]
    result = blur.assign(look, shape, mains, near=near, noise=peaks.NOISE, edge=EDGE_NOISE, most=MOVED_SHARE * size)
    if result is None:
        raise _too_many(source, name)
    index, close, moved, astray = result
    seen = max(1, int((index != blur.NONE).sum()))
    if close < share * seen or astray > ASTRAY_SHARE * seen:
        raise _too_many(source, name)
    if count == 1:
        keys = mains[:, 0] * (257 if deep else 1)
    else:
        keys = (mains[:, 0] << 16) | (mains[:, 1] << 8) | mains[:, 2]
    return _collected(index, keys, source.kind, moved, {})


def _values_of_pixels(source: MaskSource, deep: bool) -> blur.Values:
    def index(rows: slice) -> np.ndarray:
        values = source.values[rows]
        return (values >> 8 if deep else values).astype(np.int16)[..., None]

    def colours(rows: slice) -> np.ndarray:
        values = source.values[rows, :, :3].astype(np.int16)
        values[source.values[rows, :, 3] < 128] = -1
        return values

    return index if source.kind == "index" else colours


def _collected(index: np.ndarray, keys: np.ndarray, kind: str, moved: int, own: dict[int, str]) -> Mask:
    """A mask from each pixel's main value, with the keys sorted, those that do not occur left out."""
    counts = np.zeros(256, dtype=np.int64)
    for rows, _ in bands(index.shape):
        counts += np.bincount(index[rows].ravel(), minlength=256)
    totals: dict[int, int] = {}
    for number, key in enumerate(keys.tolist()):
        if counts[number]:
            totals[key] = totals.get(key, 0) + int(counts[number])
    if counts[blur.NONE]:
        totals[TRANSPARENT] = int(counts[blur.NONE])
    ordered = sorted(totals)
    table = np.zeros(256, dtype=np.uint8)
    for number, key in enumerate(keys.tolist()):
        if key in totals:
            table[number] = ordered.index(key)
    if TRANSPARENT in totals:
        table[blur.NONE] = ordered.index(TRANSPARENT)
    colours = {key: own[key] for key in ordered if key in own}
    summary = Summary(kind, tuple(ordered), tuple(totals[key] for key in ordered), True, moved, colours)
    return Mask(table[index], summary)


def _is_crowded(found: dict[int, int]) -> bool:
    return 0 < max(found) <= CROWDED


def _hold_crowded(source: MaskSource, name: str) -> None:
    """Refuse a JPEG of class numbers like 0, 1, 2: compression has mixed them up for good."""
    if not (source.lossy and source.kind == "index" and 0 < int(source.values.max()) <= CROWDED):
        return
    raise InvalidFile(
        name,
        "Its class numbers are small and it was saved with loss, which mixes up numbers that stand so close.",
        "Save the mask as PNG from where it was drawn.",
    )


def _too_many(source: MaskSource, name: str) -> InvalidFile:
    found = histogram(source, MAX_NAMED)
    values = f"{len(found)}" if found else f"more than {MAX_NAMED}"
    return InvalidFile(
        name,
        f"It holds {values} different values: this looks like a photo, not a mask.",
        f"A mask has one plain value or colour for each class, at most {MAX_CLASSES}; objects of one kind share it.",
    )
