"""Touching objects come apart: a watershed on a distance map, whose shallow basins are joined again.

This is the watershed from h-maxima, with h relative to the size of the part: two parts stay together when the passage
between them is nearly as wide as the smaller one. Parts are found once and joined by the strength, so objects with
one middle only, which most are, cost nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import scipy  # its parts are loaded where they are first used

SMOOTHING = 1.0  # sigma in pixels: the staircase of an edge makes no middles
MIN_DEPTH = 0.75  # pixels: a narrow place shallower than this is the pixel grid's doing
MIN_LEARNT_DEPTH = 0.04  # the same for a model's map, whose middles are 1
MAP_WEIGHT, SHAPE_WEIGHT = 0.875, 0.7  # of how far the map, and the width, fall between two objects of a learnt split
CORE = 0.15  # of a model's map: below this nothing is a middle
MIDDLE = 0.35  # of a model's map: a part that is nowhere higher is no object

# Whether two basins stay apart, by (their numbers, the lower of their tops in each landscape, the passage's height).
Apart = Callable[[tuple[int, int], list[float], float], bool]


def split(labels: np.ndarray, codes: np.ndarray, strength: float, distance: np.ndarray | None = None) -> np.ndarray:
    """Numbers (int32 H,W) after splitting; `labels` are connected parts, `codes` what class they are of, 0 is none.

    strength: 0 splits nothing, 1 at every narrow place. distance: a model's map, see objects.find; else the distance
    to the nearest pixel that is not of the part's class.
    """
    if strength <= 0:
        return labels.astype(np.int32)
    shape = None
    if distance is None:
        heights, floor = _heights(codes), 0.0
    else:
        heights, floor = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), SMOOTHING), CORE
        heights = np.where(labels > 0, heights + 1e-6, 0).astype(np.float32)
    peaks = _peaks(heights, labels, floor)
    result = labels.astype(np.int32)
    after = int(labels.max()) + 1
    several = _with_several(labels, peaks)
    boxes = scipy.ndimage.find_objects(result) if len(several) else []
    if distance is not None and len(several):
        shape = _heights(codes)
    for number in several:
        box = boxes[number - 1]
        inside = labels[box] == number
        own = None if shape is None else shape[box]
        parts = _parts(heights[box], own, np.where(inside, peaks[box], 0), inside, 1.0 - strength)
        for part in range(1, int(parts.max()) + 1):
            if part > 1:
                result[box][parts == part] = after
                after += 1
    return result


def with_middle(labels: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The parts (numbers H,W) in which a model's map sees the middle of an object; 0 for all others."""
    kept = np.zeros(int(labels.max(initial=0)) + 1, bool)
    kept[labels[distance >= MIDDLE]] = True
    kept[0] = False
    return np.where(kept[labels], labels, 0)


def _heights(codes: np.ndarray) -> np.ndarray:
    """float32 H,W: the smoothed distance to what is of another class, class by class."""
    heights = np.zeros(codes.shape, np.float32)
    for code in range(1, int(codes.max()) + 1):
        inside = (codes == code).astype(np.uint8)
        found = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        np.maximum(heights, found, out=heights)
    return cv2.GaussianBlur(heights, (0, 0), SMOOTHING) * (codes > 0)


def _peaks(heights: np.ndarray, labels: np.ndarray, floor: float) -> np.ndarray:
    """Numbers (int32 H,W) of the local maxima; several neighbours of one height are one maximum."""
    highest = cv2.dilate(heights, np.ones((3, 3), np.uint8))
    peaks = (heights >= highest) & (labels > 0) & (heights > floor)
    return cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)[1]


def _with_several(labels: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """The numbers of the parts in which there is more than one peak; a peak may have many pixels."""
    there = peaks > 0
    count = int(peaks.max(initial=0)) + 1
    pairs = np.unique(labels[there].astype(np.int64) * count + peaks[there])
    return np.flatnonzero(np.bincount(pairs // count) > 1)


def _parts(
    heights: np.ndarray, shape: np.ndarray | None, peaks: np.ndarray, inside: np.ndarray, needed: float
) -> np.ndarray:
    """Numbers 1..n of the parts of one connected object. shape: the smoothed distances, where heights are a map."""
    places = np.flatnonzero(peaks)
    numbers = peaks.ravel()[places]
    table = np.zeros(int(numbers.max()) + 1, np.int32)
    table[numbers] = 1
    table = np.cumsum(table, dtype=np.int32)
    markers = np.zeros(peaks.shape, np.int32)
    markers.ravel()[places] = table[numbers]
    from skimage.segmentation import watershed  # here: its import takes longer than all others of a training together

    basins = watershed(-heights, markers, mask=inside, connectivity=2)
    count = int(basins.max())
    borders = _borders(basins, count)
    passes, tops = _passes(borders, heights), _tops(heights, basins, count)
    if shape is None:
        return _joined(passes, [tops], lambda _, low, at: low[0] - at >= max(MIN_DEPTH, needed * low[0]))[basins]
    widths = {(a, b): width for width, a, b in _passes(borders, shape)}

    def apart(pair: tuple[int, int], low: list[float], at: float) -> bool:
        map_falls, narrows = 1 - at / low[0], max(0.0, 1 - widths[pair] / max(low[1], MIN_LEARNT_DEPTH))
        deep = low[0] - at >= MIN_LEARNT_DEPTH
        return deep and MAP_WEIGHT * map_falls + SHAPE_WEIGHT * narrows >= needed

    return _joined(passes, [tops, _tops(shape, basins, count)], apart)[basins]


def _tops(heights: np.ndarray, basins: np.ndarray, count: int) -> list[float]:
    """Of each basin 0..count the highest value; 0 is none."""
    places = np.flatnonzero(basins)
    found = np.zeros(count + 1, heights.dtype)
    np.maximum.at(found, basins.ravel()[places], heights.ravel()[places])
    return list(found.tolist())


@dataclass(frozen=True)
class _Borders:
    """Where two basins touch: the numbers of both as one key each, and the flat places of the two pixels."""

    keys: np.ndarray
    ones: np.ndarray
    others: np.ndarray
    base: int  # key = lower number * base + higher number


def _borders(basins: np.ndarray, count: int) -> _Borders:
    width = basins.shape[1]
    flat = basins.ravel()
    ones, others = [], []
    for one, other, shift in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1)), -1),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None)), -width),
        ((slice(1, None), slice(1, None)), (slice(None, -1), slice(None, -1)), -width - 1),
        ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None)), -width + 1),
    ):
        a, b = basins[one], basins[other]
        rows, columns = np.nonzero((a != b) & (a > 0) & (b > 0))
        places = (rows + (one[0].start or 0)) * width + columns + (one[1].start or 0)
        ones.append(places)
        others.append(places + shift)
    here, there = np.concatenate(ones), np.concatenate(others)
    a, b = flat[here].astype(np.int64), flat[there].astype(np.int64)
    return _Borders(np.minimum(a, b) * (count + 1) + np.maximum(a, b), here, there, count + 1)


def _passes(borders: _Borders, heights: np.ndarray) -> list[tuple[float, int, int]]:
    """(height, a, b) of the highest passage between each two basins that touch, highest first."""
    values = np.minimum(heights.ravel()[borders.ones], heights.ravel()[borders.others])
    order = np.argsort(-values, kind="stable")
    _, first = np.unique(borders.keys[order], return_index=True)
    chosen = order[np.sort(first)]
    lower, higher = np.divmod(borders.keys[chosen], borders.base)
    return list(zip(values[chosen].tolist(), lower.tolist(), higher.tolist(), strict=True))


def _joined(passes: list[tuple[float, int, int]], tops: list[list[float]], apart: Apart) -> np.ndarray:
    """int32 count+1: for each basin the number of its part, after joining over every passage that `apart` does not
    keep. tops: of each landscape the basins' highest values; the first one's tell which basin joins the other."""
    parent = list(range(len(tops[0])))
    tops = [list(values) for values in tops]

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = parent[basin]
        return basin

    for height, one, other in passes:
        a, b = root(one), root(other)
        if a == b or apart((one, other), [min(values[a], values[b]) for values in tops], height):
            continue
        lower, higher = (a, b) if tops[0][a] < tops[0][b] else (b, a)
        parent[lower] = higher
        for values in tops:
            values[higher] = max(values[lower], values[higher])
    roots = [root(basin) for basin in range(1, len(parent))]
    _, numbers = np.unique(roots, return_inverse=True)
    return np.concatenate([[0], numbers + 1]).astype(np.int32)
