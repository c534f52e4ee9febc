"""Objects on Analyze: counted on request, again from the stored mask, as a fragment for people and JSON for scripts."""

import io
import json

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp.models import Analysis, Measurement
from segapp.services import analyses, measurements
from segapp.tests.api.test_objects import worker  # noqa: F401
from segapp.tests.measurement import photos
from segapp.tests.views.rows import HTMX

JSON = {"Accept": "application/json"}
pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def result(alice) -> Analysis:
    analyses.submit(alice.visitor, io.BytesIO(photos.png(photos.touching())), "cells.png")
    return Analysis.objects.get()


def objects(client, result, **sent):
    return client.post(f"/analyze/{result.public_id}/objects/", sent, headers=JSON).json()


def test_nothing_is_measured_until_somebody_asks(alice, result):
    page = alice.get(f"/analyze/{result.public_id}/").content.decode()
    assert "Count objects" in page and "objects-form" not in page
    assert not Measurement.objects.exists()


def test_the_fragment_shows_counts_table_and_downloads(alice, result):
    address = f"/analyze/{result.public_id}/objects/"
    page = alice.post(address, {"scale": "0.5um"}, headers=HTMX).content.decode()
    assert "Table of 3 objects" in page and "Area (µm²)" in page and "0.5 µm per pixel, typed in" in page
    assert "GeoJSON polygons" in page and 'value="3" checked' in page
    whole = alice.get(f"/analyze/{result.public_id}/").content.decode()
    assert "Table of 3 objects" in whole, "a reload shows them, too"
    assert alice.post(address, {}).status_code == 302, "without script back to the result"


def test_json_has_outlines_and_the_table_by_number(alice, result):
    found = objects(alice, result, scale="0.5um")
    view = found["view"]
    assert (found["state"], found["counts"], found["total"]) == ("done", {"3": 3}, 3)
    assert (view["width"], view["height"], view["unit"], view["things"]) == (512, 512, "um", [3])
    shown = {one["name"]: one for one in found["shown"]}
    assert shown["area"] == {"name": "area", "at": 4, "title": "Area (µm²)", "unit": "µm²", "numeric": True}
    assert [view["columns"][shown[f"mean_intensity_{k}"]["at"]] for k in (1, 3)] == [
        "mean_intensity_1",
        "mean_intensity_3",
    ]
    assert view["columns"][:5] == ["object", "class_id", "class", "area_px", "area_um2"]
    assert [row[0] for row in view["rows"]] == [1, 2, 3] and len(view["outlines"]) == 3
    for row, outline in zip(view["rows"], view["outlines"], strict=True):
        (rings,) = outline
        x, y = np.array(rings[0][0::2]), np.array(rings[0][1::2])
        area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
        assert area == pytest.approx(row[3], rel=0.02)
    assert set(found["files"]) >= {"csv", "geojson", "coco"}
    assert alice.get(found["files"]["csv"]).status_code == 200
    again = alice.get(f"/analyze/{result.public_id}/objects/", headers=JSON).json()
    assert again == found


def test_sliders_measure_again_without_a_forward_pass(alice, result, worker):  # noqa: F811
    calls = worker.module.segmentation_head[0].calls
    assert objects(alice, result, split="0")["total"] == 2
    assert objects(alice, result, split="0.65")["total"] == 3
    assert objects(alice, result, min_area="4000")["total"] == 2
    assert objects(alice, result, things_shown="1")["total"] == 0
    assert objects(alice, result, things_shown="1", things=["0"], split="0")["counts"] == {"0": 1}
    assert worker.module.segmentation_head[0].calls == calls


def test_objects_are_deleted_and_merged_by_pixels_in_them_and_numbers_follow(alice, result):
    first = objects(alice, result)["view"]
    places = [(row[first["columns"].index("bbox_x_min_px")] + 40, 0) for row in first["rows"]]
    assert len(places) == 3
    deleted = objects(alice, result, edits=json.dumps([["delete", [[120, 120]]]]))
    assert [row[0] for row in deleted["view"]["rows"]] == [1, 2]
    merged = objects(alice, result, edits=json.dumps([["merge", [[120, 120], [196, 120]]]]))
    assert merged["total"] == 2
    areas = [row[3] for row in merged["view"]["rows"]]
    assert areas[0] == first["rows"][0][3] + first["rows"][1][3]
    undone = objects(alice, result, edits="[]")
    assert undone["view"]["rows"] == first["rows"]


@pytest.mark.parametrize(
    "sent", [{"scale": "0.65"}, {"edits": "{"}, {"edits": '[["paint", [[1, 2]]]]'}, {"split": "x"}]
)
def test_what_is_not_understood_is_said_and_keeps_what_was_there(alice, result, sent):
    objects(alice, result)
    answer = alice.post(f"/analyze/{result.public_id}/objects/", sent, headers=JSON)
    assert answer.status_code == 422 and answer.json()["messages"]
    page = alice.post(f"/analyze/{result.public_id}/objects/", sent, headers=HTMX)
    assert page.status_code == 200 and "Table of 3 objects" in page.content.decode()
    assert 'class="note' in page.content.decode() or "problem" in page.content.decode()


def test_the_typed_scale_is_offered_for_the_next_image(alice, result):
    objects(alice, result, scale="0.65um")
    analyses.submit(alice.visitor, io.BytesIO(photos.png(photos.shapes())), "next.png")
    other = Analysis.objects.exclude(pk=result.pk).get()
    page = alice.post(f"/analyze/{other.public_id}/objects/", {}, headers=HTMX).content.decode()
    assert 'option value="0.65um"' in page and "pixels only" in page


def test_another_visitor_sees_a_404(alice, charlie, result):
    assert charlie.get(f"/analyze/{result.public_id}/objects/").status_code == 404
    assert charlie.post(f"/analyze/{result.public_id}/objects/", {}).status_code == 404
    assert not Measurement.objects.exists()


def test_what_was_asked_with_the_image_is_shown(alice):
    answer = alice.post("/api/segment", {"file": SimpleUploadedFile("a.png", photos.png(photos.shapes())),
                                         "objects": "true"}).json()  # fmt: skip
    page = alice.get(f"/analyze/{answer['analysis_id']}/").content.decode()
    assert "Table of 5 objects" in page
    assert measurements.current(Analysis.objects.get()).counts == answer["objects"]
