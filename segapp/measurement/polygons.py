"""Outlines of objects along the pixels' edges: neighbours share theirs, holes stay holes, one pixel is a square.

Coordinates are those of pixel corners: the image's top left corner is (0, 0), and pixel (0, 0) ends at (1, 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
import scipy  # its parts are loaded where they are first used
import shapely

from segapp.measurement.objects import Objects

Ring = np.ndarray  # int or float n,2 of x, y; not closed: the last point is not the first


@dataclass(frozen=True)
class Part:
    """One connected piece of an object: its outer ring and the rings of its holes."""

    outer: Ring
    holes: tuple[Ring, ...] = ()

    def moved(self, by: np.ndarray) -> "Part":
        """The same elsewhere; by: x, y in pixels."""
        return Part(self.outer + by, tuple(hole + by for hole in self.holes))


Outline = tuple[Part, ...]
Member = tuple[int, tuple[slice, slice], int]  # an object's number, its box, and its first column on a sheet
SHEET = 1 << 21  # pixels on which objects are traced at once


def outlines(objects: Objects, tolerance: float = 0.0) -> list[Outline]:
    """The outline of every object, 1..n in turn.

    tolerance: in pixels; above 0 outlines get fewer points, and borders between neighbours stay shared.
    """
    found = list(_traced(objects))
    return simplified(found, tolerance) if tolerance > 0 else found


def _traced(objects: Objects) -> Iterator[Outline]:
    """Many objects at once, because numpy has a cost a call; a sheet has at most SHEET pixels or one object."""
    members: list[Member] = []
    tall = wide = 0
    for number, box in enumerate(scipy.ndimage.find_objects(objects.labels, objects.count), 1):
        height, width = (side.stop - side.start + 2 for side in box)
        if members and max(tall, height) * (wide + width) > SHEET:
            yield from _of_sheet(objects.labels, members, tall, wide)
            members, tall, wide = [], 0, 0
        members.append((number, box, wide))
        tall, wide = max(tall, height), wide + width
    if members:
        yield from _of_sheet(objects.labels, members, tall, wide)


def _of_sheet(labels: np.ndarray, members: list[Member], tall: int, wide: int) -> Iterator[Outline]:
    """Outlines of objects that are drawn side by side on a sheet, with an empty pixel around each."""
    sheet = np.zeros((tall, wide), bool)
    for number, (rows, columns), left in members:
        place = slice(1, rows.stop - rows.start + 1), slice(left + 1, left + columns.stop - columns.start + 1)
        np.equal(labels[rows, columns], number, out=sheet[place])
    lefts = np.array([left for _, _, left in members])
    rings = _rings(sheet)
    owners = np.searchsorted(lefts, [ring.corner[0] for ring in rings], "right") - 1
    own: list[list[_Ring]] = [[] for _ in members]
    for ring, owner in zip(rings, owners.tolist(), strict=True):
        own[owner].append(ring)
    for (_, (rows, columns), left), found in zip(members, own, strict=True):
        shift = np.array([columns.start - 1 - left, rows.start - 1])
        yield tuple(part.moved(shift) for part in _parts(sheet, left, found))


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


Corner = tuple[int, int]


@dataclass(frozen=True)
class _Ring:
    """corner: x, y of its topmost corner, the leftmost of these. outer: else it is a hole's. Outer ones run clockwise
    as seen on the screen, holes' the other way."""

    points: Ring
    corner: Corner
    outer: bool


def _parts(sheet: np.ndarray, left: int, rings: list[_Ring]) -> list[Part]:
    """The parts of one object, from its rings on a sheet, where it begins at column `left`."""
    outer = [ring for ring in rings if ring.outer]
    if len(outer) == 1:
        return [Part(outer[0].points, tuple(ring.points for ring in rings if not ring.outer))]
    right = max(int(ring.points[:, 0].max()) for ring in outer)
    inside = np.ascontiguousarray(sheet[:, left : right + 1])
    pieces = cc3d.connected_components(inside.view(np.uint8), connectivity=4, out_dtype=np.uint32)
    own: dict[int, list[Ring]] = {}
    for ring in rings:
        if not ring.outer:
            own.setdefault(int(pieces[ring.corner[1] - 1, ring.corner[0] - left]), []).append(ring.points)
    numbered = sorted((int(pieces[ring.corner[1], ring.corner[0] - left]), k) for k, ring in enumerate(outer))
    return [Part(outer[k].points, tuple(own.get(piece, ()))) for piece, k in numbered]


# A corner with two pixels of the object that touch only there is a corner of each of them: (the rank among those of its
# row, among those of its column) of the first and the second, by which pixels are set.
UPPER_LEFT, UPPER_RIGHT, LOWER_LEFT, LOWER_RIGHT = 1, 2, 4, 8
FALLING, RISING = UPPER_LEFT + LOWER_RIGHT, UPPER_RIGHT + LOWER_LEFT
TURNS = np.array([code not in (0, 15, 3, 5, 10, 12) for code in range(16)])


def _rings(inside: np.ndarray) -> list[_Ring]:
    """Simple rings without points on straight lines, of x, y.

    Along a row of corners those where an outline turns are joined two by two, along a column likewise; a ring follows
    these sides in turn. Where four sides meet it stays with its own pixel; one that comes back to a corner is cut.
    No pixel of the array's edge may be inside.
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
    path, starts = _paths(beside, below)
    points = np.stack([x, y], axis=1)[path]
    meets = np.zeros(len(x), bool)
    meets[shared], meets[len(code) :] = True, True
    cut = np.logical_or.reduceat(meets[path], starts).tolist() if starts else []
    rings: list[_Ring] = []
    for first, last, several in zip(starts, [*starts[1:], len(path)], cut, strict=True):
        if several:
            rings += [_turned(ring, inside) for ring in _simple(points[first:last])]
            continue
        ring = points[first:last]  # begins with its first corner, and runs to the right from there
        corner = int(ring[0, 0]), int(ring[0, 1])
        outer = bool(inside[corner[1], corner[0]])  # below an outer ring's first corner lies the object
        rings.append(_Ring(ring if outer else ring[::-1], corner, outer))
    return rings


def _paths(beside: list[int], below: list[int]) -> tuple[list[int], list[int]]:
    """Corners in the order in which rings follow them, ring after ring, and where in it each ring starts."""
    path: list[int] = []
    starts: list[int] = []
    left = bytearray(b"\1") * len(beside)
    for begin in range(len(beside)):
        if not left[begin]:
            continue
        starts.append(len(path))
        at = begin
        while True:
            end = beside[at]
            path.append(at)
            path.append(end)
            left[at] = left[end] = 0
            at = below[end]
            if at == begin:
                break
    return path, starts


def _turned(points: Ring, inside: np.ndarray) -> _Ring:
    """A ring that may begin anywhere and run either way."""
    place = int(np.lexsort((points[:, 0], points[:, 1]))[0])
    corner = int(points[place, 0]), int(points[place, 1])
    outer = bool(inside[corner[1], corner[0]])
    return _Ring(points if (_twice_area(points) > 0) == outer else points[::-1], corner, outer)


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
