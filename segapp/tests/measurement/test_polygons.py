"""Outlines run along pixel edges, and drawing them again gives the same pixels."""

import numpy as np
import pytest
import shapely

from segapp.measurement import polygons
from segapp.measurement.objects import Settings, find
from segapp.tests.measurement.drawing import disc, tricky


def shape_of(outline):
    return shapely.MultiPolygon([shapely.Polygon(part.outer, part.holes) for part in outline])


def drawn(outlines, shape):
    labels = np.zeros(shape, np.int32)
    for number, outline in enumerate(outlines, 1):
        labels[polygons.filled(outline, shape)] = number
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_any_mask_comes_back_exactly_from_valid_polygons(seed):
    rng = np.random.default_rng(seed)
    mask = (rng.random((24, 31)) < (0.3, 0.5, 0.7, 0.95)[seed % 4]).astype(np.uint8)
    found = find(mask, Settings((1,)))
    outlines = polygons.outlines(found)
    assert all(shape_of(outline).is_valid for outline in outlines)
    assert (drawn(outlines, mask.shape) == found.labels).all()
    assert sum(shape_of(outline).area for outline in outlines) == mask.sum()


def test_holes_islands_and_single_pixels_keep_their_shape():
    found = find(tricky(), Settings((1, 2)))
    outlines = polygons.outlines(found)
    assert len(outlines[0][0].holes) == 1
    corner_pair = next(outline for outline in outlines if len(outline) == 2)
    assert all(len(part.outer) == 4 for part in corner_pair)
    assert (drawn(outlines, found.labels.shape) == found.labels).all()


def test_simplified_neighbours_still_share_their_border():
    mask = np.zeros((200, 200), np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(40):
        disc(mask, rng.uniform(0, 200), rng.uniform(0, 200), rng.uniform(10, 25))
    found = find(mask, Settings((1,), split=0.9))
    exact, simple = polygons.outlines(found), polygons.outlines(found, tolerance=2.0)
    shapes = [shape_of(outline) for outline in simple]
    assert all(shape.is_valid for shape in shapes)
    assert sum(len(p.outer) for o in simple for p in o) < 0.6 * sum(len(p.outer) for o in exact for p in o)
    overlap = sum(a.intersection(b).area for i, a in enumerate(shapes) for b in shapes[:i])
    assert overlap == pytest.approx(0, abs=1e-6)
    assert shapely.union_all(shapes).area == pytest.approx(sum(shape.area for shape in shapes))
