"""`manage.py segment` counts and measures: shapes of known size come out with it, in every file."""

import csv
import io
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from segapp.tests.measurement import photos
from segapp.worker import local

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def network(monkeypatch):
    @contextmanager
    def named(key, visitor="local"):
        yield photos.network()

    monkeypatch.setattr(local, "named_network", named)


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "shapes.png"
    path.write_bytes(photos.png(photos.shapes()))
    return path


def segment(*arguments: object) -> list[dict]:
    out = io.StringIO()
    call_command("segment", *map(str, arguments), "--json", stdout=out)
    return json.loads(out.getvalue())


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def test_shapes_of_known_size_have_it_in_the_table(image, tmp_path):
    table = tmp_path / "objects.csv"
    (found,) = segment(image, "--out", tmp_path / "out", "--objects", table, "--scale", "0.5um")
    assert found["objects"] == {"3": 5} and found["scale"] == "0.5 µm per pixel, typed in"
    rows = rows_of(table)
    assert list(rows[0])[1:6] == ["object", "class_id", "class", "area_px", "area_um2"]
    assert [row["object"] for row in rows] == ["1", "2", "3", "4", "5"]
    areas, perimeters = ([float(row[name]) for row in rows] for name in ("area_um2", "perimeter_um"))
    by_size = sorted(zip(areas, perimeters, strict=True), reverse=True)
    expected = [(np.pi * r * r / 4, np.pi * r) for r in (40, 30, 20)]
    expected.insert(1, (60 * 60 / 4, 120.0))
    whole = [
        pair
        for pair, row in zip(zip(areas, perimeters, strict=True), rows, strict=True)
        if row["touches_edge"] == "false"
    ]
    for (area, perimeter), (true_area, true_perimeter) in zip(sorted(whole, reverse=True), expected, strict=True):
        assert area == pytest.approx(true_area, rel=0.01)
        assert perimeter == pytest.approx(true_perimeter, rel=0.03)
    assert len(by_size) == 5


def test_polygons_instances_and_the_table_carry_the_same_numbers(image, tmp_path):
    (found,) = segment(
        image, "--out", tmp_path / "out", "--objects", tmp_path / "o.csv", "--geojson", tmp_path / "shapes",
        "--export", tmp_path / "all", "--formats", "instances,coco,yolo,labelme,imagej,xlsx,instances_tiff,classes",
    )  # fmt: skip
    numbers = np.asarray(Image.open(tmp_path / "all" / "instances" / "shapes.png"))
    assert numbers.dtype == np.uint16 and set(np.unique(numbers)) == set(range(6))
    features = json.loads((tmp_path / "shapes" / "shapes.geojson").read_text())["features"]
    for row, feature in zip(rows_of(tmp_path / "o.csv"), features, strict=True):
        number = int(row["object"])
        assert feature["properties"]["object"] == number
        assert (numbers == number).sum() == int(row["area_px"])
    made = {path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all").rglob("*") if path.is_file()}
    assert made == {
        *("coco.json", "yolo.zip", "objects.xlsx", "classes.csv"),
        *("instances/shapes.png", "labelme/shapes.json", "imagej/shapes.zip", "instances_tiff/shapes.tif"),
    }
    assert np.asarray(Image.open(found["mask"])).astype(bool).sum() == (numbers > 0).sum()


def test_touching_ones_come_apart_small_ones_and_cut_ones_are_left_out_as_asked(tmp_path):
    path = tmp_path / "touching.png"
    path.write_bytes(photos.png(photos.touching()))
    more = ("--out", tmp_path / "out", "--objects", tmp_path / "o.csv")
    assert [segment(path, *more, "--split", s)[0]["objects"]["3"] for s in ("none", "auto", "0.8")] == [2, 3, 3]
    assert segment(path, *more, "--min-area", 4000)[0]["objects"]["3"] == 2
    path.write_bytes(photos.png(photos.shapes()))
    assert segment(path, *more, "--edges", "drop")[0]["objects"]["3"] == 4
    assert segment(path, *more, "--things", "0", "--split", "none")[0]["objects"] == {"0": 1}


def test_the_file_says_the_scale_and_several_scales_are_one_unit_and_said(tmp_path, capsys):
    for name, micrometres in (("a.tif", 0.5), ("b.tif", 2.0)):
        (tmp_path / name).write_bytes(photos.imagej_tiff(photos.touching(), micrometres))
    (tmp_path / "c.png").write_bytes(photos.png(photos.touching()))
    names = [tmp_path / name for name in ("a.tif", "b.tif")]
    found = segment(*names, "--out", tmp_path / "out", "--objects", tmp_path / "o.csv")
    assert [one["scale"] for one in found] == [f"{n} µm per pixel, from the file (ImageJ)" for n in ("0.5", "2")]
    assert "different pixel sizes" in capsys.readouterr().err
    areas = {name: [float(r["area_um2"]) for r in rows_of(tmp_path / "o.csv") if r["file"] == name]
             for name in ("a.tif", "b.tif")}  # fmt: skip
    assert [16 * area for area in areas["a.tif"]] == pytest.approx(areas["b.tif"], rel=1e-4)
    (lone,) = segment(tmp_path / "c.png", "--out", tmp_path / "out", "--objects", tmp_path / "o.csv")
    assert lone["scale"] is None and "area_um2" not in rows_of(tmp_path / "o.csv")[0]


def test_a_maps_polygons_lie_where_the_map_does(tmp_path):
    (tmp_path / "map.tif").write_bytes(photos.geotiff(photos.shapes()))
    (found,) = segment(tmp_path / "map.tif", "--out", tmp_path / "out", "--geojson", tmp_path / "gj")
    content = json.loads((tmp_path / "gj" / "map.geojson").read_text())
    assert content["crs"]["properties"]["name"].endswith("32632")
    x, y = np.array(content["features"][0]["geometry"]["coordinates"][0])[0]
    assert 500_000 <= x <= 500_256 and 4_999_744 <= y <= 5_000_000
    assert found["scale"].endswith("from the file (GeoTIFF)")


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        *(("--scale", "0.65", "0.65um"), ("--split", "2", "from 0 to 1"), ("--min-area", "-1", "whole number")),
        *(("--edges", "cut", "keep or drop"), ("--things", "cells", "class ids"), ("--formats", "shp", "geojson")),
    ],
)
def test_a_value_that_is_not_understood_is_named_with_what_is(image, tmp_path, option, value, wanted):
    with pytest.raises(CommandError, match=wanted) as refused:
        segment(image, "--out", tmp_path / "out", "--objects", tmp_path / "o.csv", f"{option}={value}")
    assert option in str(refused.value) or option == "--formats"
    assert not (tmp_path / "out").exists()
