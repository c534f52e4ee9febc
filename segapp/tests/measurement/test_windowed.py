"""Objects of a mask that is measured window by window are those of the whole mask."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from segapp.imaging.object_options import DROP, FILL, SKELETON, SOLIDITY, ObjectOptions
from segapp.measurement import files, objects, windowed
from segapp.measurement.measured import measured
from segapp.measurement.windowed import measured_in_windows

CLASSES = [
    {"id": 0, "name": "background", "color": "#000000", "things": False},
    {"id": 1, "name": "cell", "color": "#ff0000", "things": True},
    {"id": 2, "name": "bead", "color": "#00ff00", "things": True},
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few rows, which several objects do not fit into."""
    monkeypatch.setattr(windowed, "MARGIN", 16)
    monkeypatch.setattr(windowed, "WINDOW", 64 * 300)
    monkeypatch.setattr(windowed, "LARGEST", 700 * 300)


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """A mask (uint8 900,300) of touching blobs of two classes, some with holes and islands in them, one 200 rows tall;
    and a map of how far inside they are."""
    random = np.random.default_rng(5)
    field = ndimage.gaussian_filter(random.random((900, 300)), 5)
    ids = (field > np.quantile(field, 0.62)).astype(np.uint8)
    other = ndimage.gaussian_filter(random.random((900, 300)), 9)
    ids[(ids > 0) & (other > np.quantile(other, 0.6))] = 2
    ids[300:500, 20:80] = 0
    ids[310:490, 30:70] = 1
    ids[330:470, 40:60] = 0
    ids[395:402, 47:53] = 1  # an island in a hole
    reach = ndimage.distance_transform_edt(ids > 0)
    return ids, np.clip(reach / 12 + 0.1 * ndimage.gaussian_filter(random.random((900, 300)), 2), 0, 1) * (ids > 0)


@pytest.mark.parametrize(
    "options",
    [
        ObjectOptions(split="none"),
        ObjectOptions(),
        ObjectOptions(split=0.9, min_area=12, edges=DROP),
        ObjectOptions(split="none", holes=FILL),
        ObjectOptions(things=(2,), more=(SOLIDITY, SKELETON), simplify=1.5),
    ],
    ids=["parts", "split", "edges", "holes", "more"],
)
@pytest.mark.parametrize("learnt", [False, True], ids=["by_shape", "learnt"])
@pytest.mark.usefixtures("small")
def test_windows_give_the_objects_of_the_whole_mask(options: ObjectOptions, learnt: bool) -> None:
    ids, inner = drawn()
    inner = (np.rint(inner * 255) / 255).astype(np.float32)
    sure = np.random.default_rng(1).integers(0, 256, ids.shape).astype(np.uint8)
    whole = measured("x.tif", ids, CLASSES, options, interior=inner if learnt else None, confidence=sure)
    found = measured_in_windows(
        "x.tif", ids, CLASSES, options, interior=rows_of(inner) if learnt else None, confidence=rows_of(sure)
    )
    assert whole.objects.count > 20
    assert found.counts == whole.counts
    assert found.rows == whole.rows
    assert list(found.table.columns) == list(whole.table.columns)
    for name, values in whole.table.columns.items():
        np.testing.assert_allclose(found.table.columns[name], values, atol=1e-6, err_msg=name)
    for key in ("csv", "geojson", "yolo"):
        assert files.content(key, found) == files.content(key, whole)
    if not options.simplify:  # simplified outlines are drawn again for run lengths
        assert files.content("coco", found) == files.content("coco", whole)


@pytest.mark.usefixtures("small")
def test_an_object_taller_than_the_largest_window_is_cut_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "LARGEST", 200 * 300)
    ids = np.zeros((900, 300), np.uint8)
    ids[10:890, 100:110] = 1
    ids[5:20, 200:210] = 1
    found = measured_in_windows("x.tif", ids, CLASSES, ObjectOptions())
    assert found.cut_at
    assert found.table.columns["area_px"].sum() == (ids == 1).sum()
    assert 2 < found.objects.count < 12


def test_an_empty_mask_has_no_objects() -> None:
    found = measured_in_windows("x.tif", np.zeros((50, 40), np.uint8), CLASSES, ObjectOptions())
    assert found.counts == {"1": 0, "2": 0}
    assert files.content("csv", found).startswith(b"\xef\xbb\xbfobject,")


@pytest.mark.usefixtures("small")
def test_no_window_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, _ = drawn()
    sizes: list[int] = []
    looked: Callable[..., Any] = objects.parts_of

    def watched(ids: np.ndarray, *rest: Any) -> Any:
        sizes.append(ids.size)
        return looked(ids, *rest)

    monkeypatch.setattr(objects, "parts_of", watched)
    measured_in_windows("x.tif", ids, CLASSES, ObjectOptions())
    assert len(sizes) > 4
    assert max(sizes) <= windowed.LARGEST


def rows_of(values: np.ndarray) -> windowed.Rows:
    return lambda first, last: values[first:last]
