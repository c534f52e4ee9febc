"""Outlines of objects along the pixels' edges: neighbours share theirs, holes stay holes, one pixel is a square.

Coordinates are those of pixel corners: the image's top left corner is (0, 0), and pixel (0, 0) ends at (1, 1).
"""

from dataclasses import dataclass

import cc3d
import numpy as np
import shapely
from scipy import ndimage

from segapp.measurement.objects import Objects

Ring = np.ndarray  # int or float n,2 of x, y; not closed: the last point is not the first


@dataclass(frozen=True)
class Part:
    """One connected piece of an object: its outer ring and the rings of its holes."""

    outer: Ring
    holes: tuple[Ring, ...] = ()


Outline = tuple[Part, ...]


def outlines(objects: Objects, tolerance: float = 0.0) -> list[Outline]:
    """The outline of every object, 1..n in turn.

    tolerance: in pixels; above 0 outlines get fewer points, and borders between neighbours stay shared.
    """
    found: list[Outline] = []
    for number, box in enumerate(ndimage.find_objects(objects.labels, objects.count), 1):
        parts = _parts(np.pad(objects.labels[box] == number, 1))
        corner = np.array([box[1].start - 1, box[0].start - 1])
        found.append(tuple(Part(part.outer + corner, tuple(hole + corner for hole in part.holes)) for part in parts))
    return simplified(found, tolerance) if tolerance > 0 else found


def simplified(found: list[Outline], tolerance: float) -> list[Outline]:
    """With fewer points, all together, so that a border stays one border; what would vanish keeps its points."""
    pieces = [(number, part) for number, outline in enumerate(found) for part in outline]
    if not pieces:
        return found
    polygons = np.array([shapely.Polygon(part.outer, part.holes) for _, part in pieces])
    fewer = shapely.coverage_simplify(polygons, tolerance)
    result: list[list[Part]] = [[] for _ in found]
    for (number, part), polygon in zip(pieces, fewer, strict=True):
        result[number].append(part if polygon.is_empty else _part_of(polygon))
    return [tuple(parts) for parts in result]


def _part_of(polygon: shapely.Polygon) -> Part:
    outer, *holes = (np.asarray(ring.coords)[:-1] for ring in (polygon.exterior, *polygon.interiors))
    return Part(outer, tuple(holes))


def filled(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    """bool H,W: the pixels whose middles lie inside an outline."""
    inside = np.zeros(shape, bool)
    for part in outline:
        polygon = shapely.Polygon(part.outer, part.holes)
        left, top, right, bottom = (int(v) for v in np.rint(polygon.bounds))
        left, top, right, bottom = (
            max(0, left - 1),
            max(0, top - 1),
            min(shape[1], right + 1),
            min(shape[0], bottom + 1),
        )
        columns, rows = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        inside[top:bottom, left:right] |= shapely.contains_xy(polygon, columns, rows)
    return inside


def _parts(inside: np.ndarray) -> list[Part]:
    """The parts of one object, which no pixel of the array's edge belongs to."""
    outer: list[tuple[Corner, Ring]] = []
    holes: list[tuple[Corner, Ring]] = []
    for ring in _rings(inside):
        place = int(np.lexsort((ring[:, 0], ring[:, 1]))[0])
        x, y = int(ring[place, 0]), int(ring[place, 1])
        # Below the first corner of an outer ring lies the object, below that of a hole's nothing.
        is_outer = bool(inside[y, x])
        if (_twice_area(ring) > 0) != is_outer:
            ring = ring[::-1]
        (outer if is_outer else holes).append(((x, y), ring))
    if len(outer) == 1:
        return [Part(outer[0][1], tuple(ring for _, ring in holes))]
    pieces = cc3d.connected_components(inside.view(np.uint8), connectivity=4, out_dtype=np.uint32)
    own: dict[int, list[Ring]] = {}
    for (x, y), ring in holes:
        own.setdefault(int(pieces[y - 1, x]), []).append(ring)
    numbered = sorted((int(pieces[y, x]), place) for place, ((x, y), _) in enumerate(outer))
    return [Part(outer[place][1], tuple(own.get(piece, ()))) for piece, place in numbered]


Corner = tuple[int, int]

# A corner with two pixels of the object that touch only there is a corner of each of them: (the rank among those of its
# row, among those of its column) of the first and the second, by which pixels are set.
UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT = 1, 2, 4, 8
FALLING, RISING = UPPER_LEFT + LOWER_RIGHT, UPPER_RIGHT + LOWER_LEFT
TURNS = np.array([code not in (0, 15, 3, 5, 10, 12) for code in range(16)])


def _rings(inside: np.ndarray) -> list[Ring]:
    """Simple rings without points on straight lines, of x, y.

    Along a row of corners those where an outline turns are joined two by two, along a column likewise; a ring follows
    these sides in turn. Where four sides meet it stays with its own pixel; one that comes back to a corner is cut.
    """
    pixels = inside.view(np.uint8)
    codes = pixels[:-1, :-1] | pixels[:-1, 1:] << 1 | pixels[1:, :-1] << 2 | pixels[1:, 1:] << 3
    rows, columns = np.nonzero(TURNS[codes])
    code = codes[rows, columns]
    shared = np.flatnonzero((code == FALLING) | (code == RISING))
    x, y = np.concatenate([columns, columns[shared]]) + 1, np.concatenate([rows, rows[shared]]) + 1
    second = np.repeat([0, 1], [len(code), len(shared)])
    rising = np.concatenate([code == RISING, code[shared] == RISING])
    beside = _partners(np.lexsort((second, x, y)))
    below = _partners(np.lexsort((second ^ rising, y, x)))
    rings, left = [], [True] * len(x)
    points = np.stack([x, y], axis=1)
    for begin in range(len(x)):
        if not left[begin]:
            continue
        path, at = [], begin
        while True:
            end = beside[at]
            path += [at, end]
            left[at] = left[end] = False
            at = below[end]
            if at == begin:
                break
        rings += _simple(points[path]) if len(shared) else [points[path]]
    return rings


def _partners(order: np.ndarray) -> list[int]:
    """Of corners in the order of a row or column, two by two, each one's other end."""
    found = np.empty(len(order), np.int64)
    found[order[0::2]], found[order[1::2]] = order[1::2], order[0::2]
    return list(found.tolist())


def _simple(ring: Ring) -> list[Ring]:
    """A ring, cut in two wherever it comes back to a corner."""
    rings: list[Ring] = []
    path: list[Corner] = []
    seen: dict[Corner, int] = {}
    for corner in map(tuple, ring.tolist()):
        if corner in seen:
            loop = path[seen[corner] :]
            rings.append(np.array(loop))
            for gone in loop:
                del seen[gone]
            del path[-len(loop) :]
        seen[corner] = len(path)
        path.append(corner)
    rings.append(np.array(path))
    return [_bends(one) for one in rings]


def _bends(points: Ring) -> Ring:
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[np.sign(before[:, 0]) * np.sign(after[:, 1]) != np.sign(before[:, 1]) * np.sign(after[:, 0])]


def _twice_area(ring: Ring) -> float:
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() + x[-1] * y[0] - x[0] * y[-1])
