"""Files that are not what they say, and pictures of every kind."""

import io

import numpy as np
import pytest
from PIL import Image

from segapp.imaging import Refused, decode
from segapp.imaging.decode import MaskSource
from segapp.tests.imaging.drawing import photo, saved, shapes


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused(format):
    whole = saved(photo(), format).getvalue()
    with pytest.raises(Refused, match=r"cut off|no PNG"):
        decode.picture(io.BytesIO(whole[: len(whole) // 2]), "half.png")


@pytest.mark.parametrize(
    "content",
    [
        b"<html></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        saved(photo(), "TIFF").getvalue(),
        b"\x80\x04pickle",
    ],
    ids=["html", "svg", "tiff", "pickle"],
)
def test_other_formats_are_refused_whatever_their_name(content):
    with pytest.raises(Refused, match="no PNG, JPEG or WebP"):
        decode.picture(io.BytesIO(content), "picture.png")


def test_an_empty_file_is_refused():
    with pytest.raises(Refused, match="empty"):
        decode.picture(io.BytesIO(), "empty.png")


@pytest.mark.parametrize("side", [13_000, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(side):
    with pytest.raises(Refused, match="megapixels"):
        decode.picture(saved(Image.new("1", (side, side))), "huge.png")


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused(format):
    frames = [photo(64), photo(64).rotate(90)]
    with pytest.raises(Refused, match=r"animated|no PNG"):
        decode.picture(saved(frames[0], format, save_all=True, append_images=frames[1:]), "moving.webp")


def test_what_stands_behind_the_end_of_a_png_is_not_kept():
    tail = b"<script>alert(1)</script>"
    picture = decode.picture(io.BytesIO(saved(photo(64)).getvalue() + tail), "tail.png")
    assert tail not in saved(picture).getvalue()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "LA", "1"])
def test_every_colour_mode_becomes_rgb(mode):
    format = "JPEG" if mode == "CMYK" else "PNG"
    picture = decode.picture(saved(photo(64).convert(mode), format), "p.png")
    assert picture.mode == "RGB" and picture.size == (64, 64)
    assert np.asarray(picture).std() > 10


@pytest.mark.parametrize("top", [1000, 4000, 60000])
def test_sixteen_bits_are_scaled_and_not_clipped(top):
    ramp = np.linspace(0, top, 256).astype(np.uint16)[None].repeat(8, 0)
    found = np.asarray(decode.picture(saved(Image.fromarray(ramp)), "deep.png"))[0, :, 0]
    assert len(np.unique(found)) > 200, "a clipped ramp is flat"
    assert (np.diff(found.astype(int)) >= 0).all() and found[-1] > 220


@pytest.mark.parametrize("turn", [1, 3, 5, 6, 7, 8])
def test_a_turned_photo_stands_upright_and_its_mask_with_it(turn):
    raw = shapes([0, 255]).crop((0, 0, 96, 60))
    exif = Image.Exif()
    exif[decode.ORIENTATION] = turn
    picture, found = decode.picture_and_turn(saved(raw.convert("RGB"), exif=exif), "turned.png")
    assert found == turn
    mask = decode.turned_like(MaskSource("index", np.asarray(raw)), found, picture.size)
    assert mask.values.shape == (picture.height, picture.width)
    if turn != 3:  # upside down has the same size: the mask is taken as it is
        assert np.array_equal(mask.values, np.asarray(picture)[..., 0])


@pytest.mark.parametrize("size", [(1, 1), (31, 4000)])
def test_odd_sizes_are_welcome(size):
    assert decode.picture(saved(Image.new("RGB", size)), "odd.png").size == size
