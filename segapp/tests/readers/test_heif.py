"""Photos from phones."""

import io

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import InvalidFile, decode
from segapp.tests.imaging.drawing import saved
from segapp.tests.readers.making import colour, heic


@pytest.mark.fault(3)
@pytest.mark.parametrize("name", ["photo.heic", "photo.jpg"])
def test_a_phones_photo_is_read_whatever_it_is_called(name):
    found = decode.read(heic(Image.fromarray(colour())), name)
    assert found.image.mode == "RGB" and np.abs(np.asarray(found.image, dtype=int) - colour()).mean() < 6
    assert decode.is_lossy(heic(Image.fromarray(colour())))


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["HEIC", "AVIF", "WEBP"])
def test_a_turned_photo_stands_upright(format, turn):
    """Writers may keep the tag, or say it in the container's own way, or both: upright it is once only."""
    image = Image.fromarray(colour())
    exif = Image.Exif()
    exif[decode.ORIENTATION] = turn
    file = (
        heic(image, exif=exif.tobytes()) if format == "HEIC" else saved(image, format, exif=exif.tobytes(), quality=95)
    )
    found = decode.image(file, "p.heic")
    expected = decode.upright(image, turn)
    assert found.size == expected.size
    assert np.abs(np.asarray(found, dtype=int) - np.asarray(expected)).mean() < 8


def test_avif_and_bmp_and_gif_are_read():
    image = Image.fromarray(colour())
    assert np.array_equal(np.asarray(decode.image(saved(image, "BMP"), "a.bmp")), colour())
    assert np.abs(np.asarray(decode.image(saved(image, "AVIF", quality=95), "a.avif"), dtype=int) - colour()).mean() < 6
    palette = image.quantize(64)
    assert np.array_equal(np.asarray(decode.image(saved(palette, "GIF"), "a.gif")), np.asarray(palette.convert("RGB")))


def test_a_damaged_photo_is_refused():
    whole = heic(Image.fromarray(colour())).getvalue()
    for part in (whole[:100], whole[: len(whole) // 2]):
        with pytest.raises(InvalidFile, match="cut off"):
            decode.image(io.BytesIO(part), "half.heic")


def test_a_photo_is_no_mask():
    with pytest.raises(InvalidFile, match="Save the mask as a PNG"):
        decode.mask(heic(Image.fromarray(colour())), "m.heic")
