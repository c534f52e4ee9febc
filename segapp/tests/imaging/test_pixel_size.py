"""Pixel sizes: what people type, what files say, and what says nothing."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from segapp.imaging import decode
from segapp.imaging.pixel_size import from_file, geo_reference, typed


def opened(write):
    out = io.BytesIO()
    write(out)
    out.seek(0)
    return Image.open(out)


PIXELS = np.zeros((6, 8), np.uint8)


@pytest.mark.parametrize(
    ("text", "micrometres", "unit"),
    [
        *(("0.65um", 0.65, "um"), ("0,65 µm", 0.65, "um"), ("0.65 μm/px", 0.65, "um"), ("80nm", 0.08, "um")),
        *(("0.1mm", 100, "mm"), ("5 cm / pixel", 50_000, "cm"), ("10m", 1e7, "m"), ("1e-3 mm", 1, "mm")),
    ],
)
def test_a_typed_length_is_understood(text, micrometres, unit):
    found = typed(text)
    assert (found.x, found.y, found.unit) == (pytest.approx(micrometres), pytest.approx(micrometres), unit)


@pytest.mark.parametrize("text", ["", "0.65", "um", "-1um", "0um", "1 parsec", "nan um", "1e99 m"])
def test_what_is_no_length_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"0\.65um|10 km"):
        typed(text)


def test_it_is_said_in_words():
    assert typed("0.65um").describe() == "0.65 µm per pixel, typed in"


def test_imagej_ome_and_plain_tiffs_say_their_pixel_size():
    imagej = opened(lambda out: tifffile.imwrite(out, PIXELS, imagej=True, resolution=(4, 4), metadata={"unit": "um"}))
    ome = opened(
        lambda out: tifffile.imwrite(
            out,
            PIXELS,
            ome=True,
            metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"},
        )
    )
    plain = opened(lambda out: tifffile.imwrite(out, PIXELS, resolution=(100, 100), resolutionunit="CENTIMETER"))
    found = [from_file(image) for image in (imagej, ome, plain)]
    assert [(size.x, size.y) for size in found] == [(0.25, 0.25), (0.5, 0.25), (100, 100)]
    assert [size.source for size in found] == [f"from the file ({kind})" for kind in ("ImageJ", "OME", "resolution")]


def test_a_scanners_resolution_counts_and_a_screens_does_not():
    def saved(dpi):
        return opened(lambda out: Image.fromarray(PIXELS).save(out, "PNG", dpi=(dpi, dpi)))

    assert from_file(saved(600)).x == pytest.approx(25_400 / 600, rel=1e-3)
    assert from_file(saved(72)) is None and from_file(saved(96)) is None
    assert from_file(opened(lambda out: Image.fromarray(PIXELS).save(out, "PNG"))) is None


def test_a_geotiff_in_metres_says_pixel_size_and_place_and_one_in_degrees_only_its_place():
    def written(model, key, code):
        keys = (1, 1, 0, 2, 1024, 0, 1, model, key, 0, 1, code)
        tags = [
            (33550, "d", 3, (0.05, 0.05, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0), True),
            (34735, "H", len(keys), keys, True),
        ]
        return opened(lambda out: tifffile.imwrite(out, PIXELS, extratags=tags))

    metres = written(1, 3072, 32_632)
    assert from_file(metres).x == pytest.approx(50_000)
    geo = geo_reference(metres)
    assert (geo.a, geo.c, geo.e, geo.f, geo.epsg) == (0.05, 500_000, -0.05, 5_000_000, 32_632)
    degrees = written(2, 2048, 4326)
    assert from_file(degrees) is None and geo_reference(degrees).epsg == 4326


def test_a_damaged_tag_says_nothing():
    tags = [(270, "s", 0, "ImageJ=1\nunit=parsec\n", True)]
    assert from_file(opened(lambda out: tifffile.imwrite(out, PIXELS, extratags=tags, metadata=None))) is None


def test_decoding_an_image_keeps_what_its_file_says_of_its_pixels(tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, PIXELS.astype(np.uint16), imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    with path.open("rb") as file:
        found = decode.read(file, path.name).pixel_size
    assert (found.x, found.y, found.source) == (0.25, 0.5, "from the file (ImageJ)")
    out = io.BytesIO()
    exif = Image.Exif()
    exif[decode.ORIENTATION] = 6
    Image.fromarray(PIXELS).save(out, "JPEG", dpi=(300, 600), exif=exif)
    turned = decode.read(out, "scan.jpg")
    assert turned.image.size == (6, 8)
    assert turned.pixel_size.y == pytest.approx(2 * turned.pixel_size.x, rel=1e-3)
