"""`manage.py segment --objects` on an image that is read in windows counts and measures as it does on any other."""

import csv
import io
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from django.core.management import CommandError, call_command

from segapp.imaging import formats
from segapp.measurement import windowed
from segapp.pipeline.inference.upsample import enlarged, interior_map
from segapp.tests.measurement import photos
from segapp.worker import local

pytestmark = pytest.mark.django_db
ACROSS, DOWN = 2, 4  # how often the shapes stand on the image


@pytest.fixture(autouse=True)
def network(monkeypatch):
    @contextmanager
    def named(key, visitor="local"):
        yield photos.network()

    monkeypatch.setattr(local, "named_network", named)


@pytest.fixture
def image(tmp_path, monkeypatch) -> Path:
    """A tiled TIFF over the limit for one piece, and windows of some rows of it."""
    monkeypatch.setattr(formats, "MAX_PIXELS", 600_000)
    monkeypatch.setattr(windowed, "WINDOW", 300_000)
    path = tmp_path / "slide.tif"
    many = np.tile(photos.photo(photos.shapes()), (DOWN, ACROSS, 1))
    tifffile.imwrite(path, many, tile=(256, 256), photometric="rgb")
    return path


def segment(*arguments: object) -> list[dict]:
    out = io.StringIO()
    call_command("segment", *map(str, arguments), "--json", stdout=out)
    return json.loads(out.getvalue())


def test_objects_of_a_large_image_are_counted_and_written(image, tmp_path):
    table, shapes = tmp_path / "objects.csv", tmp_path / "polygons"
    (found,) = segment(image, "--out", tmp_path, "--objects", table, "--geojson", shapes, "--scale", "0.5um")
    mask = tifffile.imread(found["mask"])
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"))))
    assert mask.shape == (512 * DOWN, 512 * ACROSS)
    assert found["objects"] == {"3": len(rows)} and len(rows) >= 4 * ACROSS * DOWN
    assert sum(int(row["area_px"]) for row in rows) == int((mask == 3).sum())
    assert all(float(row["area_um2"]) == pytest.approx(int(row["area_px"]) / 4, rel=1e-4) for row in rows)
    assert all(0 <= float(row["mean_confidence"]) <= 1 for row in rows)
    drawn = json.loads((shapes / "slide.geojson").read_text())
    assert len(drawn["features"]) == len(rows)


def test_one_image_of_all_numbers_is_refused_before_anything_is_segmented(image, tmp_path):
    with pytest.raises(CommandError, match="instances"):
        segment(image, "--out", tmp_path / "out", "--export", tmp_path / "files", "--formats", "instances")
    assert not (tmp_path / "out" / "slide.tif").exists()


@pytest.mark.parametrize("size", [(700, 300), (90, 41), (33, 20)])
def test_rows_of_a_map_are_those_of_the_whole_one(size):
    coarse = np.random.default_rng(2).integers(0, 256, (90, 41)).astype(np.uint8)
    whole, sure = interior_map(coarse, size), enlarged(coarse, size)
    for first in range(0, size[0], 23):
        last = min(size[0], first + 23)
        np.testing.assert_allclose(interior_map(coarse, size, (first, last)), whole[first:last], atol=1e-5)
        assert np.abs(enlarged(coarse, size, (first, last)).astype(int) - sure[first:last]).max() <= 1
