"""Objects of many images: one table of all, polygons for each, one unit for several scales."""

import csv
import io
import json
import zipfile

import numpy as np
import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from segapp.imaging.object_options import ObjectOptions
from segapp.imaging.pixel_size import typed
from segapp.models import Batch, State
from segapp.services import batches, cleanup
from segapp.tests.batch.sending import BROKEN
from segapp.tests.measurement import photos
from segapp.worker import batch as worker
from segapp.worker import batch_objects


@pytest.fixture
def network(net):
    """Sees the shapes as they are."""
    exact = photos.network("mit_b0")
    net.spec, net.module = exact.spec, exact.module
    return net


def sent(**contents: bytes) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(f"{name}.{'png' if data[:4] == BROKEN[:4] else 'tif'}", data)
            for name, data in contents.items()]  # fmt: skip


def shapes() -> bytes:
    return photos.png(photos.shapes())


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def test_counts_tables_and_polygons_come_with_every_image(alice, charlie, network):
    files = sent(a=shapes(), b=photos.png(photos.touching()), broken=BROKEN)
    made = alice.post("/api/batch", {"files": files, "objects": "true", "scale": "0.5um", "min_area": "10"}).json()
    worker.run(Batch.objects.get().pk)
    found = alice.get(made["status_url"]).json()
    assert (found["state"], found["message"]) == ("done", "")
    assert found["objects"] == {"3": 8}
    assert [one["objects"] for one in found["files"]] == [{"3": 5}, {"3": 3}, None]
    rows = rows_of(alice.get(found["objects_url"]).getvalue())
    assert [row["file"] for row in rows] == ["a.png"] * 5 + ["b.png"] * 3
    assert [row["object"] for row in rows] == list("12345123")
    assert all(float(row["area_px"]) == 4 * float(row["area_um2"]) for row in rows)
    book = openpyxl.load_workbook(io.BytesIO(alice.get(found["objects_xlsx_url"]).getvalue()))
    assert book["Objects"].max_row == 9 and book["Classes"].max_row == 5
    per_class = rows_of(alice.get(found["objects_by_class_url"]).getvalue())
    assert [row["count"] for row in per_class if row["id"] == "3"] == ["5", "3"]
    for one, own in zip(found["files"][:2], (rows[:5], rows[5:]), strict=True):
        numbers = np.asarray(Image.open(io.BytesIO(alice.get(one["instances_url"]).getvalue())))
        features = json.loads(alice.get(one["geojson_url"]).getvalue())["features"]
        for row, feature in zip(own, features, strict=True):
            assert feature["properties"]["object"] == int(row["object"])
            assert (numbers == int(row["object"])).sum() == int(row["area_px"])
    outlines = json.loads(alice.get(found["objects_coco_url"]).getvalue())
    assert [(one["id"], one["file_name"]) for one in outlines["images"]] == [(1, "a.png"), (2, "b.png")]
    assert [one["area"] for one in outlines["annotations"]] == [int(row["area_px"]) for row in rows]
    with zipfile.ZipFile(io.BytesIO(alice.get(found["objects_yolo_url"]).getvalue())) as archive:
        lines = [archive.read(f"labels/{name}.txt").decode().splitlines() for name in ("a", "b")]
        assert [len(one) for one in lines] == [5, 3] and {line[0] for one in lines for line in one} == {"0"}
    assert "YOLO segmentation" in alice.get(f"/analyze/batch/{found['batch_id']}/").content.decode()
    for address in [name for name in found if name.startswith("objects_") and name.endswith("_url")]:
        assert charlie.get(found[address]).status_code == 404
    assert charlie.get(found["files"][0]["geojson_url"]).status_code == 404


def test_the_zip_holds_tables_polygons_and_object_numbers(alice, network):
    batches.submit(alice.visitor, sent(a=shapes()), objects=ObjectOptions())
    batch = Batch.objects.get()
    worker.run(batch.pk)
    content = b"".join(alice.get(f"/analyze/batch/{batch.public_id}/results.zip").streaming_content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {
            *("classes.csv", "objects.csv", "objects.xlsx", "object_classes.csv"),
            *("masks/a.png", "overlays/a.jpg", "polygons/a.geojson", "instances/a.png"),
        }


def test_several_scales_become_one_unit_and_that_is_said(alice, network):
    contents = {"a": photos.imagej_tiff(photos.touching(), 0.5), "b": photos.imagej_tiff(photos.touching(), 2.0)}
    batches.submit(alice.visitor, sent(**contents), objects=ObjectOptions())
    worker.run(Batch.objects.get().pk)
    batch = Batch.objects.get()
    assert "different pixel sizes" in batch.message
    rows = rows_of(batches.table_of(batch, "csv").read_bytes())
    assert {float(row["pixel_size_um"]) for row in rows} == {0.5, 2.0}
    areas = {name: [float(row["area_um2"]) for row in rows if row["file"] == f"{name}.tif"] for name in "ab"}
    assert [16 * area for area in areas["a"]] == pytest.approx(areas["b"], rel=1e-4)


def test_a_typed_scale_goes_before_the_files(alice, network):
    contents = {"a": photos.imagej_tiff(photos.touching(), 0.5), "b": shapes()}
    batches.submit(alice.visitor, sent(**contents), objects=ObjectOptions(scale=typed("1mm")))
    worker.run(Batch.objects.get().pk)
    batch = Batch.objects.get()
    assert batch.message == ""
    assert all(row["area_mm2"] for row in rows_of(batches.table_of(batch, "csv").read_bytes()))


def test_a_batch_that_was_stopped_gets_its_tables_afterwards(alice, network, monkeypatch):
    later = []
    monkeypatch.setattr(batches.dispatch, "batch_tables", lambda row: later.append(row.pk))
    batches.submit(alice.visitor, sent(a=shapes(), b=shapes()), objects=ObjectOptions())
    batch = Batch.objects.get()
    usual = worker._close

    def close(*given):
        usual(*given)
        batches.stop(Batch.objects.get(), keep=True)

    monkeypatch.setattr(worker, "_close", close)
    worker.run(batch.pk)
    batch = Batch.objects.get()
    assert batch.state == State.DONE and batch.done == 1 and later == [batch.pk]
    body = alice.get(f"/api/batch/{batch.public_id}").json()
    assert body["objects_url"] is None and body["objects"] == {"3": 5}
    batch_objects.run(batch.pk)
    body = alice.get(f"/api/batch/{batch.public_id}").json()
    assert len(rows_of(alice.get(body["objects_url"]).getvalue())) == 5


def test_without_the_wish_nothing_is_counted(alice, network):
    batches.submit(alice.visitor, sent(a=shapes()))
    batch = Batch.objects.get()
    worker.run(batch.pk)
    body = alice.get(f"/api/batch/{batch.public_id}").json()
    assert "objects" not in body and "objects" not in body["files"][0]
    assert not (batch.folder / "instances").exists()
    assert alice.get(f"/analyze/batch/{batch.public_id}/objects/csv").status_code == 404


def test_an_invalid_value_is_a_422_that_names_the_field(alice):
    answer = alice.post("/api/batch", {"files": sent(a=shapes()), "objects": "true", "split": "often"})
    assert answer.status_code == 422 and "split: " in answer.json()["error"]["message"]
    assert not Batch.objects.exists()


def test_objects_go_with_the_batch(alice, network, settings):
    batches.submit(alice.visitor, sent(a=shapes()), objects=ObjectOptions())
    batch = Batch.objects.get()
    worker.run(batch.pk)
    settings.SEGAPP_RESULT_DAYS = -1
    for removal in cleanup.plan():
        removal.act()
    assert not batch.folder.exists()


def test_more_objects_than_can_be_numbered_leave_the_mask_and_are_said(alice, network, monkeypatch):
    monkeypatch.setattr("segapp.measurement.objects.MAX_OBJECTS", 3)
    batches.submit(alice.visitor, sent(a=shapes()), objects=ObjectOptions())
    worker.run(Batch.objects.get().pk)
    item = Batch.objects.get().items.get()
    assert item.state == "done" and "minimum area" in item.message and item.counted == {}
