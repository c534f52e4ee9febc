"""Uploads are kept as they are but for what is no image: no pixel changes, nothing else stays."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from segapp.imaging import decode
from segapp.imaging.bare import bare

SECRET = b"Canal Street 12"


def photo(mode: str = "RGB", size: tuple[int, int] = (61, 43)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(3).integers(0, 255, (*size[::-1], bands), dtype=np.uint8)
    return Image.fromarray(values.squeeze(), mode).resize(size)


def saved(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = orientation, SECRET.decode()
    return tags


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode.image(io.BytesIO(content), "x"))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True, "optimize": True}, {"subsampling": 0}, {"quality": 100},
                                     {"restart_marker_blocks": 2}])  # fmt: skip
def test_a_jpeg_loses_its_notes_and_what_is_behind_it_and_no_pixel(mode, options):
    content = saved(photo(mode), "JPEG", exif=exif(), comment=SECRET, icc_profile=SECRET * 9, **options)
    content += b"\xff\xd8" + SECRET
    assert content.count(SECRET) >= 4
    suffix, kept = bare(content)
    assert suffix == ".jpg" and SECRET not in kept and kept.endswith(b"\xff\xd9") and len(kept) < len(content)
    assert np.array_equal(pixels(kept), pixels(content))
    assert not dict(Image.open(io.BytesIO(kept)).getexif())


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_png_loses_its_notes_and_no_pixel(mode):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", SECRET.decode())
    image = photo().quantize(200) if mode == "P" else photo(mode)
    content = saved(image, "PNG", pnginfo=notes, exif=exif(), icc_profile=SECRET) + SECRET
    suffix, kept = bare(content)
    assert suffix == ".png" and SECRET not in kept
    assert np.array_equal(pixels(kept), pixels(content))


@pytest.mark.parametrize(
    "content",
    [
        saved(photo("CMYK"), "JPEG"),
        saved(photo("RGBA"), "PNG"),
        saved(photo().quantize(9), "PNG", transparency=3),
        saved(Image.fromarray(np.full((4, 4), 900, np.uint16)), "PNG"),
        saved(photo(), "WEBP"),
        saved(photo(), "JPEG")[:300],
        saved(photo(), "PNG")[:300],
        b"\xff\xd8\xff\xc3" + saved(photo(), "JPEG"),
        b"\xff\xd8",
        b"",
    ],
)
def test_whatever_is_unusual_is_left_to_be_encoded_anew(content):
    assert bare(content) is None


def test_a_thumbnail_inside_a_jpeg_does_not_stay():
    content = saved(photo(), "JPEG")
    inside = b"\xff\xe0" + (16 + 12).to_bytes(2, "big") + content[6:18] + b"\x02\x02" + SECRET[:12]
    assert bare(content[:2] + inside + content[20:]) is None
    extension = b"\xff\xe0" + (8 + len(SECRET)).to_bytes(2, "big") + b"JFXX\0\x13" + SECRET
    _, kept = bare(content[:20] + extension + content[20:])
    assert SECRET not in kept and np.array_equal(pixels(kept), pixels(content))
