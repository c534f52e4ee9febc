"""Outlines are traced many objects at once; what lies beside an object on its sheet does not matter."""

import numpy as np
import pytest

from segapp.measurement import polygons
from segapp.measurement.objects import from_instances
from segapp.measurement.polygons import filled, outlines


@pytest.mark.parametrize("sheet", [1, 300, polygons.SHEET])
def test_outlines_cover_exactly_their_objects_on_sheets_of_any_size(
    sheet: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polygons, "SHEET", sheet)
    random = np.random.default_rng(3)
    labels = random.integers(0, 5, (23, 31)).astype(np.int32)  # pieces, holes and corners that touch everywhere
    labels[5:15, 5:15] = 6
    labels[8:11, 8:11] = 0
    found = from_instances(labels, np.ones(labels.shape, np.uint8))
    for number, outline in enumerate(outlines(found), 1):
        assert (filled(outline, labels.shape) == (found.labels == number)).all()
