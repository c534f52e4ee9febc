"""Objects through the API: counted, measured, handed out in every format, with the same numbers everywhere."""

import csv
import io
import json
import zipfile
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import openpyxl
import pytest
import tifffile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.utils import timezone
from PIL import Image

from segapp.imaging.object_formats import KEYS
from segapp.models import Analysis, Measurement, State
from segapp.services import analyses, cleanup, measurements
from segapp.tests.measurement import photos
from segapp.worker import analysis_objects, inference, local, networks

AREAS = [np.pi * r * r for r in photos.RADII]


@pytest.fixture(autouse=True)
def worker(monkeypatch, settings, tmp_path):
    """The real worker's code, run at once; its network finds exactly what is bright."""
    settings.MEDIA_ROOT = tmp_path / "media"
    network = photos.network("mit_b0")

    @contextmanager
    def pinned(work):
        yield network

    monkeypatch.setattr(networks, "pinned", pinned)
    monkeypatch.setattr(analyses.dispatch, "analysis", lambda row: inference.run(row.pk))
    monkeypatch.setattr(measurements.dispatch, "measurement", lambda row: analysis_objects.run(row.pk))
    monkeypatch.setattr(analyses.dispatch, "notify", lambda name: None)
    return network


def post(client, mask=None, name="shapes.png", content=None, **fields):
    content = content or photos.png(photos.shapes() if mask is None else mask)
    return client.post("/api/segment", {"file": SimpleUploadedFile(name, content), **fields})


def table(client, address) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(address).getvalue().decode("utf-8-sig"))))


def instances(client, address) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(client.get(address).getvalue())))


def test_objects_are_counted_measured_and_numbered_alike_everywhere(alice):
    found = post(alice, objects="true", scale="0.5um").json()
    assert found["objects"] == {"3": 5} and found["objects_total"] == 5
    assert found["scale"] == "0.5 µm per pixel, typed in"
    rows, numbers = table(alice, found["objects_url"]), instances(alice, found["instances_url"])
    features = json.loads(alice.get(found["geojson_url"]).getvalue())["features"]
    assert list(rows[0])[:5] == ["object", "class_id", "class", "area_px", "area_um2"]
    assert [row["object"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert numbers.dtype == np.uint16 and sorted(set(numbers.ravel())) == list(range(6))
    for row, feature in zip(rows, features, strict=True):
        number = int(row["object"])
        assert feature["properties"]["object"] == number and feature["properties"]["class_id"] == 3
        assert (numbers == number).sum() == int(row["area_px"]) == 4 * float(row["area_um2"])
    discs = [float(row["area_px"]) for row in rows[:3]]
    assert sorted(discs) == pytest.approx(AREAS, rel=0.01)
    assert alice.get(f"/api/segment/{found['analysis_id']}").json() == found


def test_nothing_is_counted_when_nobody_asks(alice):
    found = post(alice).json()
    assert "objects" not in found and "objects_ms" not in found["timings"]
    assert not Measurement.objects.exists()


def test_page_command_and_api_give_the_same_numbers(alice, tmp_path, monkeypatch, worker):
    @contextmanager
    def named(key, visitor="local"):
        yield worker

    monkeypatch.setattr(local, "named_network", named)
    path = tmp_path / "touching.png"
    path.write_bytes(photos.png(photos.touching()))
    call_command("segment", str(path), "--out", str(tmp_path / "out"), "--objects", str(tmp_path / "o.csv"),
                 "--scale", "2um", "--json", stdout=io.StringIO())  # fmt: skip
    by_command = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text(encoding="utf-8-sig"))))
    found = post(alice, content=path.read_bytes(), name="touching.png", objects="true", scale="2um").json()
    by_api = table(alice, found["objects_url"])
    assert [{k: v for k, v in row.items() if k != "file"} for row in by_command] == by_api
    row = Measurement.objects.get()
    row.delete()
    again = alice.post(f"/api/segment/{found['analysis_id']}/objects", {"scale": "2um"}).json()
    assert table(alice, again["objects_url"]) == by_api, "measured from the stored mask"


def test_touching_ones_come_apart_as_asked_and_measuring_again_needs_no_network(alice, worker):
    found = post(alice, photos.touching(), objects="true", split="none").json()
    assert found["objects"] == {"3": 2}
    calls = worker.module.segmentation_head[0].calls
    address = f"/api/segment/{found['analysis_id']}/objects"
    assert alice.post(address, {"split": "auto"}).json()["objects"] == {"3": 3}
    assert alice.post(address, {"split": "0.9", "min_area": "4000"}).json()["objects"] == {"3": 2}
    assert alice.post(address, {"things": "0", "split": "none"}).json()["objects"] == {"0": 1}
    assert alice.post(address, {"edges": "drop", "split": "none"}).json()["objects"] == {"3": 2}
    assert worker.module.segmentation_head[0].calls == calls
    latest = alice.get(f"/api/segment/{found['analysis_id']}").json()
    assert latest["objects"] == {"3": 2} and Measurement.objects.count() == 5


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        *(("objects", "yes", "true or false"), ("scale", "0.65", "0.65um"), ("scale", "3 parsec", "0.65um")),
        *(("split", "1.5", "from 0 to 1"), ("split", "much", "auto, none"), ("min_area", "-3", "whole number")),
        *(("edges", "cut", "keep or drop"), ("things", "77", "It has 0, 1"), ("things", "cell", "class ids")),
        *(("holes", "x", "keep or fill"), ("simplify", "999", "0 to 50"), ("measure", "mass", "solidity")),
    ],
)
def test_an_invalid_value_is_a_422_that_names_the_field_and_what_is_taken(alice, field, value, wanted):
    refused = post(alice, **{"objects": "true", field: value})
    message = refused.json()["error"]["message"]
    assert refused.status_code == 422 and f"{field}: " in message and wanted in message
    assert not Analysis.objects.exists()


def test_the_files_own_scale_counts_and_without_one_there_are_pixels_only(alice):
    found = post(alice, name="a.tif", content=photos.imagej_tiff(photos.shapes(), 0.25), objects="true").json()
    assert found["scale"] == "0.25 µm per pixel, from the file (ImageJ)"
    assert "area_um2" in table(alice, found["objects_url"])[0]
    none = post(alice, objects="true").json()
    assert none["scale"] is None and not any("um" in name for name in table(alice, none["objects_url"])[0])


def test_polygons_of_a_map_carry_its_reference_system(alice):
    found = post(alice, name="map.tif", content=photos.geotiff(photos.shapes()), objects="true").json()
    content = json.loads(alice.get(found["geojson_url"]).getvalue())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    assert found["scale"] == "0.5 m per pixel, from the file (GeoTIFF)"
    assert 500_000 <= content["features"][0]["geometry"]["coordinates"][0][0][0] <= 500_256


@pytest.mark.parametrize("format", KEYS)
def test_every_format_can_be_had_and_holds_the_objects(alice, format):
    found = post(alice, objects="true", scale="0.5um").json()
    numbers = instances(alice, found["instances_url"])
    answer = alice.get(found["object_files"][format])
    content = answer.getvalue()
    assert answer.status_code == 200
    if format == "csv":
        assert len(content.decode("utf-8-sig").splitlines()) == 6
    elif format == "classes":
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        assert [row["count"] for row in rows] == ["", "5"]
    elif format == "xlsx":
        assert openpyxl.load_workbook(io.BytesIO(content))["Objects"].max_row == 6
    elif format == "geojson":
        assert len(json.loads(content)["features"]) == 5
    elif format == "coco":
        assert [row["area"] for row in json.loads(content)["annotations"]] == np.bincount(numbers.ravel())[1:].tolist()
    elif format == "labelme":
        assert [shape["group_id"] for shape in json.loads(content)["shapes"]] == [1, 2, 3, 4, 5]
    elif format in ("yolo", "imagej"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            assert len(names) == (5 if format == "imagej" else 2)
    elif format == "instances":
        assert (np.asarray(Image.open(io.BytesIO(content))) == numbers).all()
    else:
        assert (tifffile.imread(io.BytesIO(content)) == numbers).all()


def test_another_visitor_gets_the_same_404_as_for_what_does_not_exist(alice, charlie):
    found = post(alice, objects="true").json()
    for key in KEYS:
        assert charlie.get(found["object_files"][key]).status_code == 404
    assert charlie.post(f"/api/segment/{found['analysis_id']}/objects", {}).status_code == 404
    assert alice.get(found["objects_url"].replace("csv", "shp")).status_code == 404
    assert alice.get(f"/files/analyses/{found['analysis_id']}/objects/{'0' * 16}/csv").status_code == 404


def test_objects_expire_with_their_result(alice, settings):
    found = post(alice, objects="true").json()
    folder = Measurement.objects.get().folder
    assert (folder / "csv.csv").is_file()
    Analysis.objects.update(created=timezone.now() - timedelta(days=settings.SEGAPP_RESULT_DAYS + 1))
    for removal in cleanup.plan():
        removal.act()
    assert not folder.exists() and not Measurement.objects.exists()
    assert alice.get(found["objects_url"]).status_code == 404


def test_old_ways_of_measuring_one_result_are_forgotten(alice):
    found = post(alice, objects="true").json()
    address = f"/api/segment/{found['analysis_id']}/objects"
    for area in range(1, measurements.KEPT + 3):
        alice.post(address, {"min_area": str(area)})
    assert Measurement.objects.count() == measurements.KEPT
    folder = Measurement.objects.first().analysis.folder
    assert len(list(folder.glob("objects_*"))) == measurements.KEPT
    assert alice.get(found["objects_url"]).status_code == 404


def test_more_objects_than_can_be_numbered_leave_the_result_and_are_said(alice, monkeypatch):
    monkeypatch.setattr("segapp.measurement.objects.MAX_OBJECTS", 3)
    found = post(alice, objects="true").json()
    assert found["objects"] is None and "minimum area" in found["objects_message"]
    assert Analysis.objects.get().state == State.DONE and found["mask_url"]


def test_what_a_dead_worker_held_is_measured_by_the_next(alice):
    found = post(alice, objects="true").json()
    row = Measurement.objects.get()
    Measurement.objects.filter(pk=row.pk).update(state=State.RUNNING, worker="nowhere:0:1:1", attempts=1)
    measurements.reap()
    row.refresh_from_db()
    assert row.state == State.QUEUED
    Measurement.objects.filter(pk=row.pk).update(asked=timezone.now() - timedelta(minutes=1))
    measurements.reap()
    row.refresh_from_db()
    assert row.state == State.DONE and row.counts == found["objects"]
