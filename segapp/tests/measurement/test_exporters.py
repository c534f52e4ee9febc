"""Each format, read again by somebody else's reader where there is one, holds the same objects."""

import csv
import io
import json
import zipfile

import numpy as np
import openpyxl
import pytest
import tifffile
import yaml
from roifile import ImagejRoi

from segapp.imaging.pixel_size import GeoReference, typed
from segapp.measurement import files, polygons
from segapp.measurement.exporters import geojson, imagej, instances, labelme, tables, xlsx, yolo
from segapp.tests.measurement.drawing import document, tricky

MASK = tricky()
DOCUMENT = document(MASK, "=cells.png", size=typed("0.5um"))


def rings_drawn(rings):
    """bool H,W: what lies in an odd number of rings."""
    found = np.zeros(MASK.shape, bool)
    for ring in rings:
        found ^= polygons.filled((polygons.Part(np.asarray(ring, float)),), MASK.shape)
    return found


def test_csv_is_utf8_with_bom_and_holds_no_formula():
    content = tables.csv_of(tables.object_rows([DOCUMENT], named=True))
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert len(rows) == DOCUMENT.objects.count
    assert {row["file"] for row in rows} == {"'=cells.png"}
    assert {row["class"] for row in rows} == {"nucleus", "'=crack"}
    assert [int(row["object"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[0]["area_um2"]) == pytest.approx(float(rows[0]["area_px"]) / 4)


def test_xlsx_has_both_tables_and_text_stays_text():
    book = openpyxl.load_workbook(io.BytesIO(xlsx.workbook([DOCUMENT, DOCUMENT], named=True)))
    assert book.sheetnames == ["Objects", "Classes"]
    sheet = list(book["Objects"].values)
    assert len(sheet) == 1 + 2 * DOCUMENT.objects.count and sheet[0][:4] == ("file", "object", "class_id", "class")
    cell = book["Objects"]["A2"]
    assert (cell.value, cell.data_type) == ("=cells.png", "s")
    assert all(row[4] == int(row[4]) for row in sheet[1:])


def test_geojson_has_one_feature_an_object_in_qupaths_form():
    found = json.loads(geojson.geojson(DOCUMENT))
    assert found["type"] == "FeatureCollection" and "crs" not in found
    assert [feature["properties"]["object"] for feature in found["features"]] == list(
        range(1, DOCUMENT.objects.count + 1)
    )
    for feature in found["features"]:
        parts = feature["geometry"]["coordinates"]
        parts = parts if feature["geometry"]["type"] == "MultiPolygon" else [parts]
        assert all(ring[0] == ring[-1] for rings in parts for ring in rings)
        inside = rings_drawn(ring[:-1] for rings in parts for ring in rings)
        assert (inside == (DOCUMENT.objects.labels == feature["properties"]["object"])).all()
        assert feature["properties"]["classification"]["name"] in ("nucleus", "=crack")


def test_geojson_of_a_map_is_in_its_coordinates_and_names_their_system():
    geo = GeoReference(0.5, 0, 1000, 0, -0.5, 9000, 32_632)
    found = json.loads(geojson.geojson(document(MASK, geo=geo)))
    assert found["crs"]["properties"]["name"].endswith("EPSG::32632")
    points = np.array(found["features"][0]["geometry"]["coordinates"][0])
    assert points.min(axis=0).tolist() == [1001, 8991] and points.max(axis=0).tolist() == [1010, 8999]


def test_coco_holds_holes_as_run_lengths_and_everything_else_as_polygons():
    found = json.loads(files.content_of_many("coco", [DOCUMENT, document(MASK, "b.png")], ["a", "b"]))
    assert [image["file_name"] for image in found["images"]] == ["=cells.png", "b.png"]
    assert [category["id"] for category in found["categories"]] == [1, 2]
    own = [row for row in found["annotations"] if row["image_id"] == 1]
    assert len(own) == DOCUMENT.objects.count
    for number, row in enumerate(own, 1):
        truth = DOCUMENT.objects.labels == number
        if isinstance(row["segmentation"], dict):
            counts = row["segmentation"]["counts"]
            flat = np.repeat(np.arange(len(counts)) % 2, counts)
            inside = flat.reshape(MASK.shape[1], MASK.shape[0]).T > 0
        else:
            inside = rings_drawn(np.reshape(part, (-1, 2)) for part in row["segmentation"])
        assert (inside == truth).all() and row["area"] == truth.sum()
    assert any(isinstance(row["segmentation"], dict) for row in own)


def test_yolo_lines_are_shares_of_the_image_and_what_is_lost_is_said():
    files = dict(yolo.members([DOCUMENT], ["cells"], yolo.classes_of([DOCUMENT])))
    config = files["data.yaml"].decode()
    assert yaml.safe_load(config)["names"] == {0: "nucleus", 1: "=crack"} and "Holes are filled" in config
    lines = files["labels/cells.txt"].decode().splitlines()
    whole = np.zeros(MASK.shape, np.uint8)
    for line in lines:
        kind, *values = line.split()
        whole[rings_drawn([np.reshape([float(v) for v in values], (-1, 2)) * (60, 40)])] = int(kind) + 1
    from scipy.ndimage import binary_fill_holes

    expected = np.where(binary_fill_holes(MASK == 1) & (MASK == 0), 1, MASK)
    assert (whole == expected).all()


def test_labelme_groups_pieces_and_paints_what_has_holes():
    found = json.loads(labelme.labelme(DOCUMENT))
    assert (found["imageHeight"], found["imageWidth"], found["imageData"]) == (40, 60, None)
    groups = [shape["group_id"] for shape in found["shapes"]]
    assert sorted(set(groups)) == list(range(1, DOCUMENT.objects.count + 1))
    assert len(groups) == DOCUMENT.objects.count + 1  # two pixels that touch by a corner
    assert {shape["shape_type"] for shape in found["shapes"]} == {"polygon", "mask"}


def test_imagej_rois_give_every_object_back():
    rois = [ImagejRoi.frombytes(content) for _, content in imagej.members(DOCUMENT)]
    assert len(rois) == DOCUMENT.objects.count
    for number, roi in enumerate(rois, 1):
        inside = rings_drawn(roi.coordinates(multi=True))
        assert (inside == (DOCUMENT.objects.labels == number)).all(), number
        assert roi.name.startswith(f"{number:04d} ")


def test_instance_images_hold_the_numbers_in_16_bits_and_the_pixel_size():
    labels = DOCUMENT.objects.labels
    assert (instances.read_png(instances.png(labels)) == labels).all()
    with tifffile.TiffFile(io.BytesIO(instances.tiff(DOCUMENT))) as opened:
        assert opened.pages[0].dtype == np.uint16 and (opened.asarray() == labels).all()
        assert opened.imagej_metadata["unit"] == "um" and opened.pages[0].tags["XResolution"].value == (2, 1)


def test_an_image_without_objects_goes_out_in_every_format():
    empty = document(np.zeros((4, 5), np.uint8))
    assert len(tables.csv_of(tables.object_rows([empty], named=False)).decode().splitlines()) == 1
    assert json.loads(geojson.geojson(empty))["features"] == []
    assert json.loads(files.content("coco", empty))["annotations"] == []
    assert json.loads(labelme.labelme(empty))["shapes"] == []
    assert list(imagej.members(empty)) == []
    assert dict(yolo.members([empty], ["e"], yolo.classes_of([empty])))["labels/e.txt"] == b""
    assert zipfile.is_zipfile(io.BytesIO(xlsx.workbook([empty], named=False)))
    assert not instances.read_png(instances.png(empty.objects.labels)).any()
