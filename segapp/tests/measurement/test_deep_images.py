"""Intensities of images with more than eight bits are measured on the file's own values, everywhere objects are."""

import csv
import io
import json
from contextlib import contextmanager

import imagecodecs
import numpy as np
import pytest
import tifffile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command

from segapp.imaging import decode
from segapp.imaging.image_input import parse
from segapp.measurement import table
from segapp.measurement.document import plain
from segapp.measurement.objects import Settings, find
from segapp.models import Analysis, Batch
from segapp.services import analyses
from segapp.tests.api.test_objects import worker  # noqa: F401
from segapp.tests.measurement import photos
from segapp.worker import batch as batch_worker
from segapp.worker import local


def values() -> np.ndarray:
    """uint16: bright shapes whose values differ by far less than a 256th of the range."""
    x = np.arange(photos.SIDE, dtype=np.uint16)[None]
    return np.where(photos.shapes() > 0, 40_000 + x, 1_000).astype(np.uint16)


def tiff(array: np.ndarray, **options) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def check(rows: list[dict[str, str]], scale: float = 1.0, shift: float = 0.0, name: str = "intensity") -> None:
    """The mean of x in an object is its centroid."""
    assert len(rows) == 5
    for row in rows:
        expected = (40_000 + float(row["centroid_x_px"])) * scale + shift
        assert float(row[f"mean_{name}"]) == pytest.approx(expected, rel=1e-5)
        assert 2 * abs(scale) < float(row[f"std_{name}"]) < 20 * abs(scale)


DEEP = {
    "grey16.tif": (tiff(values()), 1.0, 0.0),
    "grey16.png": (imagecodecs.png_encode(values()), 1.0, 0.0),
    "float.tif": (tiff((values() / 1000).astype(np.float32)), 0.001, 0.0),
    "negative.tif": (tiff((values().astype(np.int32) - 70_000).astype(np.int32)), 1.0, -70_000.0),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_results_intensities_are_those_of_its_file(alice, worker, name):  # noqa: F811
    content, scale, shift = DEEP[name]
    file = SimpleUploadedFile(name, content)
    found = alice.post("/api/segment", {"file": file, "objects": "true"}).json()
    check(rows_of(alice.get(found["objects_url"]).getvalue()), scale, shift)
    row = Analysis.objects.get()
    assert row.values_path.is_file() and not row.upload_path.exists(), "nothing else of the file is kept"


def test_measuring_later_and_comparing_use_the_kept_values(alice, worker):  # noqa: F811
    analyses.submit(alice.visitor, io.BytesIO(DEEP["grey16.tif"][0]), "a.tif")
    row = Analysis.objects.get()
    assert row.values_path.is_file() and not row.upload_path.exists()
    again = analyses.again(row, None)
    for one in (row, again):
        found = alice.post(f"/analyze/{one.public_id}/objects/", {}, headers={"Accept": "application/json"}).json()
        check(rows_of(alice.get(found["files"]["csv"]).getvalue()))


def test_each_chosen_channel_is_measured(alice, worker):  # noqa: F811
    one = values()
    stack = np.stack([one, one // 2, np.full_like(one, 7), one + 5], axis=-1)
    file = SimpleUploadedFile("four.tif", tiff(stack, photometric="minisblack", planarconfig="contig"))
    sent = {"file": file, "objects": "true", "channels": "4,1,2"}
    found = alice.post("/api/segment", sent).json()
    rows = rows_of(alice.get(found["objects_url"]).getvalue())
    check(rows, 1.0, 5.0, "intensity_1")
    check(rows, 1.0, 0.0, "intensity_2")
    assert "mean_intensity_4" not in rows[0]


def test_missing_pixels_are_left_out(alice, worker):  # noqa: F811
    raster = values().astype(np.float32)
    raster[250:310, 80:110] = -9999  # half of the square
    tags = [(42113, "s", 0, "-9999", True)]
    file = SimpleUploadedFile("raster.tif", tiff(raster, extratags=tags))
    found = alice.post("/api/segment", {"file": file, "objects": "true"}).json()
    rows = rows_of(alice.get(found["objects_url"]).getvalue())
    (half,) = (row for row in rows if row["area_px"] == "1800")  # the missing half is dark
    assert float(half["mean_intensity"]) == pytest.approx(40_000 + np.arange(110, 140).mean())
    values_of = decode.values(io.BytesIO(tiff(raster, extratags=tags)), "raster.tif")
    assert np.isnan(values_of[255, 85]) and values_of[255, 120] == 40_120


def test_an_object_of_missing_pixels_has_no_intensity():
    found = table.measure(
        find(photos.shapes(), Settings((1,))), {1: "cell"}, np.full((photos.SIDE, photos.SIDE), np.nan)
    )
    assert all(plain(value) is None for value in found.columns["mean_intensity"])


def test_values_are_turned_upright_with_their_image():
    content = tiff(values()[:100], extratags=[(274, "H", 1, 6, True)])
    found = decode.values(io.BytesIO(content), "turned.tif")
    assert found.shape == (photos.SIDE, 100)
    assert np.array_equal(found, np.rot90(values()[:100], -1))
    stack = tiff(np.stack([values(), values() + 9]), photometric="minisblack")
    assert np.array_equal(decode.values(io.BytesIO(stack), "stack.tif", parse("", "max")), values() + 9)


def test_a_batch_and_the_command_measure_them_too(alice, worker, monkeypatch, tmp_path):  # noqa: F811
    files = [SimpleUploadedFile("a.tif", DEEP["grey16.tif"][0])]
    made = alice.post("/api/batch", {"files": files, "objects": "true"}).json()
    batch_worker.run(Batch.objects.get().pk)
    found = alice.get(made["status_url"]).json()
    check(rows_of(alice.get(found["objects_url"]).getvalue()))

    @contextmanager
    def named(key, visitor="local"):
        yield worker

    monkeypatch.setattr(local, "named_network", named)
    (tmp_path / "a.tif").write_bytes(DEEP["grey16.tif"][0])
    out = io.StringIO()
    order = ["segment", str(tmp_path / "a.tif"), "--out", str(tmp_path / "out")]
    call_command(*order, "--objects", str(tmp_path / "t.csv"), "--json", stdout=out)
    assert json.loads(out.getvalue())[0]["objects"] == {"3": 5}
    check(rows_of((tmp_path / "t.csv").read_bytes()))
