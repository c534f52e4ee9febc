"""Known shapes come out with their known sizes, and shared measures as scikit-image has them."""

import numpy as np
import pytest
from skimage.measure import regionprops_table

from segapp.imaging.object_options import SKELETON, SOLIDITY
from segapp.imaging.pixel_size import typed
from segapp.measurement import table
from segapp.measurement.exporters import tables
from segapp.measurement.objects import Settings, find
from segapp.measurement.units import unit_of
from segapp.tests.measurement.drawing import NAMES, bar, disc, document, tricky


def measured(mask, **more):
    return table.measure(find(mask, Settings((1,))), NAMES, **more).columns


@pytest.mark.parametrize("radius", [10, 15, 20, 30, 50, 100])
def test_a_disc_has_its_area_within_1_and_its_perimeter_within_3_percent(radius):
    mask = np.zeros((240, 240), np.uint8)
    disc(mask, 120.3, 119.8, radius)
    found = measured(mask)
    assert found["area_px"][0] == pytest.approx(np.pi * radius**2, rel=0.01)
    assert found["perimeter_px"][0] == pytest.approx(2 * np.pi * radius, rel=0.03)
    assert found["equivalent_diameter_px"][0] == pytest.approx(2 * radius, rel=0.01)
    assert found["circularity"][0] > 0.94


@pytest.mark.parametrize("side", [10, 20, 40, 100])
def test_a_square_has_its_area_and_perimeter(side):
    mask = np.zeros((240, 240), np.uint8)
    mask[50 : 50 + side, 60 : 60 + side] = 1
    found = measured(mask)
    assert found["area_px"][0] == side**2
    assert found["perimeter_px"][0] == pytest.approx(4 * side, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 15, 30, 60])
def test_a_turned_square_has_its_perimeter(degrees):
    mask = np.zeros((240, 240), np.uint8)
    bar(mask, 100, 100, degrees)
    assert measured(mask)["perimeter_px"][0] == pytest.approx(400, rel=0.03)


@pytest.mark.parametrize("degrees", [0, 10, 22, 30, 45, 70, 90])
@pytest.mark.parametrize(("length", "width"), [(200, 3), (200, 5), (300, 9)])
def test_a_line_has_its_length_within_3_percent_whichever_way_it_runs(length, width, degrees):
    mask = np.zeros((400, 400), np.uint8)
    bar(mask, length, width, degrees)
    found = measured(mask, more=(SKELETON,))
    assert found["skeleton_length_px"][0] == pytest.approx(length, rel=0.03)
    assert found["mean_width_px"][0] == pytest.approx((mask > 0).sum() / length, rel=0.03)


def test_what_scikit_image_measures_too_is_the_same():
    rng = np.random.default_rng(0)
    mask = (rng.random((120, 160)) < 0.45).astype(np.uint8)
    looked = rng.integers(0, 65_000, (120, 160, 2)).astype(np.uint16)
    found = find(mask, Settings((1,)))
    ours = table.measure(found, NAMES, looked, more=(SOLIDITY,)).columns
    large = ours["area_px"] > 2
    theirs = regionprops_table(
        found.labels,
        looked,
        properties=[
            *("area", "equivalent_diameter_area", "axis_major_length", "axis_minor_length", "eccentricity"),
            *("orientation", "centroid", "bbox", "solidity", "intensity_mean", "intensity_std"),
        ],
    )
    pairs = {
        "area_px": "area",
        "equivalent_diameter_px": "equivalent_diameter_area",
        "axis_major_length_px": "axis_major_length",
        "axis_minor_length_px": "axis_minor_length",
        "centroid_x_px": "centroid-1",
        "centroid_y_px": "centroid-0",
        "bbox_x_min_px": "bbox-1",
        "bbox_y_max_px": "bbox-2",
        "mean_intensity_1": "intensity_mean-0",
        "std_intensity_2": "intensity_std-1",
        "eccentricity": "eccentricity",
    }
    for own, name in pairs.items():
        assert ours[own] == pytest.approx(theirs[name], abs=1e-5), own
    wide = large & (ours["axis_minor_length_px"] > 0)
    assert ours["solidity"][wide] == pytest.approx(theirs["solidity"][wide], abs=1e-9)
    clear = ours["axis_major_length_px"] - ours["axis_minor_length_px"] > 1e-6
    turned = np.degrees(theirs["orientation"])[clear] - ours["orientation_deg"][clear]
    assert np.abs((turned + 90) % 180 - 90).max() < 1e-5


def test_intensity_is_measured_at_its_own_depth():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6] = 1
    values = np.where(mask > 0, 40_000, 7).astype(np.uint16)
    values[2, 2] = 40_016
    found = measured(mask, intensity=values)
    assert found["mean_intensity"][0] == 40_001 and found["std_intensity"][0] == pytest.approx(np.sqrt(15))


def test_confidence_is_a_share():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:6, 2:6] = 1
    sure = np.full((10, 10), 51, np.uint8)
    assert measured(mask, confidence=lambda a, b: sure[a:b])["mean_confidence"][0] == pytest.approx(0.2)


def test_one_pixel_has_every_measure():
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 3] = 1
    found = measured(mask, more=(SOLIDITY, SKELETON))
    assert all(np.isfinite(values.astype(float)).all() for values in found.values())


def test_lengths_and_areas_come_in_pixels_and_in_the_unit():
    mask = np.zeros((60, 60), np.uint8)
    disc(mask, 30, 30, 20)
    found = table.measure(find(mask, Settings((1,))), NAMES)
    columns = found.columns_with(unit_of(typed("0.65um")))
    assert list(columns)[:5] == ["object", "class_id", "class", "area_px", "area_um2"]
    assert columns["area_um2"][0] == pytest.approx(np.pi * 13**2, rel=0.01)
    assert columns["perimeter_um"][0] == pytest.approx(2 * np.pi * 13, rel=0.03)
    assert list(table.measure(find(mask, Settings((1,))), NAMES).columns_with(None))[3:5] == [
        *("area_px", "equivalent_diameter_px"),
    ]


def test_a_class_has_count_total_mean_and_density():
    found = document(tricky())
    nucleus = next(row for row in found.rows if row["id"] == 1)
    assert nucleus["count"] == int((found.objects.class_ids == 1).sum())
    assert nucleus["object_area_px"] == nucleus["pixels"]
    assert nucleus["mean_area_px"] == pytest.approx(nucleus["pixels"] / nucleus["count"], abs=0.01)
    assert nucleus["per_megapixel"] == pytest.approx(nucleus["count"] * 1e6 / 2400, abs=0.01)
    assert "count" not in next(row for row in found.rows if row["id"] == 0)


def test_images_of_different_scales_share_one_unit_and_say_each_scale():
    pair = [document(tricky(), "a.png", size=typed("1um")), document(tricky(), "b.png", size=typed("0.01mm"))]
    header, *rows = tables.object_rows(pair, named=True)
    place = header.index("area_um2")
    areas = {name: [row[place] for row in rows if row[0] == name] for name in ("a.png", "b.png")}
    assert areas["b.png"] == pytest.approx([100 * area for area in areas["a.png"]])
    assert {row[header.index("pixel_size_um")] for row in rows} == {1.0, 10.0}
