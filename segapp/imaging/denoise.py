"""Which values of a mask are meant, and which are only the blur between two of them.

JPEG, scaling and anti-aliased brushes leave in-between values along edges; taken literally each would be a class. A
value is meant when it fills places: pixels that look like all their neighbours. A pixel of the blur goes to the
nearest of the main values around it, so that an edge from 0 to 255 never makes a thin line of class 128.

Thin true classes (a crack, a pole) fill no place either: they stay, because they do not lie between their neighbours
or because they are few and stand close to the other numbers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from segapp.imaging import instances, palette
from segapp.imaging.decode import MaskSource
from segapp.imaging.formats import MAX_CLASSES
from segapp.imaging.invalid_file import InvalidFile
from segapp.imaging.values import TRANSPARENT, Mask, Summary, bands, channels, encode, histogram

FEW_THIN = 2  # values without a place of their own that an exact set may have, or as many as it has main values
LADDER = 2  # numbers by which evenly spaced steps of a blend may be off
MAX_COUNTED = 256  # an exact mask with more values than these is looked at as a noisy one
MAX_NAMED = 4096  # beyond this a message says "more than"
IGNORE = 255
OBJECT = 1  # the value of every object where there are too many to keep apart as values

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

SEARCH_RADIUS = 2  # pixels: the square in which a blurred pixel looks for main values
MAX_ROUNDS = 3  # so far from a plain place (times the above) blur may reach
NO_LABEL = 255  # no label yet

Values = Callable[[slice], np.ndarray]  # rows -> their values; a transparent pixel's are all negative

JPEG_NOISE = 6  # how far compression moves a flat value
PEAKS_APART, PEAKS_APART_COLOUR = 24, 28  # main values stand at least this far apart
MIN_PEAK_PIXELS = 4  # pixels of plain places that a main value needs, and one in a hundred thousand of all
NEAR_EXTREME = 4  # so near to black or white it is black or white
PEAK_STANDS_OUT = 96  # a thin line's value lies this far beyond what fills places
NEARLY_WHITE = 225  # compression leaves no more of a thin white line
MAX_PEAKS = 80  # more peaks than this are no mask


@dataclass(frozen=True)
class Survey:
    """mains: values that fill places in one mask; thin: those that do not. few: they could be told apart at all."""

    mains: frozenset[int]
    thin: frozenset[int]
    kind: str = "index"
    few: bool = True


def survey(source: MaskSource) -> Survey | None:
    """What one mask says about whether its set is exact; None for what was saved with loss, or has a palette."""
    if source.lossy or source.palette is not None:
        return None
    found = histogram(source, MAX_COUNTED)
    if found is None:
        return Survey(frozenset(), frozenset(), source.kind, False)
    if len(found) <= 2:
        return Survey(frozenset(found) - {TRANSPARENT}, frozenset(), source.kind)
    keys = np.array(list(found))
    fills = _flat_counts(_exact(source, found)) >= np.maximum(1, PLAIN_SHARE * np.array(list(found.values())))
    opaque = keys != TRANSPARENT
    mains, thin = (frozenset(keys[chosen & opaque].tolist()) for chosen in (fills, ~fills))
    return Survey(mains, thin, source.kind)


def is_exact(surveys: Iterable[Survey | None]) -> bool:
    """Whether a set's masks hold true values only: few of them are thin everywhere. A blend leaves many.

    Decided for the set, so that a boundary one pixel wide is kept in all of its masks or in none.
    """
    found = [one for one in surveys if one is not None]
    if not found or not all(one.few for one in found):
        return False
    mains = frozenset().union(*(one.mains for one in found))
    thin = frozenset().union(*(one.thin for one in found)) - mains
    return len(thin) <= max(FEW_THIN, len(mains)) and not _is_ladder(sorted(mains | thin), thin, found[0].kind)


def _is_ladder(values: list[int], thin: frozenset[int], kind: str) -> bool:
    """Whether thin values are even steps from the lowest to the highest: an edge that was blended in 2 bits or more."""
    if kind != "index" or len(thin) < FEW_THIN or {values[0], values[-1]} & thin or len(values) != len(thin) + 2:
        return False
    even = np.linspace(values[0], values[-1], len(values))
    return bool(np.abs(even - values).max() <= LADDER)


def read(source: MaskSource, name: str, exact: bool = False) -> Mask:
    """The mask with its main values only; `exact`: its set is, so nothing is taken for a blend.

    Raises InvalidFile for what holds too many values to be a mask.
    """
    found = histogram(source, MAX_COUNTED)
    if exact and not source.lossy and found is not None and _class_count(source, found) <= MAX_CLASSES:
        return _exact(source, found)
    if source.palette is not None and found is not None:
        return _exact(source, found) if _class_count(source, found) <= MAX_CLASSES else read(_painted(source), name)
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


def numbered(source: MaskSource, found: instances.Objects) -> Mask:
    """A mask that numbers objects, as it is, with the numbering beside it.

    More values than codes can hold are only background and object.
    """
    objects = instances.numbers(source, found)
    totals = histogram(source, MAX_COUNTED)
    if totals is not None:
        mask = _exact(source, totals)
    else:
        area = int((objects > 0).sum())
        value = OBJECT if found.background != OBJECT else OBJECT + 1
        keys = sorted({found.background: objects.size - area, value: area}.items())
        codes = (objects > 0) if keys[0][0] == found.background else (objects == 0)
        summary = Summary(source.kind, tuple(key for key, _ in keys), tuple(count for _, count in keys))
        mask = Mask(codes.astype(np.uint8), summary)
    return Mask(mask.codes, replace(mask.summary, objects=found.to_dict()), objects)


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
        plain = _flat(codes[..., None].astype(np.int16), 0)
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
        found += int(_blending(look(rows), down, right, 0).sum())
    return found


def _values_of_codes(mask: Mask) -> Values:
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
    result = _assign(
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
    mains = _find_peaks(look, shape, count)
    if count == 1 and len(mains):
        mains = _with_thin_peak(mains, int(source.values.max()) >> (8 if deep else 0))
    if not len(mains) or len(mains) > MAX_CLASSES:
        raise _too_many(source, name)
    _hold_crowded(source, name)
    near = NEAR if source.kind == "index" else NEAR_COLOUR
    size = shape[0] * shape[1]
    result = _assign(look, shape, mains, near=near, noise=JPEG_NOISE, edge=EDGE_NOISE, most=MOVED_SHARE * size)
    if result is None:
        raise _too_many(source, name)
    index, close, moved, astray = result
    seen = max(1, int((index != NO_LABEL).sum()))
    if close < share * seen or astray > ASTRAY_SHARE * seen:
        raise _too_many(source, name)
    if count == 1:
        keys = mains[:, 0] * (257 if deep else 1)
    else:
        keys = (mains[:, 0] << 16) | (mains[:, 1] << 8) | mains[:, 2]
    return _collected(index, keys, source.kind, moved, {})


def _values_of_pixels(source: MaskSource, deep: bool) -> Values:
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
    if counts[NO_LABEL]:
        totals[TRANSPARENT] = int(counts[NO_LABEL])
    ordered = sorted(totals)
    table = np.zeros(256, dtype=np.uint8)
    for number, key in enumerate(keys.tolist()):
        if key in totals:
            table[number] = ordered.index(key)
    if TRANSPARENT in totals:
        table[NO_LABEL] = ordered.index(TRANSPARENT)
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


# --- main values of a noisy mask ---


def _find_peaks(values: Values, shape: tuple[int, int], channels: int) -> np.ndarray:
    """int32 (M, C): the main values, the one that fills most first; empty when there is no plain place."""
    shift = 0 if channels == 1 else 3  # colours are counted in cells of eight
    side = 256 >> shift
    counts = np.zeros(side**channels, dtype=np.int64)
    sums = np.zeros((channels, side**channels))
    for rows, proper in bands(shape, halo=2):
        here = values(rows)
        plain = _plain_places(here, JPEG_NOISE) & (here[..., 0] >= 0)
        chosen = here[proper][plain[proper]]
        cells = np.zeros(len(chosen), dtype=np.int64)
        for channel in range(channels):
            cells = cells * side + (chosen[:, channel] >> shift)
        counts += np.bincount(cells, minlength=len(counts))
        for channel in range(channels):
            sums[channel] += np.bincount(cells, weights=chosen[:, channel], minlength=len(counts))
    apart = PEAKS_APART if channels == 1 else PEAKS_APART_COLOUR
    return _strongest(counts, sums, max(MIN_PEAK_PIXELS, shape[0] * shape[1] * 1e-5), apart)


def _with_thin_peak(mains: np.ndarray, top: int) -> np.ndarray:
    """The main numbers (M, 1), and `top`, the largest that occurs, where only thin lines can have left it."""
    if top - mains.max() < PEAK_STANDS_OUT:
        return mains
    return np.concatenate([mains, [[255 if top >= NEARLY_WHITE else top]]]).astype(np.int32)


def _strongest(counts: np.ndarray, sums: np.ndarray, least: float, apart: int) -> np.ndarray:
    """Take the fullest cell and all near it as one main value, then the fullest of the rest."""
    cells = np.flatnonzero(counts)
    weights, means = counts[cells].astype(float), (sums[:, cells] / counts[cells]).T
    found: list[np.ndarray] = []
    while len(weights) and len(found) <= MAX_PEAKS:
        top = int(weights.argmax())
        distance = np.abs(means - means[top]).max(axis=1)
        own = distance <= apart / 3
        if weights[own].sum() < least:
            break
        found.append(np.average(means[own], axis=0, weights=weights[own]))
        stays = distance > apart
        weights, means = weights[stays], means[stays]
    mains = np.rint(np.array(found).reshape(len(found), len(sums))).astype(np.int32)
    mains[mains <= NEAR_EXTREME] = 0
    mains[mains >= 255 - NEAR_EXTREME] = 255
    return mains


# --- pixels that blend their neighbours; values are int16 or int32 (h, w, C), C = 1 for numbers and 3 for colours ---


def _flat(values: np.ndarray, tolerance: int) -> np.ndarray:
    """bool (h, w): pixels within `tolerance` of their four neighbours in every channel; outside counts as the same."""
    plain = np.ones(values.shape[:2], dtype=bool)
    for axis in (0, 1):
        apart = np.abs(np.diff(values, axis=axis)).max(axis=2) <= tolerance
        first, last = (apart, slice(1, None)) if axis == 0 else (apart.T, slice(1, None))
        turned = plain if axis == 0 else plain.T
        turned[last] &= first
        turned[:-1] &= first
    return plain


def _plain_places(values: np.ndarray, tolerance: int) -> np.ndarray:
    """bool (h, w): pixels that are flat and have flat neighbours only; narrower than five pixels there are none."""
    inner = _flat(values, tolerance)
    wide = inner.copy()
    wide[1:] &= inner[:-1]
    wide[:-1] &= inner[1:]
    wide[:, 1:] &= inner[:, :-1]
    wide[:, :-1] &= inner[:, 1:]
    return wide


def _blending(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, step: int) -> np.ndarray:
    """bool (N,): whether pixels lie strictly between two opposite neighbours that are more than `step` apart."""
    edged = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    own = values[rows, columns].astype(np.float32)
    found = np.zeros(len(rows), dtype=bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = edged[rows + 1 - down, columns + 1 - right].astype(np.float32)
        other = edged[rows + 1 + down, columns + 1 + right].astype(np.float32)
        seen = (one.min(axis=1) >= 0) & (other.min(axis=1) >= 0)
        to_one, to_other = np.linalg.norm(own - one, axis=1), np.linalg.norm(own - other, axis=1)
        whole = np.linalg.norm(one - other, axis=1)
        slack = 0.0 if values.shape[2] == 1 else 0.1 * whole + 3
        on_the_way = (to_one + to_other <= whole + slack) & (np.minimum(to_one, to_other) > 0)
        found |= seen & on_the_way & (whole > step)
    return found


def _assign(
    values: Values, shape: tuple[int, int], mains: np.ndarray, *, near: int, noise: int, edge: int, most: float
) -> tuple[np.ndarray, int, int, int] | None:
    """Each pixel's main value: (index uint8 (H, W), pixels near theirs, pixels moved by more, pixels astray).

    mains (M, C). Pixels within `near` of a main value are its own, unless they blend their neighbours; `noise` is what
    flat places may vary by. A blurred pixel takes the nearest of the main values around it, one with none around the
    nearest of all. Moved pixels further than `edge` from any edge are astray: blur does not explain them, shading in a
    photo does. Transparent pixels are NO_LABEL. None as soon as more than `most` pixels would move: that is a photo.
    """
    index = np.empty(shape, dtype=np.uint8)
    close = moved = astray = 0
    for rows, proper in bands(shape, halo=(MAX_ROUNDS + 1) * SEARCH_RADIUS + edge):
        here = values(rows)
        label, distance = _nearest(here, mains)
        clear = here[..., 0] < 0
        label[clear], distance[clear] = NO_LABEL, 0
        close += int(((distance <= near) & ~clear)[proper].sum())
        open_ = (distance > near) & ~clear
        r, c = np.nonzero((distance <= near) & ~_flat(here, noise) & ~clear)
        blends = _blending(here, r, c, 2 * near + noise + 8)
        open_[r[blends], c[blends]] = True
        moved += int(open_[proper].sum())
        if moved > most:
            return None
        best = label.copy()
        label[open_] = NO_LABEL
        label = _spread(label, open_, here, mains, best)
        index[rows][proper] = label[proper]
        astray += int((open_ & ~_near_edges(label, edge))[proper].sum())
    return index, close, moved, astray


def _nearest(values: np.ndarray, mains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index uint8, distance int32), each (h, w): the nearest main value, by the channel that differs most."""
    if values.shape[2] == 1 and int(values.max(initial=0)) < 65536:
        table = np.abs(np.arange(int(values.max(initial=0)) + 1)[:, None] - mains[:, 0][None])
        which, far = table.argmin(axis=1).astype(np.uint8), table.min(axis=1).astype(np.int32)
        found = np.maximum(values[..., 0], 0)
        return which[found], far[found]
    # Colours: masks are plain, so it is done once for each run of equal pixels.
    flat_values = values.reshape(-1, values.shape[2])
    starts = np.flatnonzero(np.concatenate([[True], (flat_values[1:] != flat_values[:-1]).any(axis=1)]))
    which, far = _nearest_of_few(flat_values[starts], mains)
    lengths = np.diff(starts, append=len(flat_values))
    return np.repeat(which, lengths).reshape(values.shape[:2]), np.repeat(far, lengths).reshape(values.shape[:2])


def _nearest_of_few(colours: np.ndarray, mains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    which = np.zeros(len(colours), dtype=np.uint8)
    far = np.full(len(colours), 1 << 20, dtype=np.int32)
    for k, main in enumerate(mains.astype(np.int32)):
        apart = np.abs(colours - main).max(axis=1)
        better = apart < far
        which[better], far[better] = k, apart[better]
    return which, far


def _spread(
    label: np.ndarray, open_: np.ndarray, values: np.ndarray, mains: np.ndarray, best: np.ndarray
) -> np.ndarray:
    """Give each open pixel the nearest main value among its neighbours' labels, or its best where none is around."""
    reach = SEARCH_RADIUS
    # The peak of a thin line is no blend: it stands out from its ground towards a main value that nothing else near
    # it shows. It keeps the nearest of all.
    r, c = np.nonzero(open_)
    stands = ~_blending(values, r, c, 0)
    for _ in range(MAX_ROUNDS):
        if not len(r):
            break
        edged = np.pad(label, reach, constant_values=NO_LABEL)
        own = values[r, c].astype(np.float32)
        choice = np.full(len(r), NO_LABEL, dtype=np.uint8)
        least = np.full(len(r), np.inf, dtype=np.float32)
        for down in range(2 * reach + 1):
            for right in range(2 * reach + 1):
                around = edged[r + down, c + right]
                apart = np.linalg.norm(own - mains[np.minimum(around, len(mains) - 1)], axis=1)
                apart[around == NO_LABEL] = np.inf
                better = apart < least
                choice[better], least[better] = around[better], apart[better]
        wins = np.linalg.norm(own - mains[best[r, c]], axis=1)
        out = stands & (least > 48) & (wins < 0.5 * least)
        choice[out] = best[r, c][out]
        done = choice != NO_LABEL
        label[r[done], c[done]] = choice[done]
        r, c, stands = r[~done], c[~done], stands[~done]
    label[r, c] = best[r, c]
    return label


def _near_edges(label: np.ndarray, width: int) -> np.ndarray:
    """bool (h, w): pixels within `width` of a place where the label changes."""
    near = ~_flat(label[..., None].astype(np.int16), 0)
    for _ in range(width - 1):
        wide = near.copy()
        wide[1:] |= near[:-1]
        wide[:-1] |= near[1:]
        wide[:, 1:] |= near[:, :-1]
        wide[:, :-1] |= near[:, 1:]
        near = wide
    return near
