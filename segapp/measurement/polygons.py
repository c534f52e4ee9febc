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
    pieces = cc3d.connected_components(inside.view(np.uint8), connectivity=4, out_dtype=np.uint32)
    following = _edges(inside)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring, piece in _rings(following, pieces):
        x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
        if float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) > 0:
            outer[piece] = ring
        else:
            holes.setdefault(piece, []).append(ring)
    return [Part(ring, tuple(holes.get(piece, ()))) for piece, ring in sorted(outer.items())]


Corner = tuple[int, int]


def _edges(inside: np.ndarray) -> dict[Corner, list[tuple[Corner, Corner]]]:
    """From each corner (x, y) the edges that begin there: (its end, the pixel on its right as column, row).

    Every edge has the object on its right hand, seen with y downwards, so outer rings run clockwise.
    """
    starts: dict[Corner, list[tuple[Corner, Corner]]] = {}
    rows, columns = np.nonzero(inside[1:] & ~inside[:-1])  # top sides: to the right
    for y, x in zip((rows + 1).tolist(), columns.tolist(), strict=True):
        starts.setdefault((x, y), []).append(((x + 1, y), (x, y)))
    rows, columns = np.nonzero(inside[:-1] & ~inside[1:])  # bottom sides: to the left
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        starts.setdefault((x + 1, y + 1), []).append(((x, y + 1), (x, y)))
    rows, columns = np.nonzero(inside[:, :-1] & ~inside[:, 1:])  # right sides: down
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        starts.setdefault((x + 1, y), []).append(((x + 1, y + 1), (x, y)))
    rows, columns = np.nonzero(inside[:, 1:] & ~inside[:, :-1])  # left sides: up
    for y, x in zip(rows.tolist(), (columns + 1).tolist(), strict=True):
        starts.setdefault((x, y + 1), []).append(((x, y), (x, y)))
    return starts


def _rings(starts: dict[Corner, list[tuple[Corner, Corner]]], pieces: np.ndarray) -> list[tuple[Ring, int]]:
    """Simple rings without points on straight lines, each with the piece on its right hand.

    Where four edges meet, a ring stays with its own piece; one that comes back to a corner is cut there in two.
    """
    rings: list[tuple[Ring, int]] = []
    while starts:
        begin = next(iter(starts))
        path: list[Corner] = []
        seen: dict[Corner, int] = {}
        at, piece = begin, 0
        while True:
            if at in seen:
                loop = path[seen[at] :]
                rings.append((_bends(loop), piece))
                for corner in loop:
                    del seen[corner]
                del path[-len(loop) :]
                if not path and (at not in starts):
                    break
            choices = starts.get(at)
            if not choices:
                break
            place = 0
            if piece and len(choices) > 1:
                place = next((i for i, (_, pixel) in enumerate(choices) if pieces[pixel[1], pixel[0]] == piece), 0)
            end, pixel = choices.pop(place)
            if not choices:
                del starts[at]
            piece = int(pieces[pixel[1], pixel[0]])
            seen[at] = len(path)
            path.append(at)
            at = end
    return rings


def _bends(loop: list[Corner]) -> Ring:
    points = np.array(loop)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[(before != after).any(axis=1)]
